// The bitmap that IOMMU_HWPT_GET_DIRTY_BITMAP fills in the caller's memory, beside one that is filled bit by bit.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { IovaBitmap } from '../../lib/emulated/kernel/iova-bitmap.js';
import { LocalAddressSpace } from '../../lib/emulated/memory/address-space.js';
import { PhysicalMemory } from '../../lib/emulated/memory/physical.js';

const PAGE = 4096;
const IOVA = 0x10_0000n;

/** Memory of some pages, with nothing behind it. */
function start(pages: number) {
  const memory = new LocalAddressSpace();
  const backing = new PhysicalMemory({ size: 2 ** 20, scatter: false }).allocate(pages * PAGE);
  assert(backing !== undefined);
  const placement = memory.map(backing, 0, backing.size);
  assert(placement !== undefined);
  const bits = backing.bytes(0, backing.size);
  const isSet = (bit: number) => ((bits[bit >>> 3] ?? 0) & (1 << (bit & 7))) !== 0;
  const make = (offset: number, length: bigint, pageSize: bigint) =>
    new IovaBitmap(memory, placement.start + offset, { iova: IOVA, length, pageSize });
  return { bits, isSet, make };
}

describe('emulated IOVA bitmap', () => {
  it('sets the bits of every run, and no other', () => {
    const runs = fc.array(fc.tuple(fc.nat(69_999), fc.integer({ min: 1, max: 20_000 })), { maxLength: 8 });
    fc.assert(
      fc.property(fc.nat(5000), fc.constantFrom(512n, 4096n, 65_536n), runs, (offset, pageSize, all) => {
        const { isSet, make } = start(4);
        const count = 70_000;
        const bitmap = make(offset, BigInt(count) * pageSize, pageSize);
        const expected = new Uint8Array(4 * PAGE * 8);
        for (const [first, length] of all) {
          const stop = Math.min(first + length, count);
          bitmap.set(IOVA + BigInt(first) * pageSize, BigInt(stop - first) * pageSize);
          expected.fill(1, offset * 8 + first, offset * 8 + stop);
        }
        const wrong = expected.findIndex((want, bit) => isSet(bit) !== (want === 1));
        assert.equal(wrong, -1);
      }),
      { numRuns: 60 },
    );
  });
  it('sets one bit for a run within a larger page', () => {
    const { bits, make } = start(1);
    make(0, 0x8_0000n, 0x1_0000n).set(IOVA + 0x1_8000n, 0x1000n);
    assert.deepEqual([...bits.subarray(0, 2)], [2, 0]);
  });
  it('takes the lowest bit of a page size that is no power of two', () => {
    const { bits, make } = start(1);
    make(0, 0x1_8000n, 0x3000n).set(IOVA + 0x3000n, 0x1000n);
    assert.deepEqual([...bits.subarray(0, 2)], [8, 0]);
  });
  it('loses a run that starts before the bitmap', () => {
    const { bits, make } = start(1);
    make(0, 0x1_0000n, 0x1000n).set(IOVA - 0x1000n, 0x2000n);
    assert(bits.every((byte) => byte === 0));
  });
  it('sets bits behind the bitmap for a run that goes on there, up to the end of the page', () => {
    const { bits, make } = start(2);
    const bitmap = make(0, 0x1_0000n, 0x1000n);
    bitmap.set(IOVA, 0x20_0000n);
    assert.equal(
      bits.findIndex((byte) => byte !== 0xff),
      64,
    );
    bitmap.set(IOVA, 0x40_0000_0000n);
    assert.equal(
      bits.findIndex((byte) => byte !== 0xff),
      PAGE,
    );
  });
  it('loses the rest of a run where the memory ends, and tells nobody', () => {
    const { bits, make } = start(1);
    const bitmap = make(PAGE - 2, 0x10_0000n, 0x1000n);
    bitmap.set(IOVA + 0x8000n, 0x4_0000n);
    bitmap.set(IOVA + 0x8_0000n, 0x1000n);
    assert.deepEqual([...bits.subarray(PAGE - 3)], [0, 0, 0xff]);
  });
});
