// IOMMU_HWPT_ALLOC over an IOAS: options, the order arguments are looked at, and what holds what.
import assert from 'node:assert/strict';
import { mock_iommupt } from '../../lib/emulated/hardware/selftest/uapi.js';
import { IOMMU_HWPT_ALLOC, iommufd_hwpt_alloc_flags } from '../../lib/uapi/index.js';
import { MOCK_APERTURE, MOCK_PAGE_SIZE } from '../rig/mock.js';
import { checkMap, checkPins, hwptData, NOWHERE, nestedOptions, nestingParent, SELFTEST } from '../rig/mock-checks.js';
import { type Bench, conformance, NO_ID, refused } from '../rig/suite.js';

const FLAGS = iommufd_hwpt_alloc_flags.values;
const FORMATS = mock_iommupt.values;
const IOVA = MOCK_APERTURE.start;

function start(t: Bench, options?: Parameters<Bench['mockDevice']>[0]) {
  const { device } = t.mockDevice(options);
  return { device, ioas: t.iommufd.allocIoas() };
}

/** The ioctl itself; what it made is destroyed at once. */
function alloc(
  t: Bench,
  input: Parameters<typeof t.ioctl<typeof IOMMU_HWPT_ALLOC.layout.fields>>[1],
  data?: Uint8Array,
) {
  const { code, out } = t.ioctl(IOMMU_HWPT_ALLOC, input, data === undefined ? {} : { data_uptr: data });
  if (code === 'ok') assert.equal(t.destroyId(out.out_hwpt_id), 'ok');
  return code;
}

