// Devices of one's own in an emulated machine, as a program meets them through VFIO; what becomes of models that throw; and
// devices that the machine takes back.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { createEmulatedHost, type DeviceBus, type DeviceModel } from '../../lib/emulated-host.js';
import type { VfioDevice } from '../../lib/index.js';

const ADDRESS = '0000:00:07.0';
const UUID = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001';
const IOVA = 0x400_0000n;
const RANGE = { name: 'RangeError', code: 'ERR_OUT_OF_RANGE' };
const TYPE = { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' };

/** Adds up what it finds in memory: a write of an IOVA starts it, and an interrupt tells that it is done. */
class Adder implements DeviceModel {
  readonly identity = { vendorId: 0x1234, deviceId: 0xadd0 };
  readonly bars = [{ index: 0, size: 4096 }];
  readonly interrupts = { intx: true, msi: 1 };
  readonly resettable = true;
  bus: DeviceBus | undefined;
  sum = 0;
  /** What is thrown at the next access, reset or turn. */
  failure: Error | undefined;

  connect(bus: DeviceBus): void {
    this.bus = bus;
  }
  #fail(): void {
    const { failure } = this;
    this.failure = undefined;
    if (failure !== undefined) throw failure;
  }
  read(): number {
    this.#fail();
    return this.sum;
  }
  write(_bar: number, offset: number, _width: number, value: number | bigint): void {
    this.#fail();
    if (offset === 8) this.bus?.later(() => this.#add(BigInt(value)));
  }
  #add(iova: bigint): void {
    this.#fail();
    this.sum = 0;
    for (const byte of this.bus?.dmaRead(iova, 8) ?? []) this.sum += byte;
    this.bus?.interrupt();
  }
  reset(): void {
    this.#fail();
    this.sum = 0;
  }
}

interface Stage {
  readonly host: ReturnType<typeof createEmulatedHost>;
  readonly nic: VfioDevice;
  readonly model: Adder;
  readonly ram: ReturnType<ReturnType<typeof createEmulatedHost>['allocateMemory']>;
}

const undo: (() => void)[] = [];
afterEach(() => {
  for (const step of undo.splice(0).reverse()) step();
});

function stage(): Stage {
  const model = new Adder();
  const host = createEmulatedHost({ devices: [{ address: ADDRESS, model }] });
  const iommufd = host.openIommufd();
  const nic = host.openDevice(ADDRESS);
  const ioas = iommufd.allocIoas();
  const ram = host.allocateMemory(4096);
  nic.bind(iommufd);
  ioas.map(ram, { iova: IOVA });
  nic.attach(ioas);
  undo.push(() => {
    nic.close();
    iommufd.close();
    ram.free();
    assert.deepEqual([host.inspect().openFiles, host.inspect().regions], [0, 0]);
  });
  return { host, nic, model, ram };
}

