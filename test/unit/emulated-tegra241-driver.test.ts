// The emulated Tegra241's driver as a VMM meets it through the kernel: what it tells, what it refuses and in which order, and
// what is given back.
import assert from 'node:assert/strict';
import { GuestQueue, NOT_FOR_GUESTS, RAM_SIZE, SYNC } from '../rig/vqueue-guest.js';
import { code, firstDevice, type Guest, IPA, makeGuest, PAGE, run, stage, unmake } from './tegra241-stage.js';

const TYPE = 2;
/** Interfaces for guests: the kernel has one for itself. */
const INTERFACES = 63;
/** Stream ids that an interface replaces. */
const STREAMS = 16;

afterEach(unmake);

describe("the emulated Tegra241's driver", () => {
  it('tells of an SMMUv3, and of its CMDQV when asked for that', () => {
    const s = stage();
    const device = firstDevice(s);
    assert.equal(device.hwInfo().type, 'arm-smmuv3');
    const { type, fields, data } = device.hwInfo('tegra241-cmdqv');
    assert.equal(type, 'tegra241-cmdqv');
    assert.deepEqual(fields, { flags: 0, version: 1, log2vcmdqs: 1, log2vsids: 4 });
    assert.equal(data.length, 8);
    assert.equal(
      code(() => device.hwInfo('intel-vtd')),
      'EOPNOTSUPP',
    );
  });

  it('wants the whole of its driver data', () => {
    const s = stage();
    const { parent, device } = makeGuest(s);
    for (const size of [0, 8, 15, 17, 24]) {
      const data = new Uint8Array(size);
      assert.equal(
        code(() => parent.allocViommu(device, { type: TYPE, data, mmapPair: undefined as never })),
        'EINVAL',
      );
    }
    const viommu = parent.allocViommu(device, { type: TYPE, data: new Uint8Array(16) });
    assert.equal(viommu.mmapRegion.length, 65536n);
    assert.equal(viommu.mmapRegion.offset % PAGE, 0n);
  });

  it('makes plain vIOMMUs too, which have no registers', () => {
    const s = stage();
    const { parent, device } = makeGuest(s);
    const viommu = parent.allocViommu(device, { type: 'arm-smmuv3' });
    assert.throws(() => viommu.mmap(), { code: 'ERR_IOMMUFD_UNAVAILABLE' });
    const queue = { type: 1, index: 0, iova: IPA, length: PAGE };
    assert.equal(
      code(() => viommu.allocHwQueue(queue)),
      'EOPNOTSUPP',
    );
  });

  it('has so many interfaces, and gives back those that are destroyed', () => {
    const s = stage();
    const { parent, device } = makeGuest(s);
    const more = () => parent.allocViommu(device, { type: 'tegra241-cmdqv' });
    const all = Array.from({ length: INTERFACES - 1 }, more);
    assert.equal(code(more), 'ENOSPC');
    all[5]?.destroy();
    assert.equal(code(more), 'ok');
    assert.equal(code(more), 'ENOSPC');
  });

  it('leaves nothing behind where an allocation fails', () => {
    const s = stage();
    const { parent, device } = makeGuest(s);
    const { kernel } = s.machine;
    const more = () => parent.allocViommu(device, { type: 'tegra241-cmdqv' });
    let failed = 0;
    for (let after = 0; ; after++) {
      kernel.failAllocation(after);
      const answer = code(more);
      if (kernel.failurePending) break;
      assert.equal(answer, 'ENOMEM');
      failed++;
    }
    kernel.failAllocation(-1);
    assert(failed >= 3, `${failed} allocations`);
    for (let i = 2; i < INTERFACES; i++) more();
    assert.equal(code(more), 'ENOSPC');
  });

  it('takes StreamIDs of 20 bits, as many as an interface replaces', () => {
    const s = stage({ devices: STREAMS + 1 });
    const { viommu } = makeGuest(s);
    const add = (index: number, virtId: bigint) => viommu.allocVdevice(firstDevice(s, index), { virtId });
    assert.equal(
      code(() => add(0, 1n << 20n)),
      'EINVAL',
    );
    assert.equal(
      code(() => add(0, 1n << 63n)),
      'EINVAL',
    );
    const made = Array.from({ length: STREAMS }, (_, i) => add(i, (1n << 20n) - 1n - BigInt(i)));
    assert.equal(
      code(() => add(STREAMS, 0n)),
      'ENOSPC',
    );
    made[3]?.destroy();
    assert.equal(
      code(() => add(STREAMS, 0n)),
      'ok',
    );
  });

  it('lends page 0 whole, and keeps the vIOMMU while it is mapped', () => {
    const s = stage();
    const { viommu, parent, device } = makeGuest(s);
    const page0 = viommu.mmap();
    assert.equal(page0.length, 65536);
    assert.equal(page0.read32(0), 0);
    page0.write32(4, 1);
    assert.equal(page0.read32(4), 0);
    assert.equal(
      code(() => viommu.destroy()),
      'EBUSY',
    );
    page0.unmap();
    const { offset } = viommu.mmapRegion;
    viommu.destroy();
    assert.equal(parent.allocViommu(device, { type: 'tegra241-cmdqv' }).mmapRegion.offset, offset);
  });

  it('has nothing in page 0 when a queue is gone', () => {
    const { viommu, queue, guest } = run(stage());
    const page0 = viommu.mmap();
    guest.submit(SYNC);
    assert.deepEqual([page0.read32(0), page0.read32(8)], [1, 1]);
    queue.destroy();
    page0.write32(8, 1);
    assert.deepEqual([page0.read32(0), page0.read32(8)], [0, 0]);
  });
});

