// Dirty bitmaps on the stub seam: which stretches are asked about, and how bits become ranges.
import assert from 'node:assert/strict';
import type { DirtyBitmap } from '../../lib/objects/dirty-bitmap.js';
import { IOMMU_HWPT_GET_DIRTY_BITMAP, IOMMU_IOAS_UNMAP } from '../../lib/uapi/index.js';
import { codeOf, deviceStage, generator, leftovers } from './stage.js';

const K = 4096n;
/** Somewhere that no memory of this process is mapped from: it is never looked at. */
const NOWHERE = 0x1234_0000n;

/** A page table over these [first page, pages] mappings, and pages that a device writes. */
function tracked(...mapped: [first: bigint, pages: bigint][]) {
  const base = deviceStage();
  const { seam } = base;
  const ioas = base.iommufd.allocIoas();
  const hwpt = ioas.allocHwpt(base.device, { dirtyTracking: true });
  const map = (first: bigint, pages: bigint) => ioas.unsafeMapAddress(NOWHERE, { iova: first * K, length: pages * K });
  for (const [first, pages] of mapped) map(first, pages);
  const written = new Set<bigint>();
  // As the kernel does: sets bits, never clears one, and forgets what it told unless asked not to.
  seam.on(IOMMU_HWPT_GET_DIRTY_BITMAP, (input, { memory }) => {
    const pages = input.length / input.page_size;
    const bits = memory(input.data, Math.ceil(Number(pages) / 64) * 8);
    for (const page of [...written]) {
      const at = page * K;
      if (at < input.iova || at >= input.iova + input.length) continue;
      const bit = Number((at - input.iova) / input.page_size);
      bits[bit >>> 3] = (bits[bit >>> 3] ?? 0) | (1 << (bit & 7));
      if (input.flags === 0) written.delete(page);
    }
    return 0;
  });
  const write = (...pages: number[]) => {
    for (const page of pages) written.add(BigInt(page));
  };
  return { ...base, ioas, hwpt, map, write };
}

/** Written ranges as [first page, pages]. */
const pagesOf = (bitmap: DirtyBitmap): [number, number][] =>
  [...bitmap.ranges()].map(({ iova, length }) => [Number(iova / K), Number(length / K)]);

