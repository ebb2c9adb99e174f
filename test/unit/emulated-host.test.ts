// The emulated host as tests use it: several side by side, limits and rights, failures on demand, and a look inside.
import assert from 'node:assert/strict';
import { createEmulatedHost, EmulatedHost, type EmulatedHostOptions } from '../../lib/emulated-host.js';
import { type Iommufd, openHost, type VfioDevice } from '../../lib/index.js';

const ADDRESS = '0000:01:00.0';
/** An IOVA that the mock's page tables take. */
const IOVA = 0x100_0000n;
const MiB = 2 ** 20;
const RANGE = { name: 'RangeError', code: 'ERR_OUT_OF_RANGE' };
const TYPE = { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' };

/** What is closed after each test. */
const opened: Iommufd[] = [];

function open(host: EmulatedHost): Iommufd {
  const iommufd = host.openIommufd();
  opened.push(iommufd);
  return iommufd;
}

/** A device that is bound, and an address space with memory. */
function stage(options: EmulatedHostOptions = {}, size = MiB) {
  const host = createEmulatedHost({ machine: 'selftest', ...options });
  const iommufd = open(host);
  const device = host.openDevice(ADDRESS).bind(iommufd);
  const ioas = iommufd.allocIoas();
  const ram = host.allocateMemory(size);
  ioas.map(ram, { iova: IOVA });
  return { host, iommufd, device, ioas, ram };
}

describe('emulated host', () => {
  afterEach(() => {
    for (const iommufd of opened.splice(0)) iommufd.close();
  });

  it('says what it is', () => {
    const host = createEmulatedHost();
    assert.equal(host.kind, 'emulated');
    assert.equal(JSON.stringify(host), '{"type":"Host","kind":"emulated"}');
    assert.deepEqual(host.devices, [ADDRESS]);
  });

  it('is what openHost answers by name, the same one each time', () => {
    const host = openHost({ kind: 'emulated' });
    assert(host instanceof EmulatedHost);
    assert.equal(openHost({ kind: 'emulated' }), host);
    assert.notEqual(createEmulatedHost(), host);
  });

  it('knows nothing of another one', () => {
    const [one, other] = [stage(), stage()];
    assert.throws(() => one.ioas.map(other.ram), { code: 'ERR_IOMMUFD_FOREIGN_HOST' });
    assert.throws(() => one.host.deviceOf(other.device), { code: 'ERR_IOMMUFD_UNAVAILABLE' });
    one.iommufd.close();
    assert.equal(one.host.inspect().iommufds.length, 0);
    assert.equal(other.host.inspect().iommufds.length, 1);
  });

  it('opens its devices as VFIO does: bind, attach, replace, detach, close', () => {
    const { host, iommufd, device, ioas } = stage();
    device.attach(ioas);
    const hwpt = ioas.allocHwpt(device);
    device.attach(hwpt);
    assert.equal(device.attachedTo(), hwpt);
    assert.throws(() => host.openDevice(ADDRESS).bind(iommufd), {
      code: 'EINVAL',
      syscall: 'VFIO_DEVICE_BIND_IOMMUFD',
    });
    device.detach();
    hwpt.destroy();
    iommufd.close();
    assert.throws(() => host.openDevice('0000:02:00.0'), /there is no PCI device/);
  });

  it('knows no device that was unbound, though its id may be used again', () => {
    const { host, iommufd, device } = stage();
    device.destroy();
    assert.equal(host.openDevice(ADDRESS).bind(iommufd).id, device.id);
    assert.throws(() => host.deviceOf(device), { code: 'ERR_IOMMUFD_DESTROYED' });
    assert.throws(() => host.deviceOf({} as never), TYPE);
  });

  it('lets a closed device go, attached or not', () => {
    const { host, iommufd, device, ioas } = stage();
    device.attach(ioas);
    iommufd.close();
    const again = open(host);
    host.openDevice(ADDRESS).bind(again);
    again.close();
    assert.equal(host.inspect().iommufds.length, 0);
  });

  it('has the devices that were asked for', () => {
    const host = createEmulatedHost({
      devices: [
        { address: '0000:03:00.0', pasid: true },
        { address: '0000:03:00.1', dirtyTracking: false },
        { address: '0000:04:00.0', iommu: false },
      ],
    });
    const iommufd = open(host);
    const [first, second] = ['0000:03:00.0', '0000:03:00.1'].map((address) => host.openDevice(address).bind(iommufd));
    assert.equal(first?.hwInfo().maxPasidLog2, 20);
    assert.equal(first?.hwInfo().capabilities.dirtyTracking, true);
    assert.equal(second?.hwInfo().capabilities.dirtyTracking, false);
    assert.throws(() => host.openDevice('0000:04:00.0'), { code: 'ERR_IOMMUFD_UNAVAILABLE' });
    assert.throws(() => host.device('0000:04:00.0'), { code: 'ERR_IOMMUFD_UNAVAILABLE' });
    host.unsafeOpenDevice('0000:04:00.0').close();
    iommufd.close();
  });

  it('does DMA, raises events and page requests', async () => {
    const { host, iommufd, device, ram } = stage();
    const faults = iommufd.allocFaultQueue();
    const faulting = iommufd.allocIoas();
    faulting.map(ram, { iova: IOVA });
    device.attach(faulting.allocHwpt(device, { faultQueue: faults }));
    const itself = host.device(ADDRESS);
    itself.dmaWrite(IOVA, Uint8Array.of(7));
    assert.equal(ram.read(0, 1)[0], 7);
    assert.equal(host.deviceOf(device).dmaRead(IOVA, 1)[0], 7);
    itself.requestPage({ address: 0x5000n, group: 3 });
    for await (const group of faults.read({ signal: AbortSignal.timeout(5000) })) {
      assert.equal(group.faults[0]?.address, 0x5000n);
      faults.respond(group, 'success');
      break;
    }
    assert.throws(() => itself.raiseEvent(), { code: 'ENOENT' });
    iommufd.close();
  });

  it('limits pinned memory without privilege, until the last pin goes', () => {
    const { host, iommufd, device, ioas, ram } = stage({ limits: { privileged: false, lockedMemory: 2 * MiB } });
    const more = host.allocateMemory(2 * MiB);
    ioas.map(more, { iova: IOVA + BigInt(MiB) });
    assert.throws(() => device.attach(ioas), { code: 'ENOMEM' });
    assert.deepEqual(host.inspect().charged, { user: 0, mm: 0 });
    ioas.unmap(IOVA + BigInt(MiB), more.size);
    device.attach(ioas);
    assert.deepEqual(host.inspect().charged, { user: MiB / 4096, mm: 0 });
    assert.throws(() => ioas.map(more, { iova: IOVA + BigInt(MiB) }), { code: 'ENOMEM' });
    ioas.map(ram, { iova: IOVA + BigInt(MiB) });
    assert.equal(host.inspect().charged.user, MiB / 2048);
    iommufd.close();
    assert.deepEqual(host.inspect().charged, { user: 0, mm: 0 });
  });

  it('charges copies once', () => {
    const { host, device, ioas } = stage({ limits: { privileged: false } });
    device.attach(ioas);
    ioas.copy(ioas, { sourceIova: IOVA, length: MiB, iova: IOVA + BigInt(MiB) });
    assert.equal(host.inspect().charged.user, MiB / 4096);
    ioas.unmap(IOVA, MiB);
    assert.equal(host.inspect().charged.user, MiB / 4096);
    ioas.unmapAll();
    assert.equal(host.inspect().charged.user, 0);
  });

  it('charges the process where that was asked for first, which takes the right to', () => {
    const host = createEmulatedHost({ limits: { privileged: false } });
    assert.throws(
      () => {
        open(host).rlimitMode = 'process';
      },
      { code: 'EPERM' },
    );
    const privileged = createEmulatedHost();
    open(privileged).rlimitMode = 'process';
  });

  it('runs out of memory and of file descriptors', () => {
    const host = createEmulatedHost({ memory: { size: 2 * MiB }, limits: { openFiles: 2 } });
    assert.throws(() => host.allocateMemory(4 * MiB), { code: 'ENOMEM' });
    const iommufd = open(host);
    const ram = host.allocateMemory(MiB);
    assert.throws(() => host.allocateMemory(4096), { code: 'EMFILE' });
    assert.throws(() => iommufd.allocFaultQueue(), { code: 'EMFILE' });
    ram.free();
    iommufd.close();
    assert.equal(host.inspect().openFiles, 0);
  });

  it('scatters memory: what must lie in a row is refused, and DMA finds every byte', () => {
    const { host, device, ioas, ram } = stage({ memory: { scatter: true } }, 0x5000);
    device.attach(ioas);
    const bytes = Uint8Array.from({ length: 0x5000 }, (_, i) => (i >> 8) ^ i);
    host.device(ADDRESS).dmaWrite(IOVA, bytes);
    assert.deepEqual(ram.read(0, bytes.length), bytes);
    assert.deepEqual(host.device(ADDRESS).dmaRead(IOVA, bytes.length), bytes);
  });

  it('lets allocations fail one after another, and nothing stays behind', () => {
    const host = createEmulatedHost();
    const work = () => {
      const iommufd = open(host);
      const nics: VfioDevice[] = [];
      try {
        const nic = host.openDevice(ADDRESS);
        nics.push(nic);
        const device = nic.bind(iommufd);
        const ioas = iommufd.allocIoas();
        ioas.map(ram, { iova: IOVA });
        device.attach(ioas);
        ioas.allocHwpt(device, { nestParent: true });
      } finally {
        iommufd.close();
        for (const nic of nics) nic.close();
      }
    };
    const ram = host.allocateMemory(0x4000);
    const before = host.inspect();
    let failures = 0;
    for (let after = 0; after < 200; after++) {
      host.failAllocation(after);
      if (host.failurePending) {
        try {
          work();
        } catch (error) {
          assert.equal((error as { code?: string }).code, 'ENOMEM');
          failures++;
        }
      }
      assert.deepEqual(host.inspect(), before);
      if (host.failurePending) break;
    }
    assert.equal(host.failurePending, true, 'every allocation failed once');
    assert(failures > 5);
    host.failAllocation(-1);
    work();
  });

  it('shows objects with their references, hidden ones too, and mappings', () => {
    const { host, iommufd, device, ioas } = stage();
    device.attach(ioas);
    const [state] = host.inspect().iommufds;
    const kinds = state?.objects.map(({ id, kind, references }) => [id, kind, references]);
    // The device is held by its driver and its attachment, the address space by the page table made for it.
    assert.deepEqual(kinds, [
      [1, 'device', 2],
      [2, 'ioas', 1],
      [3, 'hwpt-paging', 1],
    ]);
    assert.deepEqual(state?.mappings, [{ ioas: 2, iova: IOVA, length: BigInt(MiB), readable: true, writable: true }]);
    iommufd.close();
  });

  it('keeps memory that is pinned, and gives it back with the last pin', () => {
    const { host, iommufd, device, ioas, ram } = stage();
    device.attach(ioas);
    const { memory } = host.inspect();
    ram.free();
    assert.equal(host.inspect().memory, memory);
    iommufd.close();
    assert.equal(host.inspect().memory, memory - MiB);
  });

  it('refuses what makes no sense', () => {
    const make = (options: unknown) => () => createEmulatedHost(options as EmulatedHostOptions);
    assert.throws(make({ machin: 'selftest' }), { code: 'ERR_UNKNOWN_OPTION' });
    assert.throws(make({ machine: 'abacus' }), RANGE);
    assert.throws(make({ uapi: 'v4' }), RANGE);
    assert.throws(make({ devices: {} }), TYPE);
    assert.throws(make({ devices: [{ address: 'nic' }] }), RANGE);
    assert.throws(make({ devices: [{ address: ADDRESS }, { address: ADDRESS }] }), RANGE);
    assert.throws(make({ devices: [{ address: ADDRESS, speed: 1 }] }), { code: 'ERR_UNKNOWN_OPTION' });
    for (const size of [-1, 0, 2 ** 40 + 1]) assert.throws(make({ memory: { size } }), RANGE);
    assert.throws(make({ memory: { hugePageSizes: [5000] } }), RANGE);
    assert.throws(make({ memory: { hugePageSizes: 2 ** 21 } }), TYPE);
    assert.throws(make({ limits: { lockedMemory: 'much' } }), TYPE);
    const host = createEmulatedHost();
    assert.throws(() => host.failAllocation(0.5), RANGE);
    assert.throws(() => host.device('0000:09:00.0'), { code: 'ERR_IOMMUFD_UNAVAILABLE' });
    assert.throws(() => host.device(ADDRESS).dmaRead(0n, -1), RANGE);
    assert.throws(() => host.device(ADDRESS).dmaRead(0n, 2 ** 40), RANGE);
    assert.throws(() => host.device(ADDRESS).dmaWrite(0n, 'text' as never), TYPE);
  });
});
