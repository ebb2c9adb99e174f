// IOMMU_HWPT_SET_DIRTY_TRACKING and IOMMU_HWPT_GET_DIRTY_BITMAP: no written page is lost or made up.
import assert from 'node:assert/strict';
import type { DirtyBitmap, HwptPaging } from '../../lib/index.js';
import {
  IOMMU_HWPT_GET_DIRTY_BITMAP,
  IOMMU_HWPT_SET_DIRTY_TRACKING,
  iommufd_hwpt_get_dirty_bitmap_flags,
  iommufd_hwpt_set_dirty_tracking_flags,
} from '../../lib/uapi/index.js';
import { MOCK_APERTURE } from '../rig/mock.js';
import { markDirty, nestedOptions, nestingParent } from '../rig/mock-checks.js';
import { type Bench, conformance, NO_ID, PAGE, refused } from '../rig/suite.js';

const IOVA = MOCK_APERTURE.start;
const NO_CLEAR = iommufd_hwpt_get_dirty_bitmap_flags.values.IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR;
const ENABLE = iommufd_hwpt_set_dirty_tracking_flags.values.IOMMU_HWPT_DIRTY_TRACKING_ENABLE;

/** An IOAS that maps page by page (so that each page has a dirty bit of its own), with a page table that tracks. */
function start(t: Bench) {
  const { device } = t.mockDevice();
  const ioas = t.iommufd.allocIoas();
  ioas.hugePages = false;
  const hwpt = ioas.allocHwpt(device, { dirtyTracking: true });
  hwpt.setDirtyTracking(true);
  return { device, ioas, hwpt };
}

/** As `start`, with 64 KiB (16 pages) mapped at IOVA. */
function mapped(t: Bench) {
  const bench = start(t);
  const ram = t.memory();
  bench.ioas.map(ram, { iova: IOVA });
  return { ...bench, ram };
}

function bitmapOf(t: Bench, hwpt: HwptPaging, length: bigint, iova = IOVA, pageSize = PAGE): DirtyBitmap {
  const bitmap = hwpt.dirtyBitmap({ iova, length, pageSize });
  t.later(() => bitmap.free());
  return bitmap;
}

/** Written stretches as [first page from IOVA, pages]. */
function pagesOf(bitmap: DirtyBitmap): [number, number][] {
  return [...bitmap.ranges()].map(({ iova, length }) => [Number((iova - IOVA) / PAGE), Number(length / PAGE)]);
}

type Get = Parameters<typeof Bench.prototype.ioctl<typeof IOMMU_HWPT_GET_DIRTY_BITMAP.layout.fields>>[1];
/** The ioctl itself, over 16 pages from IOVA on unless told otherwise; answers the errno's name and the bits. */
function get(t: Bench, input: Get, bits = new Uint8Array(8)) {
  const all = { iova: IOVA, length: 16n * PAGE, page_size: PAGE, ...input };
  return { code: t.ioctl(IOMMU_HWPT_GET_DIRTY_BITMAP, all, { data: bits }).code, bits };
}

/** What a range of no bytes is. Linux 6.12 takes its last byte for the one before its first. */
function errorOfNone(t: Bench): string {
  return t.onLinux('6.12') ? 'EOVERFLOW' : 'EINVAL';
}