describe('a device model', () => {
  it('is driven through VFIO: registers, DMA, interrupts', async () => {
    const { nic, ram } = stage();
    nic.config.enable({ memory: true, busMaster: true });
    const [vector] = nic.interrupts('msi').enable({ count: 1 });
    ram.write(0, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8));
    const registers = nic.region('bar0').mmap();
    registers.write64(8, IOVA);
    assert.equal(registers.read32(0), 0);
    assert.equal(await vector?.wait({ signal: AbortSignal.timeout(5000) }), 1n);
    assert.equal(nic.region('bar0').read32(0), 36);
    nic.reset();
    assert.equal(nic.region('bar0').read32(0), 0);
  });

  it('goes on while a program polls without giving the event loop a turn', () => {
    const { nic, ram } = stage();
    nic.config.enable({ memory: true, busMaster: true });
    ram.write(0, Uint8Array.of(9));
    const registers = nic.region('bar0');
    registers.write64(8, IOVA);
    let polls = 1;
    while (registers.read32(0) === 0) polls++;
    assert.equal(polls, 8);
  });

  it('is refused DMA without bus mastering, as from where nothing is mapped', async () => {
    const { nic, model, ram } = stage();
    nic.config.enable({ memory: true, busMaster: false });
    ram.write(0, Uint8Array.of(9));
    assert.equal(model.bus?.dmaRead(IOVA, 1), undefined);
    nic.config.enable({ memory: true, busMaster: true });
    assert.deepEqual(model.bus?.dmaRead(IOVA, 1), Uint8Array.of(9));
    assert.equal(model.bus?.dmaWrite(IOVA + 4095n, new Uint8Array(2)), false);
  });

  it('throws out of the access that called it, and the machine goes on', () => {
    const { nic, model } = stage();
    nic.config.enable({ memory: true, busMaster: true });
    const bar = nic.region('bar0');
    const registers = bar.mmap();
    const broken = new Error('a broken model');
    for (const access of [
      () => bar.read32(0),
      () => bar.write32(0, 1),
      () => bar.read(0, 64),
      () => registers.read64(0),
      () => registers.write8(0, 1),
      () => nic.reset(),
    ]) {
      model.failure = broken;
      assert.throws(access, broken);
    }
    // The reset that failed has left nothing half-done.
    assert.equal(bar.read32(0), 0);
    assert.equal(bar.mmap().read32(0), 0);
    nic.reset();
  });

  it('throws out of another device’s DMA that reached it, and out of nothing else', async () => {
    const model = new Adder();
    const other = '0000:00:08.0';
    const host = createEmulatedHost({ devices: [{ address: ADDRESS, model }, { address: other }] });
    const iommufd = host.openIommufd();
    const [nic, peer] = [host.openDevice(ADDRESS), host.openDevice(other)];
    nic.bind(iommufd);
    const ioas = iommufd.allocIoas();
    nic.config.enable({ memory: true, busMaster: true });
    ioas.mapDmaBuf(nic.region('bar0'), { iova: IOVA });
    peer.bind(iommufd).attach(ioas);
    const own = host.device(other);
    assert.deepEqual(own.dmaRead(IOVA, 4), new Uint8Array(4));
    const broken = new Error('a broken model');
    const fails = () => {
      model.failure = broken;
    };
    fails();
    assert.throws(() => own.dmaRead(IOVA, 4), broken);
    fails();
    assert.throws(() => own.dmaWrite(IOVA, new Uint8Array(4)), broken);
    fails();
    await assert.rejects(own.dmaReadAsync(IOVA, 4), broken);
    fails();
    await assert.rejects(own.dmaWriteAsync(IOVA, new Uint8Array(4)), broken);
    assert.deepEqual(own.dmaRead(IOVA, 4), new Uint8Array(4));
    for (const device of [nic, peer]) device.close();
    iommufd.close();
  });

  it('throws late work out of the access that it was due at', () => {
    const { nic, model } = stage();
    nic.config.enable({ memory: true, busMaster: true });
    const bar = nic.region('bar0');
    bar.write64(8, IOVA);
    for (let i = 0; i < 7; i++) bar.read32(0);
    model.failure = new Error('late');
    assert.throws(() => bar.read32(0), /late/);
    assert.equal(bar.read32(0), 0);
  });

  it('is checked when the machine is made, and is one device', () => {
    const make = (change: object) => () => {
      createEmulatedHost({ devices: [{ address: ADDRESS, model: Object.assign(new Adder(), change) }] });
    };
    assert.throws(make({ read: 1 }), TYPE);
    assert.throws(make({ connect: undefined }), TYPE);
    assert.throws(make({ identity: { vendorId: 0x1_0000, deviceId: 0 } }), RANGE);
    assert.throws(make({ identity: { vendorId: 1 } }), TYPE);
    assert.throws(make({ identity: { vendorId: 1, deviceId: 1, serial: 1 } }), { code: 'ERR_UNKNOWN_OPTION' });
    assert.throws(make({ bars: {} }), TYPE);
    assert.throws(make({ bars: [{ index: 0, size: 5000 }] }), RANGE);
    assert.throws(make({ bars: [{ index: 0, size: 512, kind: 'io' }] }), RANGE);
    assert.throws(make({ bars: [{ index: 5, size: 4096, kind: 'memory64' }] }), RANGE);
    assert.throws(make({ bars: [{ index: 6, size: 4096 }] }), RANGE);
    const overlap = [
      { index: 0, size: 4096, kind: 'memory64' },
      { index: 1, size: 4096 },
    ];
    assert.throws(make({ bars: overlap }), RANGE);
    assert.throws(make({ interrupts: { msi: 3 } }), RANGE);
    assert.throws(make({ interrupts: { msix: 2049 } }), RANGE);
    const all = [0, 2, 4].map((index) => ({ index, size: 4096, kind: 'memory64' }));
    assert.throws(make({ bars: all, interrupts: { msix: 1 } }), RANGE);
    assert.throws(make({ resettable: 1 }), TYPE);
    const model = new Adder();
    createEmulatedHost({ devices: [{ address: ADDRESS, model }] });
    assert.throws(() => createEmulatedHost({ devices: [{ address: ADDRESS, model }] }), RANGE);
    assert.throws(() => createEmulatedHost({ devices: [{ address: ADDRESS, model: 'nic' as never }] }), RANGE);
    assert.throws(() => createEmulatedHost({ devices: [{ uuid: 'x', model: 'serial' }] }), RANGE);
    assert.throws(() => createEmulatedHost({ devices: [{ uuid: UUID, model: 'serial', ports: 3 as never }] }), RANGE);
    assert.throws(() => createEmulatedHost({ devices: [{ address: ADDRESS, iommu: false, iommuGroup: 1 }] }), RANGE);
  });

  it('lets what connect throws out of the making of the machine', () => {
    const model = new Adder();
    model.connect = () => {
      throw new Error('no bus for me');
    };
    assert.throws(() => createEmulatedHost({ devices: [{ address: ADDRESS, model }] }), /no bus for me/);
  });
});

