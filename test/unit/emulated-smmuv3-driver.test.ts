// The SMMUv3's driver on the emulated machine, as iommufd meets it: what it tells of itself, which page tables it makes, and
// what it lets devices be attached to (drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3.c, arm-smmu-v3-iommufd.c).
import assert from 'node:assert/strict';
import {
  ADDRESS,
  closeAll,
  Guest,
  IPA,
  later,
  MiB,
  PAGE,
  pattern,
  STREAM,
  type Stage,
  stage,
  VA,
} from './emulated-smmuv3-driver-stage.js';

const IOVA = 0x1000_0000n;
const OTHER = '0000:01:00.1';

/** How many allocations a call makes: each of them fails once, with ENOMEM and DMA refused as before, and then none does. */
function allocationsOf({ host }: Stage, run: () => void): number {
  for (let count = 0; ; count++) {
    host.failAllocation(count);
    try {
      run();
    } catch (error) {
      assert.equal((error as { code?: string }).code, 'ENOMEM');
      assert.throws(() => host.device(ADDRESS).dmaRead(IPA, 4), { code: 'EFAULT' });
      assert.throws(() => host.device(ADDRESS).dmaRead(VA, 4), { code: 'EFAULT' });
      continue;
    }
    assert(host.failurePending, 'a failure was not told');
    return count;
  }
}