conformance('hwpt-dirty', (test) => {
  test('set-tracking', 'starts and stops tracking, and again is fine', (t) => {
    const { hwpt } = mapped(t);
    assert.equal(markDirty(t, hwpt, IOVA, [0]), 'ok');
    hwpt.setDirtyTracking(true);
    hwpt.setDirtyTracking(false);
    hwpt.setDirtyTracking(false);
    assert.equal(markDirty(t, hwpt, IOVA, [0]), 'EINVAL');
  });
  test('start-forgets', 'forgets older pages when it starts', (t) => {
    const { hwpt } = mapped(t);
    const bitmap = bitmapOf(t, hwpt, 16n * PAGE);
    markDirty(t, hwpt, IOVA, [3]);
    hwpt.setDirtyTracking(true);
    assert.deepEqual(pagesOf(bitmap.read()), []);
  });
  test('stop-keeps', 'keeps noted pages when it stops', (t) => {
    const { hwpt } = mapped(t);
    markDirty(t, hwpt, IOVA, [3]);
    hwpt.setDirtyTracking(false);
    const bitmap = bitmapOf(t, hwpt, 16n * PAGE);
    // The mock of Linux 6.12 refuses to look, which the caller is not told.
    assert.deepEqual(pagesOf(bitmap.read()), t.onLinux('6.12') ? [] : [[3, 1]]);
  });
  test('without-tracking', 'refuses a page table that was not made for it', (t) => {
    const { device } = t.mockDevice();
    const ioas = t.iommufd.allocIoas();
    ioas.map(t.memory(), { iova: IOVA });
    const hwpt = ioas.allocHwpt(device);
    assert.match(refused('EOPNOTSUPP', () => hwpt.setDirtyTracking(true)).message, /dirtyTracking: true/);
    refused('EOPNOTSUPP', () => hwpt.setDirtyTracking(false));
    refused('EOPNOTSUPP', () => bitmapOf(t, hwpt, 16n * PAGE).read());
  });
  test('set-raw', 'refuses unknown flags, and what is no page table of an IOAS', (t) => {
    const { device, ioas, parent } = nestingParent(t);
    const set = (hwpt_id: number, flags: number) => t.ioctl(IOMMU_HWPT_SET_DIRTY_TRACKING, { hwpt_id, flags }).code;
    assert.equal(set(NO_ID, 2), 'EOPNOTSUPP');
    const nested = parent.allocNestedHwpt(device, nestedOptions());
    for (const id of [0, NO_ID, ioas.id, device.id, nested.id]) assert.equal(set(id, ENABLE), 'ENOENT');
  });
  test('get-raw-order', 'checks flags and reserved, then the page table, then the range, then its abilities', (t) => {
    const { device, ioas, parent } = nestingParent(t);
    assert.equal(get(t, { hwpt_id: NO_ID, flags: 2, length: 0n }).code, 'EOPNOTSUPP');
    assert.equal(get(t, { hwpt_id: NO_ID, __reserved: 1, length: 0n }).code, 'EOPNOTSUPP');
    const nested = parent.allocNestedHwpt(device, nestedOptions());
    for (const hwpt_id of [NO_ID, ioas.id, nested.id]) assert.equal(get(t, { hwpt_id, length: 0n }).code, 'ENOENT');
    assert.equal(get(t, { hwpt_id: parent.id, length: 0n }).code, errorOfNone(t));
    assert.equal(get(t, { hwpt_id: parent.id }).code, 'EOPNOTSUPP');
  });
  test('get-raw-range', 'refuses a range that is empty, overflows, or is not made of pages', (t) => {
    const hwpt_id = mapped(t).hwpt.id;
    const last = 0xffff_ffff_ffff_f000n;
    assert.equal(get(t, { hwpt_id, length: 0n }).code, errorOfNone(t));
    assert.equal(get(t, { hwpt_id, page_size: 0n }).code, 'EINVAL');
    assert.equal(get(t, { hwpt_id, iova: last, length: 2n * PAGE }).code, 'EOVERFLOW');
    assert.equal(get(t, { hwpt_id, iova: IOVA + PAGE, page_size: 2n * PAGE }).code, 'EINVAL');
    assert.equal(get(t, { hwpt_id, length: 3n * PAGE, page_size: 2n * PAGE }).code, 'EINVAL');
    assert.equal(get(t, { hwpt_id, iova: IOVA + 1024n, page_size: 1024n }).code, 'EINVAL');
    assert.equal(get(t, { hwpt_id, length: 1024n, page_size: 1024n }).code, 'EINVAL');
  });
  test('get-raw-sets', 'only ever sets bits', (t) => {
    const { hwpt } = mapped(t);
    markDirty(t, hwpt, IOVA, [1]);
    const { code, bits } = get(t, { hwpt_id: hwpt.id }, Uint8Array.of(0x80, 0, 0xff, 0, 0, 0, 0, 1));
    assert.equal(code, 'ok');
    assert.deepEqual([...bits], [0x82, 0, 0xff, 0, 0, 0, 0, 1]);
  });
  test('get-raw-hole', 'walks up to a hole in the mappings, and calls that a success', (t) => {
    const { ioas, hwpt } = mapped(t);
    ioas.unmapAll();
    ioas.map(t.memory(), { iova: IOVA, length: 4n * PAGE });
    markDirty(t, hwpt, IOVA, [2]);
    const { code, bits } = get(t, { hwpt_id: hwpt.id });
    assert.deepEqual([code, bits[0]], ['ok', 4]);
  });
  test('exact', 'tells exactly the pages that were written', (t) => {
    const { hwpt } = mapped(t);
    const bitmap = bitmapOf(t, hwpt, 16n * PAGE);
    assert.deepEqual(pagesOf(bitmap.read()), []);
    markDirty(t, hwpt, IOVA, [0, 3, 4, 5, 15]);
    bitmap.read();
    assert.deepEqual(pagesOf(bitmap), [
      [0, 1],
      [3, 3],
      [15, 1],
    ]);
    assert.equal(bitmap.dirtyPages, 5);
  });
  test('is-dirty', 'tells of a single page by any IOVA in it', (t) => {
    const { hwpt } = mapped(t);
    markDirty(t, hwpt, IOVA, [2]);
    const bitmap = bitmapOf(t, hwpt, 16n * PAGE).read();
    const offsets = [0x1fff, 0x2000, 0x2fff, 0x3000, 0x2_0000];
    assert.deepEqual(
      offsets.map((offset) => bitmap.isDirty(IOVA + BigInt(offset))),
      [false, true, true, false, false],
    );
    assert.equal(bitmap.isDirty(Number(IOVA) + 0x2000), true);
    assert.equal(bitmap.isDirty(0), false);
  });
  test('patterns', 'joins pages across the words of the bitmap', (t) => {
    const { ioas, hwpt } = start(t);
    ioas.map(t.memory(200n * PAGE), { iova: IOVA });
    const bitmap = bitmapOf(t, hwpt, 200n * PAGE);
    const patterns: [number, number][][] = [
      [[0, 200]],
      [[0, 32]],
      [[31, 2]],
      [[32, 32]],
      [[30, 70]],
      [[199, 1]],
      [[64, 136]],
      [
        [0, 31],
        [32, 31],
        [64, 1],
        [95, 34],
        [160, 40],
      ],
    ];
    for (const pattern of patterns) {
      const pages = pattern.flatMap(([first, count]) => Array.from({ length: count }, (_, i) => first + i));
      markDirty(t, hwpt, IOVA, pages);
      assert.deepEqual(pagesOf(bitmap.read()), pattern);
      assert.equal(bitmap.dirtyPages, pages.length);
    }
  });
  test('clear', 'forgets what it told, unless asked not to', (t) => {
    const { hwpt } = mapped(t);
    const bitmap = bitmapOf(t, hwpt, 16n * PAGE);
    markDirty(t, hwpt, IOVA, [7]);
    assert.deepEqual(pagesOf(bitmap.read({ clear: false })), [[7, 1]]);
    assert.deepEqual(pagesOf(bitmap.read({ clear: false })), [[7, 1]]);
    assert.deepEqual(pagesOf(bitmap.read()), [[7, 1]]);
    assert.deepEqual(pagesOf(bitmap.read()), []);
    markDirty(t, hwpt, IOVA, [8]);
    assert.deepEqual(pagesOf(bitmap.read()), [[8, 1]]);
  });
  test('clear-raw', 'leaves the bits of other ranges, and all with NO_CLEAR', (t) => {
    const { hwpt } = mapped(t);
    markDirty(t, hwpt, IOVA, [1, 9]);
    const hwpt_id = hwpt.id;
    assert.equal(get(t, { hwpt_id, flags: NO_CLEAR }).bits[0], 2);
    assert.deepEqual([...get(t, { hwpt_id, length: 8n * PAGE }).bits.subarray(0, 2)], [2, 0]);
    assert.deepEqual([...get(t, { hwpt_id }).bits.subarray(0, 2)], [0, 2]);
  });
  test('hole', 'does not lose pages behind a hole in the mappings', (t) => {
    const { ioas, hwpt } = start(t);
    const ram = t.memory(12n * PAGE);
    for (const [page, offset] of [
      [0n, 0n],
      [6n, 4n],
      [13n, 8n],
    ] as const) {
      ioas.map(ram, { iova: IOVA + page * PAGE, offset: offset * PAGE, length: 4n * PAGE });
    }
    const bitmap = bitmapOf(t, hwpt, 32n * PAGE);
    for (const page of [3, 6, 9, 13, 16]) markDirty(t, hwpt, IOVA + BigInt(page) * PAGE, [0]);
    bitmap.read();
    assert.deepEqual(
      pagesOf(bitmap),
      [3, 6, 9, 13, 16].map((page) => [page, 1]),
    );
    assert.deepEqual([bitmap.isDirty(IOVA + 5n * PAGE), bitmap.isDirty(IOVA + 13n * PAGE)], [false, true]);
  });
  test('neighbours', 'joins pages of mappings side by side', (t) => {
    const { ioas, hwpt } = start(t);
    for (const page of [8n, 0n, 4n]) ioas.map(t.memory(4n * PAGE), { iova: IOVA + page * PAGE });
    markDirty(t, hwpt, IOVA, [3, 4, 7, 8, 9]);
    assert.deepEqual(pagesOf(bitmapOf(t, hwpt, 12n * PAGE).read()), [
      [3, 2],
      [7, 3],
    ]);
  });
  test('part', 'looks at the range asked for only', (t) => {
    const { hwpt } = mapped(t);
    markDirty(t, hwpt, IOVA, [1, 5, 6, 12]);
    assert.deepEqual(pagesOf(bitmapOf(t, hwpt, 6n * PAGE, IOVA + 5n * PAGE).read()), [[5, 2]]);
    assert.deepEqual(pagesOf(bitmapOf(t, hwpt, 16n * PAGE).read()), [
      [1, 1],
      [12, 1],
    ]);
  });
  test('nothing-mapped', 'finds nothing where nothing is mapped', (t) => {
    const { hwpt } = start(t);
    const bitmap = bitmapOf(t, hwpt, 16n * PAGE).read();
    assert.deepEqual([pagesOf(bitmap), bitmap.dirtyPages], [[], 0]);
  });
  test('larger-pages', 'answers in larger pages than the IOMMU has', (t) => {
    const { hwpt } = mapped(t);
    markDirty(t, hwpt, IOVA, [0, 9]);
    const bitmap = bitmapOf(t, hwpt, 16n * PAGE, IOVA, 4n * PAGE).read();
    assert.deepEqual(pagesOf(bitmap), [
      [0, 4],
      [8, 4],
    ]);
    assert.equal(bitmap.dirtyPages, 2);
  });
  test('smaller-pages', 'answers in smaller pages than the IOMMU has', (t) => {
    const { hwpt } = mapped(t);
    markDirty(t, hwpt, IOVA, [2]);
    const bitmap = bitmapOf(t, hwpt, 16n * PAGE, IOVA, 1024n).read();
    assert.equal(bitmap.isDirty(IOVA + 2n * PAGE), true);
    assert.deepEqual([bitmap.isDirty(IOVA + 2n * PAGE - 1n), bitmap.isDirty(IOVA + 3n * PAGE)], [false, false]);
  });
  test('large', 'spreads over several pages of bits', (t) => {
    const { ioas, hwpt } = start(t);
    const [size, count] = [4n << 20n, 16];
    const ram = t.memory(size);
    for (let i = 0; i < count; i++) ioas.map(ram, { iova: IOVA + BigInt(i) * size });
    const length = size * BigInt(count);
    // One bit per 512 bytes: 16 KiB of bits.
    const bitmap = bitmapOf(t, hwpt, length, IOVA, 512n);
    const dirty = [0, 4095, 4096, 8191, 8192, 12_287, 12_288, 16_383];
    markDirty(t, hwpt, IOVA, dirty);
    bitmap.read();
    for (let page = 0; page < Number(length / PAGE); page++) {
      assert.equal(bitmap.isDirty(IOVA + BigInt(page) * PAGE), dirty.includes(page), `page ${page}`);
    }
    assert.deepEqual(pagesOf(bitmap.read()), []);
  });
  test('remap', 'follows the mappings from read to read', (t) => {
    const { ioas, hwpt, ram } = mapped(t);
    const bitmap = bitmapOf(t, hwpt, 64n * PAGE);
    markDirty(t, hwpt, IOVA, [1]);
    assert.deepEqual(pagesOf(bitmap.read({ clear: false })), [[1, 1]]);
    ioas.unmapAll();
    assert.deepEqual(pagesOf(bitmap.read()), []);
    ioas.map(ram, { iova: IOVA + 40n * PAGE });
    markDirty(t, hwpt, IOVA + 40n * PAGE, [2]);
    assert.deepEqual(pagesOf(bitmap.read()), [[42, 1]]);
    ioas.map(t.memory(40n * PAGE), { iova: IOVA });
    markDirty(t, hwpt, IOVA, [39, 40]);
    assert.deepEqual(pagesOf(bitmap.read()), [[39, 2]]);
  });
  test('own-table', 'tells what was written through its own page table', (t) => {
    const { device, ioas, hwpt } = mapped(t);
    const other = ioas.allocHwpt(device, { dirtyTracking: true });
    other.setDirtyTracking(true);
    markDirty(t, hwpt, IOVA, [4]);
    assert.deepEqual(pagesOf(bitmapOf(t, other, 16n * PAGE).read()), []);
    assert.deepEqual(pagesOf(bitmapOf(t, hwpt, 16n * PAGE).read()), [[4, 1]]);
  });
  test('every-way-mapped', 'covers memory however it was mapped', (t) => {
    const { ioas, hwpt, ram } = mapped(t);
    ioas.copy(ioas, { sourceIova: IOVA, length: ram.size, iova: IOVA + 16n * PAGE });
    ioas.unsafeMapAddress(ram.address, { iova: IOVA + 32n * PAGE, length: ram.size });
    ioas.unsafeMapFd(ram.fd, 0, { iova: IOVA + 48n * PAGE, length: ram.size });
    markDirty(t, hwpt, IOVA, [15, 16, 33, 50]);
    assert.deepEqual(pagesOf(bitmapOf(t, hwpt, 64n * PAGE).read()), [
      [15, 2],
      [33, 1],
      [50, 1],
    ]);
  });
  test('pages-do-not-fit', 'refuses pages that mappings are not made of, before anything is forgotten', (t) => {
    const { ioas, hwpt } = mapped(t);
    ioas.map(t.memory(4n * PAGE), { iova: IOVA + 33n * PAGE });
    markDirty(t, hwpt, IOVA, [1, 34]);
    const error = refused('ERR_OUT_OF_RANGE', () => bitmapOf(t, hwpt, 64n * PAGE, IOVA, 4n * PAGE).read());
    assert.match(error.message, /0x1021000/);
    assert.deepEqual(pagesOf(bitmapOf(t, hwpt, 64n * PAGE).read()), [
      [1, 1],
      [34, 1],
    ]);
  });
  test('free', 'is freed, twice if need be, and then gone', (t) => {
    const { hwpt } = mapped(t);
    markDirty(t, hwpt, IOVA, [0]);
    const bitmap = hwpt.dirtyBitmap({ iova: IOVA, length: 16n * PAGE }).read();
    assert.equal(bitmap.dirtyPages, 1);
    bitmap.free();
    bitmap.free();
    assert.deepEqual([bitmap.dirtyPages, bitmap.isDirty(IOVA)], [0, false]);
    refused('ERR_IOMMUFD_DESTROYED', () => bitmap.read());
  });
  test('page-table-gone', 'is of no use after its page table', (t) => {
    const { hwpt } = mapped(t);
    const bitmap = bitmapOf(t, hwpt, 16n * PAGE).read();
    hwpt.destroy();
    refused('ERR_IOMMUFD_DESTROYED', () => bitmap.read());
    refused('ERR_IOMMUFD_DESTROYED', () => hwpt.setDirtyTracking(false));
    refused('ERR_IOMMUFD_DESTROYED', () => hwpt.dirtyBitmap({ iova: IOVA, length: PAGE }));
  });
  test('misuse', 'names wrong ranges before the kernel is asked', (t) => {
    const { hwpt } = start(t);
    const make = (options: object) => () => hwpt.dirtyBitmap({ iova: IOVA, length: PAGE, ...options });
    refused('ERR_OUT_OF_RANGE', make({ length: 0 }));
    refused('ERR_OUT_OF_RANGE', make({ length: 2048 }));
    refused('ERR_OUT_OF_RANGE', make({ iova: IOVA + 1n }));
    refused('ERR_OUT_OF_RANGE', make({ pageSize: 0 }));
    refused('ERR_OUT_OF_RANGE', make({ pageSize: 3 * 4096, iova: 0, length: 3 * 4096 }));
    refused('ERR_INVALID_ARG_TYPE', make({ iova: '0' }));
    refused('ERR_UNKNOWN_OPTION', make({ start: 0 }));
    refused('ERR_OUT_OF_RANGE', make({ iova: 0xffff_ffff_ffff_f000n, length: 2n * PAGE }));
    refused('ERR_INVALID_ARG_TYPE', () => hwpt.setDirtyTracking('yes' as never));
  });
});