describe('dirty bitmap', () => {
  it('finds runs that begin and end anywhere in a word', () => {
    const { hwpt, write } = tracked([0n, 200n]);
    const bitmap = hwpt.dirtyBitmap({ iova: 0n, length: 200n * K });
    for (const runs of [
      [[0, 1]],
      [[31, 1]],
      [[31, 2]],
      [[32, 32]],
      [[0, 200]],
      [[1, 198]],
      [[63, 2]],
      [[64, 64]],
      [
        [5, 59],
        [65, 3],
      ],
      [[199, 1]],
      [],
    ] as [number, number][][]) {
      for (const [first, pages] of runs) write(...Array.from({ length: pages }, (_, i) => first + i));
      bitmap.read();
      assert.deepEqual(pagesOf(bitmap), runs);
      assert.equal(
        bitmap.dirtyPages,
        runs.reduce((sum, [, pages]) => sum + pages, 0),
      );
    }
  });

  it('asks for every mapped stretch by itself, and never across a hole', () => {
    const { hwpt, write, seam } = tracked([0n, 40n], [40n, 10n], [60n, 4n], [70n, 70n]);
    const bitmap = hwpt.dirtyBitmap({ iova: 10n * K, length: 120n * K });
    write(9, 10, 49, 50, 63, 70, 129, 130);
    bitmap.read();
    assert.deepEqual(
      seam
        .made('IOMMU_HWPT_GET_DIRTY_BITMAP')
        .map(({ input }) => [Number(input.iova) / 4096, Number(input.length) / 4096]),
      [
        [10, 40],
        [60, 4],
        [70, 60],
      ],
    );
    assert.deepEqual(pagesOf(bitmap), [
      [10, 1],
      [49, 1],
      [63, 1],
      [70, 1],
      [129, 1],
    ]);
    assert.deepEqual(
      [9n, 10n, 49n, 55n, 63n, 129n, 130n].map((page) => bitmap.isDirty(page * K + 1n)),
      [false, true, true, false, true, true, false],
    );
  });

  it('forgets between reads what the kernel only ever sets', () => {
    const { hwpt, write } = tracked([0n, 64n]);
    const bitmap = hwpt.dirtyBitmap({ iova: 0n, length: 64n * K });
    write(3);
    assert.equal(bitmap.read().dirtyPages, 1);
    assert.equal(bitmap.read().dirtyPages, 0);
    write(4);
    assert.deepEqual(pagesOf(bitmap.read({ clear: false })), [[4, 1]]);
    assert.deepEqual(pagesOf(bitmap.read()), [[4, 1]], 'clear: false leaves it for the next read');
    assert.deepEqual(pagesOf(bitmap.read()), []);
  });

  it('follows mappings that come and go, in a larger buffer where it must', () => {
    const { hwpt, write, map, ioas, seam } = tracked([0n, 64n]);
    const bitmap = hwpt.dirtyBitmap({ iova: 0n, length: 200_000n * K });
    write(1);
    assert.deepEqual(pagesOf(bitmap.read()), [[1, 1]]);
    map(100_000n, 90_000n);
    write(2, 189_999);
    assert.deepEqual(pagesOf(bitmap), [[1, 1]], 'the last read stays as it was');
    assert.deepEqual(pagesOf(bitmap.read()), [
      [2, 1],
      [189_999, 1],
    ]);
    ioas.unmap(0n, 64n * K);
    write(3, 100_000);
    assert.deepEqual(pagesOf(bitmap.read()), [[100_000, 1]]);
    bitmap.free();
    assert.equal(leftovers(seam).regions, 0);
  });

  it('asks nothing where nothing is mapped', () => {
    const { hwpt, seam } = tracked();
    const bitmap = hwpt.dirtyBitmap({ iova: 0n, length: K });
    assert.equal(bitmap.read().dirtyPages, 0);
    assert.equal(bitmap.isDirty(0), false);
    assert.equal(seam.made('IOMMU_HWPT_GET_DIRTY_BITMAP').length, 0);
  });

  it('joins written pages across stretches that touch', () => {
    const { hwpt, write, ioas, seam } = tracked([0n, 10n], [10n, 10n]);
    // An unmapping that failed half-way: the stretches are asked for one by one, and still told as one.
    seam.on(IOMMU_IOAS_UNMAP, -16);
    assert.equal(
      codeOf(() => ioas.unmap(0n, 10n * K)),
      'EBUSY',
    );
    write(8, 9, 10);
    const bitmap = hwpt.dirtyBitmap({ iova: 0n, length: 20n * K }).read();
    assert.equal(seam.made('IOMMU_HWPT_GET_DIRTY_BITMAP').length, 2);
    assert.deepEqual(pagesOf(bitmap), [[8, 3]]);
  });

  it('covers a range of a tebibyte at 2 MiB a bit', () => {
    const { hwpt, seam } = tracked([0n, 2n ** 28n]);
    const bitmap = hwpt.dirtyBitmap({ iova: 0n, length: 2n ** 40n, pageSize: 2 ** 21 });
    seam.on(IOMMU_HWPT_GET_DIRTY_BITMAP, (input, { memory }) => {
      const bits = memory(input.data, 2 ** 16);
      bits[2 ** 16 - 1] = 0x80;
      return 0;
    });
    bitmap.read();
    assert.deepEqual([...bitmap.ranges()], [{ iova: 2n ** 40n - 2n ** 21n, length: 2n ** 21n }]);
    assert.equal(bitmap.isDirty(2n ** 40n - 1n), true);
  });

  it('hands the kernel no address of its own making after its buffer was refused', () => {
    const { hwpt, seam, write } = tracked([0n, 64n]);
    const bitmap = hwpt.dirtyBitmap({ iova: 0n, length: 64n * K });
    seam.fail('allocateBlock', -12);
    assert.equal(
      codeOf(() => bitmap.read()),
      'ENOMEM',
    );
    write(5);
    assert.deepEqual(pagesOf(bitmap.read()), [[5, 1]]);
  });

  it('agrees with a page-by-page account, wherever mappings and writes lie', () => {
    for (let seed = 1; seed <= 30; seed++) {
      const random = generator(seed);
      const mapped: [bigint, bigint][] = [];
      for (let first = random(40); first < 400; ) {
        const pages = 1 + random(150);
        mapped.push([BigInt(first), BigInt(pages)]);
        first += pages + random(3) * random(60);
      }
      const { hwpt, write } = tracked(...mapped);
      const from = random(100);
      const length = 1 + random(400);
      const bitmap = hwpt.dirtyBitmap({ iova: BigInt(from) * K, length: BigInt(length) * K });
      const all = Array.from({ length: 600 }, (_, page) => page).filter(() => random(3) > 0);
      write(...all);
      const isMapped = (page: number) =>
        mapped.some(([first, pages]) => BigInt(page) >= first && BigInt(page) < first + pages);
      const expected = all.filter((page) => page >= from && page < from + length && isMapped(page));
      bitmap.read();
      const told = pagesOf(bitmap).flatMap(([first, pages]) => Array.from({ length: pages }, (_, i) => first + i));
      assert.deepEqual(told, expected, `seed ${seed}`);
      assert.equal(bitmap.dirtyPages, expected.length);
      assert(
        pagesOf(bitmap).every(
          ([first], i, runs) => i === 0 || first > (runs[i - 1]?.[0] ?? 0) + (runs[i - 1]?.[1] ?? 0),
        ),
      );
    }
  });

  it('refuses ranges that are no multiple of its page size', () => {
    const { hwpt } = tracked();
    for (const options of [
      { iova: 1n, length: K },
      { iova: 0n, length: 1n },
      { iova: 0n, length: 0n },
      { iova: 0n, length: K, pageSize: 3 },
      { iova: K, length: 2n ** 21n, pageSize: 2 ** 21 },
    ]) {
      assert.equal(
        codeOf(() => hwpt.dirtyBitmap(options)),
        'ERR_OUT_OF_RANGE',
        JSON.stringify(options, (_, v) => String(v)),
      );
    }
  });

  it('is gone once freed', () => {
    const { hwpt, seam } = tracked([0n, 8n]);
    const bitmap = hwpt.dirtyBitmap({ iova: 0n, length: 8n * K }).read();
    bitmap.free();
    bitmap.free();
    assert.equal(leftovers(seam).regions, 0);
    assert.equal(
      codeOf(() => bitmap.read()),
      'ERR_IOMMUFD_DESTROYED',
    );
    assert.deepEqual(pagesOf(bitmap), []);
  });
});