describe("the emulated SMMUv3's driver", () => {
  afterEach(closeAll);

  describe('tells of itself', () => {
    it('its registers, by its own type and by none', () => {
      const { device } = stage();
      const { type, fields, data } = device.hwInfo();
      assert.equal(type, 'arm-smmuv3');
      assert.equal(data.length, 40);
      const { idr, aidr } = fields as { idr: number[]; aidr: number };
      assert.equal((idr[0] ?? 0) & 3, 3, 'both stages');
      assert.equal(aidr, 1);
      assert.deepEqual(device.hwInfo('arm-smmuv3').fields, fields);
    });

    it('nothing of another type', () => {
      const { device } = stage();
      for (const type of ['tegra241-cmdqv', 'intel-vtd', 77] as const) {
        assert.throws(() => device.hwInfo(type), { code: 'EOPNOTSUPP' });
      }
    });

    it('what a device can do', () => {
      const able = stage({ pasid: true, ats: true }).device.hwInfo();
      assert.deepEqual(able.capabilities, { dirtyTracking: true, pasidExec: false, pasidPriv: false, ats: true });
      assert.equal(able.maxPasidLog2, 20);
      const plain = stage({ dirtyTracking: false }).device.hwInfo();
      assert.deepEqual(plain.capabilities, { dirtyTracking: false, pasidExec: false, pasidPriv: false, ats: false });
      assert.equal(plain.maxPasidLog2, 0);
    });
  });

  describe('makes page tables', () => {
    it('for what goes together', () => {
      const { ioas, device } = stage();
      for (const options of [
        {},
        { nestParent: true },
        { pasid: true },
        { dirtyTracking: true },
        { dirtyTracking: true, pasid: true },
      ]) {
        ioas.allocHwpt(device, options).destroy();
      }
      for (const options of [
        { nestParent: true, pasid: true },
        { nestParent: true, dirtyTracking: true },
        { nestParent: true, dirtyTracking: true, pasid: true },
      ]) {
        assert.throws(() => ioas.allocHwpt(device, options), { code: 'EOPNOTSUPP' }, JSON.stringify(options));
      }
    });

    it('without driver data', () => {
      const { ioas, device } = stage();
      const data = { type: 2, bytes: new Uint8Array(16) };
      assert.throws(() => ioas.allocHwpt(device, { data }), { code: 'EOPNOTSUPP' });
    });

    it('that track no dirty pages where the IOMMU cannot', () => {
      const { ioas, device } = stage({ dirtyTracking: false });
      assert.throws(() => ioas.allocHwpt(device, { dirtyTracking: true }), { code: 'EOPNOTSUPP' });
    });

    it('of 48-bit addresses, without those where doorbells are mapped', () => {
      const { ioas, nic } = stage();
      nic.attach(ioas);
      assert.deepEqual(ioas.iovaRanges().ranges, [
        { start: 0n, last: 0x7ff_ffffn },
        { start: 0x810_0000n, last: 2n ** 48n - 1n },
      ]);
      assert.equal(ioas.iovaRanges().alignment, 4096n);
    });

    it('a parent of which needs a vIOMMU for what is nested', () => {
      const { ioas, device } = stage();
      const parent = ioas.allocHwpt(device, { nestParent: true });
      assert.throws(() => parent.allocNestedHwpt(device, { ste: [0n, 0n] }), { code: 'EOPNOTSUPP' });
    });
  });

  describe('attaches', () => {
    it('a device to a page table, and takes it away again', () => {
      const { host, ioas, nic, ram } = stage();
      const [write, read] = [pattern(64), new Uint8Array(64)];
      const own = host.device(ADDRESS);
      assert.throws(() => own.dmaWrite(IPA, write), { code: 'EFAULT' });
      nic.attach(ioas);
      own.dmaWrite(IPA, write);
      assert.deepEqual(ram.read(0, 64), write);
      assert.throws(() => own.dmaWrite(IPA + BigInt(MiB), write), { code: 'EFAULT' });
      nic.detach();
      assert.throws(() => own.dmaRead(IPA, read.length), { code: 'EFAULT' });
    });

    it('to stage 1, whose pages can all be read, or to stage 2, whose need not be', () => {
      const { host, ioas, nic, device } = stage();
      const ram = host.allocateMemory(PAGE);
      later(() => ram.free());
      ioas.map(ram, { iova: IOVA, readable: false });
      const hardware = host.device(ADDRESS);
      nic.attach(ioas);
      hardware.dmaWrite(IOVA, pattern(16));
      assert.deepEqual(hardware.dmaRead(IOVA, 16), pattern(16));
      nic.attach(ioas.allocHwpt(device, { nestParent: true }));
      hardware.dmaWrite(IOVA, pattern(16));
      assert.throws(() => hardware.dmaRead(IOVA, 16), { code: 'EFAULT' });
    });

    it('no device to what another SMMU has made', () => {
      const { host, iommufd, ioas, device } = stage({}, [{ address: OTHER, dirtyTracking: false }]);
      const other = host.openDevice(OTHER);
      const otherDevice = other.bind(iommufd);
      const table = ioas.allocHwpt(device);
      assert.throws(() => other.attach(table), { code: 'EINVAL' });
      const parent = ioas.allocHwpt(device, { nestParent: true });
      assert.throws(() => parent.allocViommu(otherDevice, { type: 'arm-smmuv3' }), { code: 'EINVAL' });
      const viommu = parent.allocViommu(device, { type: 'arm-smmuv3' });
      assert.throws(() => viommu.allocVdevice(otherDevice, { virtId: 1n }), { code: 'EINVAL' });
      const nested = viommu.allocNestedHwpt(device, { ste: [0n, 0n] });
      assert.throws(() => other.attach(nested), { code: 'EINVAL' });
      // The kernel makes one that goes with it.
      other.attach(ioas);
    });

    it('PASIDs, each to a page table of its own', () => {
      const { host, iommufd, ioas, nic, device, ram } = stage({ pasid: true });
      const mine = iommufd.allocIoas();
      const own = host.allocateMemory(PAGE);
      later(() => own.free());
      mine.map(own, { iova: IOVA });
      const table = ioas.allocHwpt(device, { pasid: true });
      const second = mine.allocHwpt(device, { pasid: true });
      const hardware = host.device(ADDRESS);
      nic.attach(second, { pasid: 3 });
      hardware.dmaWrite(IOVA, pattern(16), { pasid: 3 });
      assert.deepEqual(own.read(0, 16), pattern(16));
      assert.throws(() => hardware.dmaWrite(IOVA, pattern(16)), { code: 'EFAULT' }, 'nothing without a PASID');
      nic.attach(table);
      hardware.dmaWrite(IPA, pattern(16, 2));
      assert.deepEqual(ram.read(0, 16), pattern(16, 2));
      hardware.dmaRead(IOVA, 16, { pasid: 3 });
      assert.throws(() => hardware.dmaRead(IPA, 16, { pasid: 3 }), { code: 'EFAULT' });
      assert.throws(() => hardware.dmaRead(IPA, 16, { pasid: 4 }), { code: 'EFAULT' });
      nic.detach({ pasid: 3 });
      assert.throws(() => hardware.dmaRead(IOVA, 16, { pasid: 3 }), { code: 'EFAULT' });
      hardware.dmaRead(IPA, 16);
    });

    it('PASIDs as long as they last, when the device itself is detached', () => {
      const { host, ioas, nic, device } = stage({ pasid: true });
      const table = ioas.allocHwpt(device, { pasid: true });
      const hardware = host.device(ADDRESS);
      nic.attach(table);
      nic.attach(table, { pasid: 5 });
      nic.detach();
      hardware.dmaRead(IPA, 16, { pasid: 5 });
      assert.throws(() => hardware.dmaRead(IPA, 16), { code: 'EFAULT' });
      nic.detach({ pasid: 5 });
      assert.throws(() => hardware.dmaRead(IPA, 16, { pasid: 5 }), { code: 'EFAULT' });
    });

    it('no PASIDs beside a stage 2', () => {
      const { ioas, nic, device } = stage({ pasid: true });
      const table = ioas.allocHwpt(device, { pasid: true });
      const parent = ioas.allocHwpt(device, { nestParent: true });
      nic.attach(parent);
      assert.throws(() => nic.attach(table, { pasid: 1 }), { code: 'EINVAL' });
      nic.detach();
      nic.attach(table, { pasid: 1 });
      assert.throws(() => nic.attach(parent), { code: 'EINVAL' });
      assert.throws(() => nic.attach(parent, { pasid: 2 }), { code: 'EINVAL' });
    });

    it('a guest that translates only after its vDEVICE, others without', () => {
      const guest = new Guest(stage());
      const { nic } = guest.stage;
      guest.vdevice.destroy();
      nic.attach(guest.nested('abort'));
      nic.attach(guest.nested('bypass'));
      nic.attach(guest.viommu.allocNestedHwpt(guest.stage.device, { ste: [0n, 0n] }));
      const nested = guest.nested('translate');
      assert.throws(() => nic.attach(nested), { code: 'ENOENT' });
      // What is there stays.
      assert.throws(() => guest.stage.host.device(ADDRESS).dmaRead(IPA, 4), { code: 'EFAULT' });
      guest.viommu.allocVdevice(guest.stage.device, { virtId: STREAM });
      nic.attach(nested);
    });

    it('devices that share a group together, or none of them', () => {
      const guest = new Guest(stage({ iommuGroup: 1 }, [{ address: OTHER, iommuGroup: 1 }]));
      const { host, iommufd, nic, ioas } = guest.stage;
      const other = host.openDevice(OTHER);
      const otherDevice = other.bind(iommufd);
      guest.map(0, 0);
      const nested = guest.nested('translate');
      const readsOf = (iova: bigint) =>
        [ADDRESS, OTHER].map((address) => {
          try {
            return host.device(address).dmaRead(iova, 4).length;
          } catch {
            return 0;
          }
        });
      nic.attach(ioas);
      other.attach(ioas);
      assert.throws(() => nic.attach(nested), { code: 'ENOENT' }, 'the other one has no vDEVICE');
      assert.deepEqual(
        [readsOf(IPA), readsOf(VA)],
        [
          [4, 4],
          [0, 0],
        ],
      );
      guest.viommu.allocVdevice(otherDevice, { virtId: STREAM + 1n });
      nic.attach(nested);
      assert.deepEqual(
        [readsOf(IPA), readsOf(VA)],
        [
          [0, 0],
          [4, 4],
        ],
      );
      assert.deepEqual(
        guest.events
          .drain()
          .map((told) => told.type === 'event' && told.event.kind === 'arm-smmuv3' && told.event.streamId),
        [Number(STREAM), Number(STREAM) + 1],
      );
      other.attach(nested);
    });

    it('with any failure of memory on the way as if nothing had been', () => {
      const guest = new Guest(stage({ recoverableFaults: true }), { stalls: true });
      const { host, nic, iommufd, ioas, device } = guest.stage;
      guest.map(0, 0);
      const nested = guest.nested('translate', [0n, 0n], iommufd.allocFaultQueue());
      for (const [target, least] of [
        [nested, 6],
        [ioas.allocHwpt(device), 4],
      ] as const) {
        const failures = allocationsOf(guest.stage, () => nic.attach(target));
        assert(failures >= least, `${failures} allocations`);
        host.device(ADDRESS).dmaRead(target === nested ? VA : IPA, 4);
        nic.detach();
      }
    });
  });

  it('leaves nothing behind', () => {
    const guest = new Guest(stage({ pasid: true, ats: true }));
    const { host, nic } = guest.stage;
    nic.attach(guest.nested('translate'));
    closeAll();
    assert.deepEqual(host.inspect().iommufds, []);
  });
});
