// IOMMU_HWPT_INVALIDATE, on nested page tables and on vIOMMUs.
import assert from 'node:assert/strict';
import { iommu_test_invalidate_flags } from '../../lib/emulated/hardware/selftest/uapi.js';
import { IommufdError } from '../../lib/index.js';
import { IOMMU_HWPT_INVALIDATE } from '../../lib/uapi/index.js';
import { cacheWith, iotlbWith, NOWHERE, nestedOptions, nestingParent, SELFTEST } from '../rig/mock-checks.js';
import { type Bench, conformance, NO_ID, refused } from '../rig/suite.js';

const { IOMMU_TEST_INVALIDATE_FLAG_ALL: ALL } = iommu_test_invalidate_flags.values;
const NESTED_TYPE = SELFTEST.IOMMU_HWPT_INVALIDATE_DATA_SELFTEST;
const VIOMMU_TYPE = SELFTEST.IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST;
/** What IOTLB and device cache hold at first. */
const TLB = SELFTEST.IOMMU_TEST_IOTLB_DEFAULT;
const CACHE = SELFTEST.IOMMU_TEST_DEV_CACHE_DEFAULT;
const EVERY = [0, 1, 2, 3];

function bytes(words: readonly number[]): Uint8Array {
  return new Uint8Array(Uint32Array.from(words).buffer);
}

/** A request for a nested page table: [flags, entry] each. */
function iotlb(...entries: readonly (readonly [number, number])[]) {
  return { type: NESTED_TYPE, entryLength: 8, entries: bytes(entries.flat()) };
}

/** A request for a vIOMMU: [flags, virtual device id, entry] each. */
function cache(...entries: readonly (readonly [number, number, number])[]) {
  return { type: VIOMMU_TYPE, entryLength: 12, entries: bytes(entries.flat()) };
}

function nestedHwpt(t: Bench) {
  const { device, parent } = nestingParent(t);
  return parent.allocNestedHwpt(device, nestedOptions());
}

/** A vIOMMU that knows two devices as 0x77 and 0x78. */
function viommuBench(t: Bench) {
  const { device, parent } = nestingParent(t);
  const other = t.mockDevice().device;
  const viommu = parent.allocViommu(device, { type: SELFTEST.IOMMU_VIOMMU_TYPE_SELFTEST });
  const vdevice = viommu.allocVdevice(device, { virtId: 0x77 });
  viommu.allocVdevice(other, { virtId: 0x78 });
  return { device, other, parent, viommu, vdevice };
}

type Fields = Parameters<Bench['ioctl']>[1];
/** The ioctl itself: its answer, and how many entries it says it did. */
function raw(t: Bench, input: Fields, entries?: Uint8Array): [string, number] {
  const { code, out } = t.ioctl(
    IOMMU_HWPT_INVALIDATE,
    input as object,
    entries === undefined ? {} : { data_uptr: entries },
  );
  return [code, out.entry_num];
}

