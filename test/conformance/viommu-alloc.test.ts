// IOMMU_VIOMMU_ALLOC on the mock: what it takes, what it refuses, and the driver data that goes both ways.
import assert from 'node:assert/strict';
import { iommu_viommu_selftest } from '../../lib/emulated/hardware/selftest/uapi.js';
import { IOMMU_VIOMMU_ALLOC, iommu_viommu_type } from '../../lib/uapi/index.js';
import { MMAP_PAIR, makeGuest, UNKNOWN_TYPE, VIOMMU_TYPE, viommuData } from '../rig/guest.js';
import { type Bench, conformance, NO_ID, refused } from '../rig/suite.js';

/** A device and a nesting parent, and no vIOMMU. */
function makeParent(t: Bench) {
  const { device } = t.mockDevice();
  const ioas = t.iommufd.allocIoas();
  const parent = ioas.allocHwpt(device, { nestParent: true });
  const input = { type: VIOMMU_TYPE, dev_id: device.id, hwpt_id: parent.id };
  return { device, ioas, parent, input };
}

conformance('viommu-alloc', (test) => {
  test('plain', 'a vIOMMU without driver data is made, and knows what it is', (t) => {
    const { device, parent } = makeParent(t);
    const viommu = parent.allocViommu(device, { type: VIOMMU_TYPE });
    assert.equal(viommu.type, 'viommu');
    assert.equal(viommu.viommuType, VIOMMU_TYPE);
    assert.equal(viommu.typeNumber, VIOMMU_TYPE);
    assert.equal(viommu.hwpt, parent);
    assert.equal(viommu.data.length, 0);
    assert.deepEqual(viommu.parents, [parent]);
    assert.deepEqual(parent.heldBy, [viommu.describe()]);
  });

  test('several', 'a nesting parent carries several vIOMMUs', (t) => {
    const { device, parent } = makeParent(t);
    const first = parent.allocViommu(device, { type: VIOMMU_TYPE });
    const second = parent.allocViommu(device, { type: VIOMMU_TYPE });
    assert.notEqual(first.id, second.id);
    first.destroy();
    refused('EBUSY', () => parent.destroy());
    second.destroy();
    parent.destroy();
  });

  test('out-id', 'the answered id is the object that DESTROY takes', (t) => {
    const { input } = makeParent(t);
    const { code, out } = t.ioctl(IOMMU_VIOMMU_ALLOC, input);
    assert.equal(code, 'ok');
    assert.equal(t.destroyId(out.out_viommu_id), 'ok');
    assert.equal(t.destroyId(out.out_viommu_id), 'ENOENT');
  });

  test('type-default', 'type 0 is EOPNOTSUPP', (t) => {
    const { input } = makeParent(t);
    const type = iommu_viommu_type.values.IOMMU_VIOMMU_TYPE_DEFAULT;
    assert.equal(t.ioctl(IOMMU_VIOMMU_ALLOC, { ...input, type }).code, 'EOPNOTSUPP');
  });

  test('type-unknown', 'a type the IOMMU does not offer is EOPNOTSUPP, with the reason told', (t) => {
    const { device, parent } = makeParent(t);
    for (const type of [UNKNOWN_TYPE, 'arm-smmuv3', 'tegra241-cmdqv'] as const) {
      const error = refused('EOPNOTSUPP', () => parent.allocViommu(device, { type }));
      assert.match(error.message, /^IOMMU_VIOMMU_ALLOC: EOPNOTSUPP.*hint: /s);
    }
    parent.destroy();
  });

  test('flags', 'flags are EOPNOTSUPP, before ids are looked at', (t) => {
    const { input } = makeParent(t);
    assert.equal(t.ioctl(IOMMU_VIOMMU_ALLOC, { ...input, flags: 1 }).code, 'EOPNOTSUPP');
    assert.equal(t.ioctl(IOMMU_VIOMMU_ALLOC, { ...input, flags: 1, dev_id: NO_ID }).code, 'EOPNOTSUPP');
  });

  test('unknown-device', 'no such device is ENOENT; an id of another kind too', (t) => {
    const { input, parent } = makeParent(t);
    assert.equal(t.ioctl(IOMMU_VIOMMU_ALLOC, { ...input, dev_id: NO_ID }).code, 'ENOENT');
    assert.equal(t.ioctl(IOMMU_VIOMMU_ALLOC, { ...input, dev_id: parent.id }).code, 'ENOENT');
  });

  test('unknown-hwpt', 'no such page table is ENOENT; an address space and a device too', (t) => {
    const { input, ioas, device } = makeParent(t);
    for (const hwpt_id of [NO_ID, ioas.id, device.id]) {
      assert.equal(t.ioctl(IOMMU_VIOMMU_ALLOC, { ...input, hwpt_id }).code, 'ENOENT');
    }
  });

  test('order', 'the device is looked up first, then the type, then the page table', (t) => {
    const { input } = makeParent(t);
    const bad = { hwpt_id: NO_ID, type: UNKNOWN_TYPE };
    assert.equal(t.ioctl(IOMMU_VIOMMU_ALLOC, { ...input, ...bad, dev_id: NO_ID }).code, 'ENOENT');
    assert.equal(t.ioctl(IOMMU_VIOMMU_ALLOC, { ...input, ...bad }).code, 'EOPNOTSUPP');
  });

  test('not-a-parent', 'a page table that is no nesting parent is EINVAL', (t) => {
    const { device } = t.mockDevice();
    const hwpt = t.iommufd.allocIoas().allocHwpt(device);
    const error = refused('EINVAL', () => hwpt.allocViommu(device, { type: VIOMMU_TYPE }));
    assert.match(error.message, /nestParent: true/);
    assert.deepEqual(hwpt.heldBy, []);
    hwpt.destroy();
  });

  test('auto-hwpt', 'nor can the page table be one that the kernel made at an attach', (t) => {
    const { device } = t.mockDevice();
    const hwpt = device.attach(t.iommufd.allocIoas());
    assert.equal(hwpt.type, 'hwpt-paging');
    const input = { type: VIOMMU_TYPE, dev_id: device.id, hwpt_id: hwpt.id };
    assert.equal(t.ioctl(IOMMU_VIOMMU_ALLOC, input).code, 'EINVAL');
  });

  test('other-device', 'another device of the same IOMMU will do', (t) => {
    const { parent } = makeParent(t);
    const other = t.mockDevice();
    assert.equal(parent.allocViommu(other.device, { type: VIOMMU_TYPE }).hwpt, parent);
  });

  test('loopback', 'driver data goes in and comes out: out_data is in_data', (t) => {
    const { viommu } = makeGuest(t, { inData: 0x1234_5678 });
    const answer = iommu_viommu_selftest.decode(new DataView(viommu.data.buffer), 0);
    assert.equal(answer.in_data, 0x1234_5678);
    assert.equal(answer.out_data, 0x1234_5678);
    assert.equal(answer.out_mmap_length, BigInt(t.rig.seam.pageSize) * 2n);
    assert.notEqual(answer.out_mmap_offset, 0n);
  });

  test('caller-data-kept', "the answer is the object's: the caller's array keeps what was in it", (t) => {
    const { device, parent } = makeParent(t);
    const data = viommuData(7);
    const viommu = parent.allocViommu(device, { type: VIOMMU_TYPE, data, mmapPair: MMAP_PAIR });
    assert.deepEqual(data, viommuData(7));
    assert.notDeepEqual(viommu.data, data);
  });

  test('data-shortest', 'data as short as the oldest struct is taken, and not a byte more is written', (t) => {
    const { input } = makeParent(t);
    const data = viommuData(5);
    const attached = { ...input, data_len: iommu_viommu_selftest.at.out_mmap_offset };
    const { code, out } = t.ioctl(IOMMU_VIOMMU_ALLOC, attached, { data_uptr: data });
    assert.equal(code, 'ok');
    t.destroyId(out.out_viommu_id);
    const answer = iommu_viommu_selftest.decode(new DataView(data.buffer), 0);
    assert.equal(answer.out_data, 5);
    assert.equal(answer.out_mmap_offset, 0n);
    assert.equal(answer.out_mmap_length, 0n);
  });

  test('data-too-short', 'data shorter than the oldest struct is EINVAL', (t) => {
    const { device, parent } = makeParent(t);
    const length = iommu_viommu_selftest.at.out_mmap_offset - 1;
    refused('EINVAL', () => parent.allocViommu(device, { type: VIOMMU_TYPE, data: new Uint8Array(length) }));
    parent.destroy();
  });

  test('data-too-long', 'data longer than the struct is EINVAL, zeros or not', (t) => {
    const { device, parent } = makeParent(t);
    const data = new Uint8Array(iommu_viommu_selftest.size + 8);
    refused('EINVAL', () => parent.allocViommu(device, { type: VIOMMU_TYPE, data }));
    data.fill(1);
    refused('EINVAL', () => parent.allocViommu(device, { type: VIOMMU_TYPE, data }));
    parent.destroy();
  });

  test('data-bad-address', 'data at an address that is not mapped is EFAULT', (t) => {
    const { input, parent } = makeParent(t);
    const bad = { ...input, data_len: iommu_viommu_selftest.size, data_uptr: 8n };
    assert.equal(t.ioctl(IOMMU_VIOMMU_ALLOC, bad).code, 'EFAULT');
    parent.destroy();
  });

  test(
    'no-region',
    'without driver data there are no registers: the region and mmap are ERR_IOMMUFD_UNAVAILABLE',
    (t) => {
      const { device, parent } = makeParent(t);
      const viommu = parent.allocViommu(device, { type: VIOMMU_TYPE });
      assert.throws(() => viommu.mmapRegion, { code: 'ERR_IOMMUFD_UNAVAILABLE' });
      assert.throws(() => viommu.mmap(), { code: 'ERR_IOMMUFD_UNAVAILABLE' });
      viommu.destroy();
    },
  );

  test('no-pair', 'data of a kind not known tells no region unless mmapPair says where', (t) => {
    const { device, parent } = makeParent(t);
    const viommu = parent.allocViommu(device, { type: VIOMMU_TYPE, data: viommuData(1) });
    assert.equal(viommu.data.length, iommu_viommu_selftest.size);
    assert.throws(() => viommu.mmapRegion, { code: 'ERR_IOMMUFD_UNAVAILABLE' });
  });

  test('pair-of-zeros', 'a pair whose length comes back as 0 is no region', (t) => {
    const { device, parent } = makeParent(t);
    // in_data 0 and out_data 0 stand where the pair is said to be.
    const mmapPair = { offsetAt: 0, lengthAt: 0 };
    const viommu = parent.allocViommu(device, { type: VIOMMU_TYPE, data: viommuData(0), mmapPair });
    assert.throws(() => viommu.mmapRegion, { code: 'ERR_IOMMUFD_UNAVAILABLE' });
  });

  test('pair-outside', 'a pair outside the data is a RangeError, before anything is made', (t) => {
    const { device, parent } = makeParent(t);
    const { size } = iommu_viommu_selftest;
    const make = (mmapPair: { offsetAt: number; lengthAt: number }, data?: Uint8Array) =>
      parent.allocViommu(device, { type: VIOMMU_TYPE, mmapPair, ...(data && { data }) });
    const outside = { name: 'RangeError', code: 'ERR_OUT_OF_RANGE' };
    assert.throws(() => make({ offsetAt: size - 7, lengthAt: 0 }, viommuData()), {
      ...outside,
      message: /^mmapPair.offsetAt/,
    });
    assert.throws(() => make({ offsetAt: 0, lengthAt: size - 7 }, viommuData()), {
      ...outside,
      message: /^mmapPair.lengthAt/,
    });
    assert.throws(() => make(MMAP_PAIR), { ...outside, message: /^mmapPair.offsetAt/ });
    parent.destroy();
  });

  test('foreign-device', 'a device of another iommufd is ERR_IOMMUFD_FOREIGN_CONTEXT', (t) => {
    const { parent } = makeParent(t);
    const other = t.mockDevice({}, t.openIommufd());
    const foreign = { code: 'ERR_IOMMUFD_FOREIGN_CONTEXT' };
    assert.throws(() => parent.allocViommu(other.device, { type: VIOMMU_TYPE }), foreign);
  });

  test('destroyed', 'nothing can be made from a vIOMMU that is gone', (t) => {
    const { viommu, device } = makeGuest(t);
    viommu.destroy();
    viommu.destroy();
    const gone = { code: 'ERR_IOMMUFD_DESTROYED' };
    assert.throws(() => viommu.mmap(), gone);
    assert.throws(() => viommu.mmapRegion, gone);
    assert.throws(() => viommu.allocVdevice(device, { virtId: 1 }), gone);
    assert.throws(() => viommu.allocVeventq({ depth: 1 }), gone);
    assert.throws(() => viommu.allocHwQueue({ index: 0, iova: 0, length: 1 }), gone);
    assert.throws(() => viommu.invalidate({ type: 1, entryLength: 1, entries: new Uint8Array(1) }), gone);
  });

  test('parent-destroyed', 'nor from a page table that is gone', (t) => {
    const { parent, device } = makeParent(t);
    parent.destroy();
    assert.throws(() => parent.allocViommu(device, { type: VIOMMU_TYPE }), { code: 'ERR_IOMMUFD_DESTROYED' });
  });

  test('struct-size', 'the oldest struct is enough; shorter is EINVAL; longer must be zeros behind', (t) => {
    const { input } = makeParent(t);
    const { layout } = IOMMU_VIOMMU_ALLOC;
    const { size } = layout;
    const oldest = layout.end('out_viommu_id');
    const alloc = (raw: { size: number; tail?: Uint8Array }) => {
      const { code, out } = t.ioctlSized(IOMMU_VIOMMU_ALLOC, input, raw);
      if (code === 'ok') t.destroyId(out.out_viommu_id);
      return code;
    };
    assert.equal(alloc({ size: oldest }), 'ok');
    assert.equal(alloc({ size: oldest - 1 }), 'EINVAL');
    assert.equal(alloc({ size: size + 8, tail: new Uint8Array(8) }), 'ok');
    assert.equal(alloc({ size: size + 8, tail: new Uint8Array(8).fill(1) }), 'E2BIG');
  });
});
