// IOMMU_HWPT_ALLOC with driver data: page tables that a guest manages.
import assert from 'node:assert/strict';
import { IOMMU_HWPT_ALLOC, iommufd_hwpt_alloc_flags } from '../../lib/uapi/index.js';
import {
  checkIotlb,
  hwptData,
  iotlbWith,
  NOWHERE,
  nestedOptions,
  nestingParent,
  SELFTEST,
} from '../rig/mock-checks.js';
import { type Bench, conformance, refused } from '../rig/suite.js';

const FLAGS = iommufd_hwpt_alloc_flags.values;
const DATA = { data_type: SELFTEST.IOMMU_HWPT_DATA_SELFTEST, data_len: 8 };

/** A parent, and a vIOMMU on it. */
function start(t: Bench) {
  const { device, ioas, parent } = nestingParent(t);
  return { device, ioas, parent, viommu: parent.allocViommu(device, { type: SELFTEST.IOMMU_VIOMMU_TYPE_SELFTEST }) };
}

/** The ioctl itself; what it made is destroyed at once. */
function alloc(
  t: Bench,
  input: Parameters<typeof t.ioctl<typeof IOMMU_HWPT_ALLOC.layout.fields>>[1],
  data = hwptData(),
) {
  const { code, out } = t.ioctl(IOMMU_HWPT_ALLOC, input, input.data_uptr === undefined ? { data_uptr: data } : {});
  if (code === 'ok') assert.equal(t.destroyId(out.out_hwpt_id), 'ok');
  return code;
}