describe('the example of a device model', () => {
  it('runs', function () {
    const program = fileURLToPath(new URL('../../examples/device-model-test.js', import.meta.url));
    // It imports the package by its name, as its users do.
    const own = new URL('../../lib/index.js', import.meta.url).href;
    if (import.meta.resolve('iommufd') !== own) this.skip();
    this.timeout(20_000);
    const { status, stdout, stderr } = spawnSync(process.execPath, [program], { encoding: 'utf8' });
    assert.equal(status, 0, `${stdout}${stderr}`);
    assert.match(stdout, /^# pass 1$/m);
  });
});

describe('devices of the emulated machine', () => {
  it('tell of ATS and page requests in their configuration space', () => {
    const [ATS, PRI] = [0x0f, 0x13];
    const all = { ats: true, recoverableFaults: true, pasid: true };
    for (const [options, ids, status] of [
      [{}, [], undefined],
      [{ ats: true }, [ATS], undefined],
      [{ recoverableFaults: true }, [], undefined],
      [{ ats: true, recoverableFaults: true }, [ATS, PRI], 0x100],
      // Answers name the PASID; the capability of PASIDs itself is not shown by VFIO.
      [all, [ATS, PRI], 0x8100],
    ] as const) {
      const host = createEmulatedHost({ machine: 'intel-vtd', devices: [{ address: ADDRESS, ...options }] });
      const iommufd = host.openIommufd();
      const nic = host.openDevice(ADDRESS);
      nic.bind(iommufd);
      const found = nic.config.capabilities().filter(({ id, extended }) => extended && (id === ATS || id === PRI));
      assert.deepEqual(
        found.map(({ id }) => id),
        ids,
      );
      const pri = found.find(({ id }) => id === PRI);
      assert.equal(pri === undefined ? undefined : nic.config.read16(pri.offset + 6), status);
      iommufd.close();
    }
  });

  it('are found as sysfs has them', () => {
    const host = createEmulatedHost({
      devices: [
        { address: '0000:00:05.0', model: 'edu' },
        { address: '0000:01:00.0', model: 'edu', iommuGroup: 0 },
        { address: '0000:01:00.1', model: 'test', iommuGroup: 0, pasid: true },
        { address: '0000:02:00.0', iommu: false },
        { uuid: UUID, model: 'serial' },
      ],
    });
    assert.deepEqual(host.devices, ['0000:00:05.0', '0000:01:00.0', '0000:01:00.1', '0000:02:00.0', UUID]);
    const edu = host.findDevice('0000:00:05.0');
    assert.deepEqual([edu.vendorId, edu.deviceId, edu.driver, edu.ready], [0x1234, 0x11e8, 'vfio-pci', true]);
    // The first number that nobody asked for.
    assert.deepEqual([edu.iommuGroup, edu.groupMembers], [1, ['0000:00:05.0']]);
    const test = host.findDevice('0000:01:00.1');
    assert.deepEqual([test.iommuGroup, test.groupMembers], [0, ['0000:01:00.0', '0000:01:00.1']]);
    assert.equal(test.pasidWidth, 20);
    assert.equal(edu.pasidWidth, undefined);
    assert.equal(host.findDevice('0000:02:00.0').noiommu, true);
    assert.equal(host.findDevice(UUID).ready, true);
  });

  it('share an IOMMU group where they were told to', () => {
    const host = createEmulatedHost({
      devices: [
        { address: '0000:01:00.0', model: 'edu', iommuGroup: 9 },
        { address: '0000:01:00.1', model: 'edu', iommuGroup: 9 },
      ],
    });
    const [one, other] = [host.openIommufd(), host.openIommufd()];
    const first = host.openDevice('0000:01:00.0');
    const second = host.openDevice('0000:01:00.1');
    first.bind(one);
    assert.throws(() => second.bind(other), { code: 'EPERM' });
    second.bind(one);
    for (const closing of [first, second, one, other]) closing.close();
  });

  it('are taken back when they are closed, and given again', async () => {
    const { host, nic } = stage();
    const [vector] = nic.interrupts('request').enable({ count: 1 });
    let gone = false;
    const taken = host.requestDevice(ADDRESS).then(() => {
      gone = true;
    });
    assert.equal(await vector?.wait({ signal: AbortSignal.timeout(5000) }), 1n);
    assert.equal(gone, false);
    assert.throws(() => host.openDevice(ADDRESS), { code: 'ENODEV' });
    nic.close();
    await taken;
    assert.equal(host.findDevice(ADDRESS).ready, false);
    assert.throws(() => host.openDevice(ADDRESS), { code: 'ERR_IOMMUFD_UNAVAILABLE' });
    host.returnDevice(ADDRESS);
    host.openDevice(ADDRESS).close();
    await host.requestDevice(ADDRESS);
    host.returnDevice(ADDRESS);
    assert.throws(() => host.requestDevice('0000:09:00.0'), { code: 'ERR_IOMMUFD_UNAVAILABLE' });
    assert.throws(() => host.returnDevice('0000:09:00.0'), { code: 'ERR_IOMMUFD_UNAVAILABLE' });
  });

  it('are asked for again by another request, and given again when nobody has them open', async () => {
    const { host, nic } = stage();
    const [vector] = nic.interrupts('request').enable({ count: 1 });
    const taken = [host.requestDevice(ADDRESS), host.requestDevice(ADDRESS)];
    assert.equal(vector?.drain(), 2n);
    assert.throws(() => host.returnDevice(ADDRESS), { code: 'ERR_IOMMUFD_BUSY' });
    nic.close();
    await Promise.all(taken);
    host.returnDevice(ADDRESS);
    host.openDevice(ADDRESS).close();
  });

  it('report errors of their link', async () => {
    const host = createEmulatedHost({ devices: [{ address: '0000:02:00.0', model: 'test' }] });
    const iommufd = host.openIommufd();
    const nic = host.openDevice('0000:02:00.0');
    nic.bind(iommufd);
    const [vector] = nic.interrupts('error').enable({ count: 1 });
    host.device('0000:02:00.0').reportError();
    assert.equal(await vector?.wait({ signal: AbortSignal.timeout(5000) }), 1n);
    nic.close();
    iommufd.close();
  });

  it('reach all of memory without an IOMMU', () => {
    const model = new Adder();
    const host = createEmulatedHost({ devices: [{ address: ADDRESS, model, iommu: false }] });
    const iommufd = host.openIommufd();
    const nic = host.unsafeOpenDevice(ADDRESS);
    nic.bind(iommufd);
    const ioas = iommufd.allocIoas();
    const ram = host.allocateMemory(4096);
    ioas.map(ram, { iova: IOVA });
    nic.attach(ioas);
    nic.config.enable({ memory: true, busMaster: true });
    ram.write(0, Uint8Array.of(5));
    const { address } = ioas.physicalAddress(IOVA, 4096n);
    assert.deepEqual(model.bus?.dmaRead(address, 1), Uint8Array.of(5));
    assert.equal(model.bus?.dmaWrite(address + 1n, Uint8Array.of(6)), true);
    assert.equal(ram.read(1, 1)[0], 6);
    assert.equal(model.bus?.dmaRead(IOVA, 1), undefined);
    assert.equal(model.bus?.dmaRead(2n ** 64n - 1n, 1), undefined);
    nic.close();
    iommufd.close();
  });
});