conformance('hwpt-alloc', (test) => {
  test('plain', 'makes a page table over an IOAS', (t) => {
    const { device, ioas } = start(t);
    const hwpt = ioas.allocHwpt(device);
    assert.deepEqual([hwpt.type, hwpt.ioas, hwpt.auto, hwpt.nestParent], ['hwpt-paging', ioas, false, false]);
    assert.notEqual(hwpt.id, ioas.id);
    hwpt.destroy();
    assert.equal(t.destroyId(hwpt.id), 'ENOENT');
  });
  test('holds-ioas', 'keeps its IOAS, which says so', (t) => {
    const { device, ioas } = start(t);
    const hwpt = ioas.allocHwpt(device);
    assert.match(refused('EBUSY', () => ioas.destroy()).message, new RegExp(`held by hwpt-paging ${hwpt.id}`));
    hwpt.destroy();
    ioas.destroy();
  });
  test('several', 'makes several page tables over one IOAS', (t) => {
    const { device, ioas } = start(t);
    const ids = [ioas.allocHwpt(device), ioas.allocHwpt(device), ioas.allocHwpt(device)].map((hwpt) => hwpt.id);
    assert.equal(new Set(ids).size, 3);
  });
  for (const [id, flags] of [
    ['flag-nest-parent', FLAGS.IOMMU_HWPT_ALLOC_NEST_PARENT],
    ['flag-dirty-tracking', FLAGS.IOMMU_HWPT_ALLOC_DIRTY_TRACKING],
    ['flag-pasid', FLAGS.IOMMU_HWPT_ALLOC_PASID],
    [
      'flags-together',
      FLAGS.IOMMU_HWPT_ALLOC_NEST_PARENT | FLAGS.IOMMU_HWPT_ALLOC_DIRTY_TRACKING | FLAGS.IOMMU_HWPT_ALLOC_PASID,
    ],
  ] as const) {
    test(id, `takes flags 0x${flags.toString(16)}`, (t) => {
      const { device, ioas } = start(t);
      assert.equal(alloc(t, { flags, dev_id: device.id, pt_id: ioas.id }), 'ok');
    });
  }
  test('options-together', 'takes all options of the object at once', (t) => {
    const { device, ioas } = start(t);
    const hwpt = ioas.allocHwpt(device, { nestParent: true, dirtyTracking: true, pasid: true });
    hwpt.setDirtyTracking(true);
    assert.equal(hwpt.nestParent, true);
    assert.equal(hwpt.allocNestedHwpt(device, nestedOptions()).parent, hwpt);
  });
  test('flags-unknown', 'refuses unknown flags', (t) => {
    const { device, ioas } = start(t);
    for (const flags of [1 << 4, 0x8000_0000]) {
      assert.equal(alloc(t, { flags, dev_id: device.id, pt_id: ioas.id }), 'EOPNOTSUPP');
    }
    ioas.destroy();
  });
  test('fault-queue', 'keeps its fault queue', (t) => {
    const { device, ioas } = start(t);
    const faultQueue = t.iommufd.allocFaultQueue();
    const hwpt = ioas.allocHwpt(device, { faultQueue });
    assert.equal(t.destroyId(faultQueue.id), 'EBUSY');
    hwpt.destroy();
    faultQueue.destroy();
  });
  test('fault-queue-nest-parent', 'refuses a fault queue for a nesting parent', (t) => {
    const { device, ioas } = start(t);
    const faultQueue = t.iommufd.allocFaultQueue();
    refused('EOPNOTSUPP', () => ioas.allocHwpt(device, { nestParent: true, faultQueue }));
    faultQueue.destroy();
  });
  test('fault-queue-unknown', 'refuses a fault id that is none, and leaves nothing behind', (t) => {
    const { device, ioas } = start(t);
    const flags = FLAGS.IOMMU_HWPT_FAULT_ID_VALID;
    for (const fault_id of [0, NO_ID, ioas.id]) {
      assert.equal(alloc(t, { flags, dev_id: device.id, pt_id: ioas.id, fault_id }), 'ENOENT');
    }
    ioas.destroy();
  });
  test('fault-id-ignored', 'ignores fault_id without its flag', (t) => {
    const { device, ioas } = start(t);
    assert.equal(alloc(t, { dev_id: device.id, pt_id: ioas.id, fault_id: NO_ID }), 'ok');
  });
  test('no-dirty', 'refuses dirty tracking where the IOMMU cannot, and nothing else', (t) => {
    const { device, ioas } = start(t, { noDirty: true });
    const error = refused('EOPNOTSUPP', () => ioas.allocHwpt(device, { dirtyTracking: true }));
    assert.match(error.message, /dirtyTracking/);
    ioas.allocHwpt(device, { nestParent: true });
  });
  test('reserved', 'refuses a reserved field', (t) => {
    const { device, ioas } = start(t);
    assert.equal(alloc(t, { dev_id: device.id, pt_id: ioas.id, __reserved: 1 }), 'EOPNOTSUPP');
  });
  test('data-type-alone', 'refuses a data type without data', (t) => {
    const { device, ioas } = start(t);
    const data_type = SELFTEST.IOMMU_HWPT_DATA_SELFTEST;
    assert.equal(alloc(t, { dev_id: device.id, pt_id: ioas.id, data_type }), 'EINVAL');
  });
  test('data-alone', 'refuses data without a type', (t) => {
    const { device, ioas } = start(t);
    assert.equal(alloc(t, { dev_id: device.id, pt_id: ioas.id, data_len: 8 }, hwptData()), 'EINVAL');
  });
  test('order', 'checks reserved, then data against type, then the device, then the parent, then flags', (t) => {
    const { device } = start(t);
    assert.equal(alloc(t, { __reserved: 1, data_len: 8, dev_id: NO_ID, pt_id: NO_ID, flags: 1 << 9 }), 'EOPNOTSUPP');
    assert.equal(alloc(t, { data_len: 8, dev_id: NO_ID, pt_id: NO_ID, flags: 1 << 9 }), 'EINVAL');
    assert.equal(alloc(t, { dev_id: NO_ID, pt_id: NO_ID, flags: 1 << 9 }), 'ENOENT');
    assert.equal(alloc(t, { dev_id: device.id, pt_id: NO_ID, flags: 1 << 9 }), 'EINVAL');
  });
  test('device-unknown', 'refuses an id that is no device', (t) => {
    const { ioas } = start(t);
    for (const dev_id of [0, NO_ID, ioas.id]) assert.equal(alloc(t, { dev_id, pt_id: ioas.id }), 'ENOENT');
  });
  test('parent-unknown', 'refuses a parent id that is nothing', (t) => {
    const { device } = start(t);
    for (const pt_id of [0, NO_ID]) assert.equal(alloc(t, { dev_id: device.id, pt_id }), 'EINVAL');
  });
  test('parent-type', 'refuses a parent that is neither IOAS, page table nor vIOMMU', (t) => {
    const { device, parent } = nestingParent(t);
    const nested = parent.allocNestedHwpt(device, nestedOptions());
    const others = [t.iommufd.allocFaultQueue().id, device.id, nested.id];
    for (const pt_id of others) assert.equal(alloc(t, { dev_id: device.id, pt_id }), 'EINVAL');
  });
  test('driver-data', 'takes driver data: the format of the page table', { needs: 'mock-formats' }, (t) => {
    const { device, ioas } = start(t);
    const type = SELFTEST.IOMMU_HWPT_DATA_SELFTEST;
    ioas.allocHwpt(device, { data: { type, bytes: hwptData(0, FORMATS.MOCK_IOMMUPT_DEFAULT) } });
    assert.equal(ioas.iovaRanges().alignment, BigInt(MOCK_PAGE_SIZE));
    ioas.allocHwpt(device, { data: { type, bytes: hwptData(0, FORMATS.MOCK_IOMMUPT_HUGE) } });
    assert.equal(ioas.iovaRanges().alignment, 4096n);
  });
  test('driver-data-value', 'refuses driver data whose value is not known', (t) => {
    const { device, ioas } = start(t);
    const type = SELFTEST.IOMMU_HWPT_DATA_SELFTEST;
    refused('EOPNOTSUPP', () => ioas.allocHwpt(device, { data: { type, bytes: hwptData(0, 77) } }));
  });
  test('driver-data-type', 'refuses driver data of another IOMMU', (t) => {
    const { device, ioas } = start(t);
    refused('EOPNOTSUPP', () => ioas.allocHwpt(device, { data: { type: 1, bytes: hwptData() } }));
  });
  test(
    'driver-data-length',
    'refuses driver data that is too short, or longer than known even if it is zero',
    { needs: 'mock-formats' },
    (t) => {
      const { device, ioas } = start(t);
      const type = SELFTEST.IOMMU_HWPT_DATA_SELFTEST;
      for (const length of [3, 9, 16]) {
        refused('EINVAL', () => ioas.allocHwpt(device, { data: { type, bytes: new Uint8Array(length) } }));
      }
      ioas.allocHwpt(device, { data: { type, bytes: new Uint8Array(4) } });
    },
  );
  test(
    'driver-data-pointer',
    'refuses driver data at an address with nothing there',
    { needs: 'mock-formats' },
    (t) => {
      const { device, ioas } = start(t);
      const data_type = SELFTEST.IOMMU_HWPT_DATA_SELFTEST;
      const input = { dev_id: device.id, pt_id: ioas.id, data_type, data_len: 8, data_uptr: NOWHERE };
      assert.equal(alloc(t, input), 'EFAULT');
    },
  );
  test('size', 'takes the first release’s size, no less; more only if it is zero', (t) => {
    const { device, ioas } = start(t);
    const input = { dev_id: device.id, pt_id: ioas.id };
    const { minSize, layout } = IOMMU_HWPT_ALLOC;
    const shortest = t.ioctlSized(IOMMU_HWPT_ALLOC, input, { size: minSize });
    assert.equal(shortest.code, 'ok');
    assert.equal(t.destroyId(shortest.out.out_hwpt_id), 'ok');
    assert.equal(t.ioctlSized(IOMMU_HWPT_ALLOC, input, { size: minSize - 1 }).code, 'EINVAL');
    const size = layout.size + 8;
    const longer = t.ioctlSized(IOMMU_HWPT_ALLOC, input, { size, tail: new Uint8Array(8) });
    assert.equal(longer.code, 'ok');
    assert.equal(t.destroyId(longer.out.out_hwpt_id), 'ok');
    assert.equal(
      t.ioctlSized(IOMMU_HWPT_ALLOC, input, { size, tail: Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 1) }).code,
      'E2BIG',
    );
  });
  test('async', 'is made on the thread pool alike', async (t) => {
    const { device, ioas } = start(t);
    const ram = t.memory();
    ioas.map(ram, { iova: IOVA });
    const hwpt = await ioas.allocHwptAsync(device, { nestParent: true });
    assert.deepEqual([hwpt.ioas, hwpt.nestParent], [ioas, true]);
    assert.equal(checkMap(t, hwpt, IOVA, ram.address, BigInt(ram.size)), 'ok');
    await assert.rejects(ioas.allocHwptAsync(device, { data: { type: 1, bytes: hwptData() } }), { code: 'EOPNOTSUPP' });
  });
  test('async-close', 'is waited for by closeAsync, and close refuses meanwhile', async (t) => {
    const iommufd = t.openIommufd();
    const { device } = t.mockDevice({}, iommufd);
    const made = iommufd.allocIoas().allocHwptAsync(device);
    refused('ERR_IOMMUFD_BUSY', () => iommufd.close());
    await iommufd.closeAsync();
    assert.equal((await made).destroyed, true);
  });
  test('pins', 'pins all memory that is mapped, and lets it go at the end', (t) => {
    const { device, ioas } = start(t);
    const ram = t.memory();
    const length = BigInt(ram.size);
    ram.window().fill(1);
    ioas.map(ram, { iova: IOVA });
    assert.equal(checkPins(t, ram.address, length, 0), 'ok');
    assert.equal(checkPins(t, ram.address, length, 1), 'EIO');
    const hwpt = ioas.allocHwpt(device);
    assert.equal(checkPins(t, ram.address, length, 1), 'ok');
    assert.equal(checkMap(t, hwpt, IOVA, ram.address, length), 'ok');
    hwpt.destroy();
    assert.equal(checkPins(t, ram.address, length, 0), 'ok');
  });
  test('pins-once', 'pins memory once for several page tables, which all have it', (t) => {
    const { device, ioas } = start(t);
    const ram = t.memory();
    ioas.map(ram, { iova: IOVA });
    const [first, second] = [ioas.allocHwpt(device), ioas.allocHwpt(device)];
    assert.equal(checkPins(t, ram.address, BigInt(ram.size), 1), 'ok');
    for (const hwpt of [first, second]) assert.equal(checkMap(t, hwpt, IOVA, ram.address), 'ok');
    first.destroy();
    assert.equal(checkPins(t, ram.address, BigInt(ram.size), 1), 'ok');
    assert.equal(checkMap(t, second, IOVA, ram.address), 'ok');
  });
  test('follows', 'follows later mappings and unmappings', (t) => {
    const { device, ioas } = start(t);
    const ram = t.memory();
    const hwpt = ioas.allocHwpt(device);
    assert.equal(checkMap(t, hwpt, IOVA, ram.address), 'EINVAL');
    ioas.map(ram, { iova: IOVA });
    assert.equal(checkMap(t, hwpt, IOVA, ram.address), 'ok');
    ioas.unmap(IOVA, ram.size);
    assert.equal(checkMap(t, hwpt, IOVA, ram.address), 'EINVAL');
    assert.equal(checkPins(t, ram.address, BigInt(ram.size), 0), 'ok');
  });
  test('nothing-there', 'is where an address with nothing there is found out; what was pinned is let go', (t) => {
    const { device, ioas } = start(t);
    const ram = t.memory();
    ioas.map(ram, { iova: IOVA });
    ioas.unsafeMapAddress(NOWHERE, { iova: IOVA + 0x10_0000n, length: 0x1000 });
    refused('EFAULT', () => ioas.allocHwpt(device));
    assert.equal(checkPins(t, ram.address, BigInt(ram.size), 0), 'ok');
    ioas.unmap(IOVA + 0x10_0000n, 0x1000);
    ioas.allocHwpt(device);
  });
  test('outside-aperture', 'refuses an IOAS with mappings outside the aperture', (t) => {
    const { device, ioas } = start(t);
    const ram = t.memory();
    ioas.map(ram, { iova: MOCK_APERTURE.last + 1n });
    const error = refused('EADDRINUSE', () => ioas.allocHwpt(device));
    assert.match(error.message, /hint:/);
    ioas.unmapAll();
    ioas.allocHwpt(device);
  });
  test('misaligned', 'refuses an IOAS with mappings that its pages do not fit', (t) => {
    const { device, ioas } = start(t);
    const ram = t.memory(4096, { backing: 'anonymous' });
    ioas.map(ram, { iova: IOVA + 512n, length: 1024 });
    refused('EADDRINUSE', () => ioas.allocHwpt(device));
  });
  test('allowed-iovas', 'refuses to take IOVAs away that were promised', (t) => {
    const { device, ioas } = start(t);
    ioas.allowIovas([{ start: 0x1000n, last: 0x1fffn }]);
    refused('EADDRINUSE', () => ioas.allocHwpt(device));
    ioas.allowIovas([]);
    ioas.allocHwpt(device);
  });
  test('iova-ranges', 'narrows the IOAS to the aperture while it lives', (t) => {
    const { device, ioas } = start(t);
    const before = ioas.iovaRanges();
    const hwpt = ioas.allocHwpt(device);
    assert.deepEqual(ioas.iovaRanges(), { ranges: [{ ...MOCK_APERTURE }], alignment: BigInt(MOCK_PAGE_SIZE) });
    hwpt.destroy();
    assert.deepEqual(ioas.iovaRanges(), before);
  });
  test('misuse', 'names wrong arguments before the kernel is asked', (t) => {
    const { device, ioas } = start(t);
    const other = t.openIommufd();
    const stranger = t.mockDevice({}, other).device;
    refused('ERR_INVALID_ARG_TYPE', () => ioas.allocHwpt({ id: device.id } as never));
    refused('ERR_UNKNOWN_OPTION', () => ioas.allocHwpt(device, { nestedParent: true } as never));
    refused('ERR_INVALID_ARG_TYPE', () => ioas.allocHwpt(device, { nestParent: 1 } as never));
    refused('ERR_IOMMUFD_FOREIGN_CONTEXT', () => ioas.allocHwpt(stranger));
    refused('ERR_IOMMUFD_FOREIGN_CONTEXT', () => ioas.allocHwpt(device, { faultQueue: other.allocFaultQueue() }));
    ioas.destroy();
    refused('ERR_IOMMUFD_DESTROYED', () => ioas.allocHwpt(device));
  });
});