conformance('hwpt-invalidate', (test) => {
  test('single', 'invalidates the entry asked for, and no other', (t) => {
    const nested = nestedHwpt(t);
    assert.equal(nested.invalidate(iotlb([0, 2])), 1);
    assert.deepEqual(iotlbWith(t, nested, 0), [2]);
    assert.deepEqual(iotlbWith(t, nested, TLB), [0, 1, 3]);
  });
  test('all', 'invalidates everything with one entry', (t) => {
    const nested = nestedHwpt(t);
    assert.equal(nested.invalidate(iotlb([ALL, 0])), 1);
    assert.deepEqual(iotlbWith(t, nested, 0), EVERY);
  });
  test('several', 'does several entries in one call', (t) => {
    const nested = nestedHwpt(t);
    assert.equal(nested.invalidate(iotlb([0, 1], [0, 3])), 2);
    assert.deepEqual(iotlbWith(t, nested, 0), [1, 3]);
  });
  test('own-table-only', 'leaves other nested page tables alone', (t) => {
    const { device, parent } = nestingParent(t);
    const [one, two] = [
      parent.allocNestedHwpt(device, nestedOptions()),
      parent.allocNestedHwpt(device, nestedOptions()),
    ];
    one.invalidate(iotlb([ALL, 0]));
    assert.deepEqual(iotlbWith(t, two, TLB), EVERY);
  });
  test('many', 'does more entries than go into one call', (t) => {
    const nested = nestedHwpt(t);
    const entries = new Uint32Array(2 * 20_001);
    entries[2 * 20_000 + 1] = 3;
    const done = nested.invalidate({ type: NESTED_TYPE, entryLength: 8, entries: new Uint8Array(entries.buffer) });
    assert.equal(done, 20_001);
    assert.deepEqual(iotlbWith(t, nested, 0), [0, 3]);
  });
  test('many-partial', 'counts over all calls when one of them is refused', (t) => {
    const nested = nestedHwpt(t);
    const entries = new Uint32Array(2 * 20_000);
    entries[2 * 12_345 + 1] = 9;
    entries[2 * 12_346 + 1] = 2;
    const request = { type: NESTED_TYPE, entryLength: 8, entries: new Uint8Array(entries.buffer) };
    const { completed, refusal } = nested.tryInvalidate(request);
    assert.equal(completed, 12_345);
    assert.equal(refusal?.code, 'EINVAL');
    assert.deepEqual([refusal.args.completed, refusal.args.entry_num], [12_345, 20_000]);
    assert.deepEqual(iotlbWith(t, nested, TLB), [1, 2, 3]);
  });
  test('probe', 'tells with no entries whether the type is known', (t) => {
    const nested = nestedHwpt(t);
    assert.equal(nested.invalidate(iotlb()), 0);
    const unknown = SELFTEST.IOMMU_HWPT_INVALIDATE_DATA_SELFTEST_INVALID;
    refused('EINVAL', () => nested.invalidate({ type: unknown, entryLength: 8, entries: new Uint8Array() }));
    assert.deepEqual(iotlbWith(t, nested, TLB), EVERY);
  });
  test('probe-raw', 'looks at neither pointer nor length when there are no entries', (t) => {
    const { id } = nestedHwpt(t);
    assert.deepEqual(raw(t, { hwpt_id: id, data_type: NESTED_TYPE, data_uptr: 0n, entry_len: 0 }), ['ok', 0]);
    assert.deepEqual(raw(t, { hwpt_id: id, data_type: NESTED_TYPE, data_uptr: NOWHERE, entry_len: 9000 }), ['ok', 0]);
  });
  test('type', 'refuses a type of another IOMMU', (t) => {
    const nested = nestedHwpt(t);
    const { completed, refusal } = nested.tryInvalidate({ vtd: [{ all: true }] });
    assert.deepEqual([completed, refusal?.code], [0, 'EINVAL']);
    refused('EINVAL', () => nested.invalidate({ smmuv3: new BigUint64Array(2) }));
    assert.deepEqual(iotlbWith(t, nested, TLB), EVERY);
  });
  test('bad-flags', 'stops at an entry with an unknown flag', (t) => {
    const nested = nestedHwpt(t);
    const { completed, refusal } = nested.tryInvalidate(iotlb([0, 0], [0, 1], [2, 2], [0, 3]));
    assert.deepEqual([completed, refusal?.code], [2, 'EOPNOTSUPP']);
    assert.deepEqual(iotlbWith(t, nested, 0), [0, 1]);
  });
  test('bad-index', 'stops at an entry with an index that is not there', (t) => {
    const nested = nestedHwpt(t);
    const { completed, refusal } = nested.tryInvalidate(iotlb([0, 0], [0, 4], [0, 1]));
    assert.deepEqual([completed, refusal?.code], [1, 'EINVAL']);
    assert.deepEqual(iotlbWith(t, nested, 0), [0]);
  });
  test('error', 'throws with what was done before', (t) => {
    const nested = nestedHwpt(t);
    const error = refused('EINVAL', () => nested.invalidate(iotlb([0, 0], [0, 1], [0, 77])));
    assert(error instanceof IommufdError);
    assert.equal(error.syscall, 'IOMMU_HWPT_INVALIDATE');
    assert.deepEqual([error.args.completed, error.args.hwpt_id], [2, nested.id]);
    assert.notEqual(error.hint, undefined);
  });
  test('try-ok', 'answers without a refusal when all was done', (t) => {
    const result = nestedHwpt(t).tryInvalidate(iotlb([0, 0], [0, 1]));
    assert.deepEqual([result.completed, result.refusal], [2, undefined]);
  });
  test('written-back', 'writes back how many entries were done', (t) => {
    const { id } = nestedHwpt(t);
    const input = { hwpt_id: id, data_type: NESTED_TYPE, entry_len: 8, entry_num: 3 };
    assert.deepEqual(raw(t, input, bytes([0, 0, 0, 1, 0, 2])), ['ok', 3]);
    assert.deepEqual(raw(t, input, bytes([0, 0, 0, 1, 4, 2])), ['EOPNOTSUPP', 2]);
    assert.deepEqual(raw(t, input, bytes([0, 8, 0, 1, 0, 2])), ['EINVAL', 0]);
  });
  test('entry-length', 'refuses entries of another length than the driver knows', (t) => {
    const { id } = nestedHwpt(t);
    const input = { hwpt_id: id, data_type: NESTED_TYPE, entry_num: 1 };
    for (const entry_len of [0, 4, 7, 9, 16, 4096, 4097, 0xffff_ffff]) {
      assert.deepEqual(raw(t, { ...input, entry_len }, new Uint8Array(4104)), ['EINVAL', 0], `${entry_len} bytes`);
    }
  });
  test('pointer', 'refuses no pointer, and one with nothing there', (t) => {
    const { id } = nestedHwpt(t);
    const input = { hwpt_id: id, data_type: NESTED_TYPE, entry_len: 8, entry_num: 1 };
    assert.deepEqual(raw(t, { ...input, data_uptr: 0n }), ['EINVAL', 0]);
    assert.deepEqual(raw(t, { ...input, data_uptr: NOWHERE }), ['EFAULT', 0]);
  });
  test('entry-count', 'takes up to 2^19 entries', (t) => {
    const { id } = nestedHwpt(t);
    const input = { hwpt_id: id, data_type: NESTED_TYPE, entry_len: 8, data_uptr: NOWHERE };
    assert.deepEqual(raw(t, { ...input, entry_num: 2 ** 19 }), ['EFAULT', 0]);
    // Linux 6.12 counts none, and meets the pointer.
    const refusal = t.onLinux('6.12') ? 'EFAULT' : 'EINVAL';
    assert.deepEqual(raw(t, { ...input, entry_num: 2 ** 19 + 1 }), [refusal, 0]);
    assert.deepEqual(raw(t, { ...input, entry_num: 0xffff_ffff }), [refusal, 0]);
  });
  test('reserved', 'refuses a reserved field, and did nothing', (t) => {
    const nested = nestedHwpt(t);
    const input = { hwpt_id: nested.id, data_type: NESTED_TYPE, entry_len: 8, entry_num: 1, __reserved: 1 };
    assert.deepEqual(raw(t, input, bytes([ALL, 0])), ['EOPNOTSUPP', 0]);
    assert.deepEqual(iotlbWith(t, nested, TLB), EVERY);
  });
  test('object-type', 'refuses what is neither nested page table nor vIOMMU', (t) => {
    const { device, ioas, parent } = nestingParent(t);
    for (const { id } of [device, ioas, parent]) {
      const input = { hwpt_id: id, data_type: NESTED_TYPE, entry_len: 8, entry_num: 1 };
      // Linux 6.12 looks for a nested page table alone.
      assert.deepEqual(raw(t, input, bytes([ALL, 0])), [t.onLinux('6.12') ? 'ENOENT' : 'EINVAL', 0]);
    }
  });
  test('object-unknown', 'refuses an id that is nothing, after looking at the entries’ numbers', (t) => {
    nestedHwpt(t);
    const input = { hwpt_id: NO_ID, data_type: NESTED_TYPE, entry_len: 8, entry_num: 1 };
    assert.deepEqual(raw(t, input, bytes([ALL, 0])), ['ENOENT', 0]);
    const refusal = t.onLinux('6.12') ? 'ENOENT' : 'EINVAL';
    assert.deepEqual(raw(t, { ...input, entry_num: 2 ** 20 }, bytes([ALL, 0])), [refusal, 0]);
  });
  test('device-cache', 'invalidates the cache of the device that the virtual id names', (t) => {
    const { device, other, viommu } = viommuBench(t);
    assert.equal(viommu.invalidate(cache([0, 0x77, 1])), 1);
    assert.deepEqual(cacheWith(t, device, 0), [1]);
    assert.deepEqual(cacheWith(t, other, CACHE), EVERY);
    assert.equal(viommu.invalidate(cache([ALL, 0x78, 0], [0, 0x77, 3])), 2);
    assert.deepEqual(cacheWith(t, other, 0), EVERY);
    assert.deepEqual(cacheWith(t, device, 0), [1, 3]);
  });
  test('device-unknown', 'stops at a virtual id that names no device', (t) => {
    const { device, viommu, vdevice } = viommuBench(t);
    const { completed, refusal } = viommu.tryInvalidate(cache([0, 0x77, 0], [0, 0x99, 0], [0, 0x77, 1]));
    assert.deepEqual([completed, refusal?.code], [1, 'EINVAL']);
    assert.deepEqual(cacheWith(t, device, 0), [0]);
    vdevice.destroy();
    refused('EINVAL', () => viommu.invalidate(cache([0, 0x77, 2])));
    assert.deepEqual(cacheWith(t, device, 0), [0]);
  });
  test('viommu-entries', 'on a vIOMMU, stops at a bad flag or index', (t) => {
    const { device, viommu } = viommuBench(t);
    const flags = viommu.tryInvalidate(cache([0, 0x77, 0], [2, 0x77, 1]));
    assert.deepEqual([flags.completed, flags.refusal?.code], [1, 'EOPNOTSUPP']);
    const index = viommu.tryInvalidate(cache([0, 0x77, 1], [0, 0x77, 2], [0, 0x77, 4]));
    assert.deepEqual([index.completed, index.refusal?.code], [2, 'EINVAL']);
    assert.deepEqual(cacheWith(t, device, CACHE), [3]);
  });
  test('viommu-probe', 'on a vIOMMU, tells with no entries whether the type is known', (t) => {
    const { viommu } = viommuBench(t);
    assert.equal(viommu.invalidate(cache()), 0);
    const type = SELFTEST.IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST_INVALID;
    refused('EINVAL', () => viommu.invalidate({ type, entryLength: 12, entries: new Uint8Array() }));
    const one = viommu.tryInvalidate({ type, entryLength: 12, entries: new Uint8Array(12) });
    assert.deepEqual([one.completed, one.refusal?.code], [0, 'EINVAL']);
  });
  test('viommu-many', 'on a vIOMMU, does more entries than go into one call', (t) => {
    const { device, viommu } = viommuBench(t);
    const entries = Array.from({ length: 12_000 }, (_, i) => [0, 0x77, i === 11_999 ? 2 : 0] as const);
    assert.equal(viommu.invalidate(cache(...entries)), 12_000);
    assert.deepEqual(cacheWith(t, device, 0), [0, 2]);
  });
  test('viommu-longer', 'on a vIOMMU, takes longer entries whose rest is zero, and does nothing with others', (t) => {
    const { device, viommu } = viommuBench(t);
    const request = (rest: number) => ({
      type: VIOMMU_TYPE,
      entryLength: 16,
      entries: bytes([0, 0x77, 1, 0, 0, 0x77, 2, rest]),
    });
    const { completed, refusal } = viommu.tryInvalidate(request(5));
    assert.deepEqual([completed, refusal?.code], [0, 'E2BIG']);
    assert.deepEqual(cacheWith(t, device, CACHE), EVERY);
    assert.equal(viommu.invalidate(request(0)), 2);
    assert.deepEqual(cacheWith(t, device, 0), [1, 2]);
  });
  test('viommu-longest', 'on a vIOMMU, takes entries of up to a page', (t) => {
    const { device, viommu } = viommuBench(t);
    const entries = new Uint8Array(4104);
    entries.set(bytes([0, 0x77, 1]));
    const input = { hwpt_id: viommu.id, data_type: VIOMMU_TYPE, entry_num: 1 };
    assert.deepEqual(raw(t, { ...input, entry_len: 4097 }, entries), ['EINVAL', 0]);
    assert.deepEqual(cacheWith(t, device, CACHE), EVERY);
    assert.deepEqual(raw(t, { ...input, entry_len: 4096 }, entries), ['ok', 1]);
    assert.deepEqual(cacheWith(t, device, 0), [1]);
  });
  test('viommu-shorter', 'on a vIOMMU, takes shorter entries for such with zeros behind', (t) => {
    const { device, viommu, vdevice } = viommuBench(t);
    vdevice.destroy();
    viommu.allocVdevice(device, { virtId: 0 });
    assert.equal(viommu.invalidate({ type: VIOMMU_TYPE, entryLength: 4, entries: bytes([ALL]) }), 1);
    assert.deepEqual(cacheWith(t, device, 0), EVERY);
  });
  test('viommu-pointer', 'on a vIOMMU, refuses entries at an address with nothing there', (t) => {
    const { viommu } = viommuBench(t);
    const input = { hwpt_id: viommu.id, data_type: VIOMMU_TYPE, entry_len: 12, entry_num: 2 };
    assert.deepEqual(raw(t, { ...input, data_uptr: NOWHERE }), ['EFAULT', 0]);
    assert.deepEqual(raw(t, { ...input, data_uptr: 0n }), ['EINVAL', 0]);
  });
  test('misuse', 'names wrong requests before the kernel is asked', (t) => {
    const nested = nestedHwpt(t);
    const invalidate = (request: unknown) => () => nested.invalidate(request as never);
    refused('ERR_INVALID_ARG_TYPE', invalidate(undefined));
    refused('ERR_OUT_OF_RANGE', invalidate({ smmuv3: new BigUint64Array(3) }));
    refused('ERR_INVALID_ARG_TYPE', invalidate({ smmuv3: [0n, 0n] }));
    refused('ERR_OUT_OF_RANGE', invalidate({ type: NESTED_TYPE, entryLength: 0, entries: new Uint8Array(8) }));
    refused('ERR_OUT_OF_RANGE', invalidate({ type: NESTED_TYPE, entryLength: 8, entries: new Uint8Array(12) }));
    refused('ERR_UNKNOWN_OPTION', invalidate({ ...iotlb([0, 0]), count: 1 }));
    nested.destroy();
    refused('ERR_IOMMUFD_DESTROYED', invalidate(iotlb([0, 0])));
  });
});