describe('queues of the emulated Tegra241', () => {
  const queueOf = ({ viommu }: Guest, index: number, iova = IPA, length = PAGE, type?: number) =>
    viommu.allocHwQueue({ index, iova, length, ...(type === undefined ? {} : { type }) });

  it('are made upwards and destroyed downwards', () => {
    const guest = makeGuest(stage());
    assert.equal(
      code(() => queueOf(guest, 1)),
      'EIO',
    );
    const first = queueOf(guest, 0);
    assert.equal(
      code(() => queueOf(guest, 0)),
      'EEXIST',
    );
    const second = queueOf(guest, 1, IPA + PAGE);
    assert.equal(
      code(() => queueOf(guest, 2, IPA + 2n * PAGE)),
      'EINVAL',
    );
    assert.equal(
      code(() => first.destroy()),
      'EBUSY',
    );
    second.destroy();
    first.destroy();
    queueOf(guest, 0).destroy();
  });

  it('have a length and an address that hardware can take', () => {
    const guest = makeGuest(stage());
    for (const length of [16n, 31n, 48n, 3n * PAGE]) {
      assert.equal(
        code(() => queueOf(guest, 0, IPA, length)),
        'EINVAL',
        `length ${length}`,
      );
    }
    assert.equal(
      code(() => queueOf(guest, 0, IPA + 16n, 32n)),
      'EINVAL',
    );
    assert.equal(
      code(() => queueOf(guest, 0, IPA + PAGE, 2n * PAGE)),
      'EINVAL',
    );
    assert.equal(
      code(() => queueOf(guest, 0, IPA, PAGE, 2)),
      'EOPNOTSUPP',
    );
    queueOf(guest, 0, IPA + 32n, 32n).destroy();
    queueOf(guest, 0, IPA + 2n * PAGE, 2n * PAGE).destroy();
  });

  it('are as long as the SMMU says at most', () => {
    const s = stage();
    const guest = makeGuest(s);
    const { fields } = guest.device.hwInfo();
    assert(Array.isArray(fields.idr));
    const longest = 16n << ((BigInt(fields.idr[1]) >> 21n) & 31n);
    const ram = s.memory(Number(longest) * 2);
    const iova = 0x1_0000_0000n;
    guest.ioas.map(ram, { iova });
    assert.equal(
      code(() => queueOf(guest, 0, iova, longest * 2n)),
      'EINVAL',
    );
    // Memory this large starts at a multiple of 2 MiB: which one is up to the machine.
    let refused = 0;
    for (let at = 0n; at + longest <= longest * 2n; at += 2n << 20n) {
      const answer = code(() => queueOf(guest, 0, iova + at, longest).destroy());
      if (answer === 'ok') return;
      assert.equal(answer, 'EINVAL');
      refused++;
    }
    assert.fail(`no place of ${refused} is aligned`);
  });

  it('are looked at in the order of Linux', () => {
    const guest = makeGuest(stage());
    const bad = 48n;
    assert.equal(
      code(() => queueOf(guest, 2, IPA, bad)),
      'EINVAL',
    );
    assert.equal(
      code(() => queueOf(guest, 1, IPA, bad)),
      'EIO',
    );
    queueOf(guest, 0);
    assert.equal(
      code(() => queueOf(guest, 0, IPA, bad)),
      'EEXIST',
    );
    assert.equal(
      code(() => queueOf(guest, 2, IPA - PAGE, PAGE)),
      'ENOENT',
    );
  });

  it('need memory that lies in one piece', () => {
    const guest = makeGuest(stage({ scatter: true }));
    assert.equal(
      code(() => queueOf(guest, 0, IPA, 2n * PAGE)),
      'EFAULT',
    );
    queueOf(guest, 0).destroy();
  });

  it('keep their memory', () => {
    const guest = makeGuest(stage());
    const queue = queueOf(guest, 0);
    assert.equal(
      code(() => guest.ioas.unmap(IPA, BigInt(RAM_SIZE))),
      'EBUSY',
    );
    queue.destroy();
    assert.equal(guest.ioas.unmap(IPA, BigInt(RAM_SIZE)), BigInt(RAM_SIZE));
  });

  it("are aligned for the guest in the patches' dialect", () => {
    const guest = makeGuest(stage({ dialect: 'vqueue-v3', scatter: true }));
    // Scattered, the first page lies where the second would.
    const odd = IPA + PAGE;
    assert.equal(
      code(() => queueOf(guest, 0, odd, PAGE)),
      'ok',
    );
    assert.equal(
      code(() => queueOf(guest, 1, IPA + 32n, 64n)),
      'EINVAL',
    );
  });

  it('start anew each time', () => {
    const s = stage();
    const { guest, viommu, ram, queue } = run(s);
    guest.submit(SYNC, NOT_FOR_GUESTS);
    assert(guest.failed);
    queue.destroy();
    const again = new GuestQueue(ram, viommu.mmap());
    const { offset, length } = again.place;
    const made = viommu.allocHwQueue({ index: 0, iova: IPA + offset, length });
    assert.equal(again.failed, false);
    assert.deepEqual(s.control(made).inspect(), { enabled: false, prod: 0, cons: 0, error: undefined, executed: 0 });
    again.enable();
    again.submit(SYNC);
    assert(again.done);
  });
});