conformance('hwpt-nested', (test) => {
  test('from-parent', 'is made from a page table, and keeps it', (t) => {
    const { device, parent } = nestingParent(t);
    const nested = parent.allocNestedHwpt(device, nestedOptions());
    assert.deepEqual([nested.type, nested.parent], ['hwpt-nested', parent]);
    assert.match(refused('EBUSY', () => parent.destroy()).message, new RegExp(`held by hwpt-nested ${nested.id}`));
    nested.destroy();
    parent.destroy();
  });
  test('from-viommu', 'is made from a vIOMMU, and keeps it', (t) => {
    const { device, parent, viommu } = start(t);
    const nested = viommu.allocNestedHwpt(device, nestedOptions());
    assert.equal(nested.parent, viommu);
    assert.match(refused('EBUSY', () => viommu.destroy()).message, new RegExp(`held by hwpt-nested ${nested.id}`));
    refused('EBUSY', () => parent.destroy());
    nested.destroy();
    viommu.destroy();
    parent.destroy();
  });
  test('several', 'is made several times from one parent', (t) => {
    const { device, parent } = nestingParent(t);
    const first = parent.allocNestedHwpt(device, nestedOptions(1));
    const second = parent.allocNestedHwpt(device, nestedOptions(2));
    assert.deepEqual(iotlbWith(t, first, 1), [0, 1, 2, 3]);
    assert.deepEqual(iotlbWith(t, second, 2), [0, 1, 2, 3]);
    first.destroy();
    assert.equal(t.destroyId(parent.id), 'EBUSY');
    assert.deepEqual(iotlbWith(t, second, 2), [0, 1, 2, 3]);
  });
  test('data-arrives', 'hands the driver its data', (t) => {
    const { device, parent, viommu } = start(t);
    for (const from of [parent, viommu]) {
      const nested = from.allocNestedHwpt(device, nestedOptions(0xcafe_0001));
      assert.deepEqual(iotlbWith(t, nested, 0xcafe_0001), [0, 1, 2, 3]);
      assert.equal(checkIotlb(t, nested, 0, 0xcafe_0002), 'EINVAL');
    }
  });
  test('not-a-parent', 'refuses a page table that is no nesting parent', (t) => {
    const { device } = t.mockDevice();
    const hwpt = t.iommufd.allocIoas().allocHwpt(device, { dirtyTracking: true });
    assert.match(refused('EINVAL', () => hwpt.allocNestedHwpt(device, nestedOptions())).message, /nestParent/);
    hwpt.destroy();
  });
  test('auto-parent', 'refuses a page table that the kernel made', (t) => {
    const { device } = t.mockDevice();
    const auto = device.attach(t.iommufd.allocIoas());
    assert.equal(alloc(t, { ...DATA, dev_id: device.id, pt_id: auto.id }), 'EINVAL');
  });
  test('data-type', 'refuses data of another IOMMU', (t) => {
    const { device, parent, viommu } = start(t);
    for (const from of [parent, viommu]) {
      refused('EOPNOTSUPP', () => from.allocNestedHwpt(device, { data: { type: 1, bytes: hwptData() } }));
      refused('EOPNOTSUPP', () => from.allocNestedHwpt(device, { ste: [1n, 0n] }));
    }
  });
  test('no-data', 'refuses to be made without data', (t) => {
    const { device, parent, viommu } = start(t);
    for (const from of [parent, viommu]) {
      assert.equal(t.ioctl(IOMMU_HWPT_ALLOC, { dev_id: device.id, pt_id: from.id }).code, 'EOPNOTSUPP');
    }
  });
  test('data-length', 'refuses data that is too short, or longer than known even if it is zero', (t) => {
    const { device, parent, viommu } = start(t);
    for (const from of [parent, viommu]) {
      const make = (length: number) => () => {
        const data = { type: SELFTEST.IOMMU_HWPT_DATA_SELFTEST, bytes: new Uint8Array(length) };
        return from.allocNestedHwpt(device, { data });
      };
      for (const length of [1, 3, 9, 12]) refused('EINVAL', make(length));
      assert.deepEqual(iotlbWith(t, make(4)(), 0), [0, 1, 2, 3]);
    }
  });
  test('data-pointer', 'refuses data at an address with nothing there', (t) => {
    const { device, parent, viommu } = start(t);
    for (const { id } of [parent, viommu]) {
      assert.equal(alloc(t, { ...DATA, dev_id: device.id, pt_id: id, data_uptr: NOWHERE }), 'EFAULT');
      assert.equal(alloc(t, { ...DATA, dev_id: device.id, pt_id: id, data_uptr: 0n }), 'EFAULT');
    }
  });
  test('flags', 'takes the flags of PASIDs and faults only', (t) => {
    const { device, parent, viommu } = start(t);
    const { IOMMU_HWPT_ALLOC_NEST_PARENT, IOMMU_HWPT_ALLOC_DIRTY_TRACKING, IOMMU_HWPT_ALLOC_PASID } = FLAGS;
    for (const { id } of [parent, viommu]) {
      const make = (flags: number) => alloc(t, { ...DATA, flags, dev_id: device.id, pt_id: id });
      for (const flags of [IOMMU_HWPT_ALLOC_NEST_PARENT, IOMMU_HWPT_ALLOC_DIRTY_TRACKING, 1 << 4, 0x8000_0000]) {
        assert.equal(make(flags), 'EOPNOTSUPP');
      }
      assert.equal(make(IOMMU_HWPT_ALLOC_PASID), 'ok');
    }
  });
  test('flags-first', 'checks flags before the parent', (t) => {
    const { device } = t.mockDevice();
    const hwpt = t.iommufd.allocIoas().allocHwpt(device);
    assert.equal(alloc(t, { ...DATA, flags: 1 << 4, dev_id: device.id, pt_id: hwpt.id }), 'EOPNOTSUPP');
    assert.equal(alloc(t, { ...DATA, dev_id: device.id, pt_id: hwpt.id }), 'EINVAL');
  });
  test('fault-queue', 'keeps its fault queue', (t) => {
    const { device, parent, viommu } = start(t);
    for (const from of [parent, viommu]) {
      const faultQueue = t.iommufd.allocFaultQueue();
      const nested = from.allocNestedHwpt(device, { ...nestedOptions(), faultQueue, pasid: true });
      assert.equal(t.destroyId(faultQueue.id), 'EBUSY');
      assert.deepEqual(nested.parents, [from, faultQueue]);
      nested.destroy();
      faultQueue.destroy();
    }
  });
  test('fault-queue-unknown', 'refuses a fault id that is none, and leaves nothing behind', (t) => {
    const { device, parent, viommu } = start(t);
    const flags = FLAGS.IOMMU_HWPT_FAULT_ID_VALID;
    for (const { id } of [parent, viommu]) {
      assert.equal(alloc(t, { ...DATA, flags, dev_id: device.id, pt_id: id, fault_id: parent.id }), 'ENOENT');
    }
    viommu.destroy();
    parent.destroy();
  });
  test('attach', 'is attached like any page table, and held by its device', (t) => {
    const { device, parent } = nestingParent(t);
    const nested = parent.allocNestedHwpt(device, nestedOptions());
    assert.equal(device.attach(nested), nested);
    assert.match(refused('EBUSY', () => nested.destroy()).message, new RegExp(`attached device ${device.id}`));
    device.detach();
    nested.destroy();
  });
  test('attach-back', 'is replaced by its parent, and the other way', (t) => {
    const { device, parent } = nestingParent(t);
    const nested = parent.allocNestedHwpt(device, nestedOptions());
    device.attach(parent);
    device.attach(nested);
    device.attach(parent);
    assert.equal(device.attachedTo(), parent);
    nested.destroy();
    device.detach();
  });
  test('attach-viommu', 'from a vIOMMU, is attached only to a device that the vIOMMU knows', (t) => {
    const { device, viommu } = start(t);
    const nested = viommu.allocNestedHwpt(device, nestedOptions());
    const { refusal } = device.tryAttach(nested);
    assert.equal(refusal?.code, 'ENOENT');
    assert.match(refusal.hint ?? '', /allocVdevice/);
    assert.equal(device.attachedTo(), undefined);
    viommu.allocVdevice(device, { virtId: 7 });
    assert.equal(device.attach(nested), nested);
    device.detach();
  });
  test('iova-ranges', 'leaves the IOVA ranges of the IOAS alone', (t) => {
    const { device, ioas, parent } = nestingParent(t);
    const before = ioas.iovaRanges();
    device.attach(parent.allocNestedHwpt(device, nestedOptions()));
    assert.deepEqual(ioas.iovaRanges(), before);
    device.detach();
  });
  test('dispose', 'goes with its parent when that is disposed, attachments first', (t) => {
    const { device, parent, viommu } = start(t);
    const nested = viommu.allocNestedHwpt(device, nestedOptions());
    viommu.allocVdevice(device, { virtId: 7 });
    device.attach(nested);
    parent[Symbol.dispose]();
    assert.deepEqual([nested.destroyed, viommu.destroyed, parent.destroyed], [true, true, true]);
    assert.equal(device.attachedTo(), undefined);
  });
  test('misuse', 'names wrong arguments before the kernel is asked', (t) => {
    const { device, parent } = nestingParent(t);
    refused('ERR_INVALID_ARG_TYPE', () => parent.allocNestedHwpt(device, {} as never));
    refused('ERR_INVALID_ARG_TYPE', () => parent.allocNestedHwpt(device, undefined as never));
    refused('ERR_OUT_OF_RANGE', () => parent.allocNestedHwpt(device, { ste: [1n] } as never));
    refused('ERR_OUT_OF_RANGE', () => parent.allocNestedHwpt(device, { dte: [1n, 2n, 3n, 1n << 64n] }));
    refused('ERR_UNKNOWN_OPTION', () => parent.allocNestedHwpt(device, { ste: [1n, 0n], dte: [] } as never));
    const stranger = t.mockDevice({}, t.openIommufd()).device;
    refused('ERR_IOMMUFD_FOREIGN_CONTEXT', () => parent.allocNestedHwpt(stranger, nestedOptions()));
    parent.destroy();
    refused('ERR_IOMMUFD_DESTROYED', () => parent.allocNestedHwpt(device, nestedOptions()));
  });
});
