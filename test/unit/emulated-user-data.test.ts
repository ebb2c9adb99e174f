// Driver data that an ioctl's struct points at: its sizes, and memory that is not there.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { copyStructIn, UserArray, UserStruct } from '../../lib/emulated/kernel/user-data.js';
import { LocalAddressSpace } from '../../lib/emulated/memory/address-space.js';
import { PhysicalMemory } from '../../lib/emulated/memory/physical.js';

const PAGE = 4096;
const [E2BIG, EFAULT, EINVAL] = [-7, -14, -22];
const TYPE = 5;

/** One page of memory, with nothing behind it; its bytes, and where it is. */
function stage() {
  const backing = new PhysicalMemory({ size: PAGE, scatter: false }).allocate(PAGE);
  assert(backing !== undefined);
  const memory = new LocalAddressSpace();
  const placement = memory.map(backing, 0, PAGE);
  assert(placement !== undefined);
  return { memory, start: placement.start, bytes: backing.bytes(0, PAGE) };
}

describe('driver data of the emulated kernel', () => {
  const { memory, start, bytes } = stage();

  it('is stretched and cut by the rules of structs', () => {
    const place = fc.integer({ min: -4, max: PAGE + 4 });
    const length = fc.oneof(fc.nat({ max: 60 }), fc.constantFrom(PAGE, 0xffff_ffff));
    const noise = fc.array(fc.tuple(fc.nat({ max: PAGE - 1 }), fc.integer({ min: 1, max: 255 })), { maxLength: 8 });
    fc.assert(
      fc.property(
        fc.oneof(place, fc.nat({ max: 40 })),
        length,
        fc.nat({ max: 40 }),
        noise,
        (at, userSize, size, spots) => {
          bytes.fill(0);
          for (const [spot, value] of spots) bytes[spot] = value;
          const into = new Uint8Array(size).fill(0xee);
          const isThere = (i: number): boolean => i >= 0 && i < PAGE;
          let expected = 0;
          for (let i = at + size; i < at + userSize && expected === 0; i++) {
            if (!isThere(i)) expected = EFAULT;
            else if (bytes[i] !== 0) expected = E2BIG;
          }
          const copied = Math.min(size, userSize);
          if (expected === 0 && copied > 0 && !(isThere(at) && isThere(at + copied - 1))) expected = EFAULT;
          assert.equal(copyStructIn(memory, start + at, userSize, into), expected);
          if (expected < 0) return;
          const image = new Uint8Array(size);
          image.set(bytes.subarray(at, at + copied));
          assert.deepEqual(into, image);
        },
      ),
      { numRuns: 500 },
    );
  });

  it('that claims 4 GiB is looked through as far as it is there, and not copied', () => {
    bytes.fill(0);
    const before = process.memoryUsage().arrayBuffers;
    assert.equal(copyStructIn(memory, start, 0xffff_ffff, new Uint8Array(8)), EFAULT);
    assert(process.memoryUsage().arrayBuffers - before < 2 ** 24);
    bytes[100] = 1;
    assert.equal(copyStructIn(memory, start, 0xffff_ffff, new Uint8Array(8)), E2BIG);
  });

  it('is of its type, and neither too short nor too long', () => {
    bytes.fill(7);
    const into = new Uint8Array(16);
    const copy = (type: number, length: number): number =>
      new UserStruct(memory, type, start, length).copyIn(TYPE, 8, into);
    assert.deepEqual([copy(TYPE + 1, 16), copy(TYPE, 7), copy(TYPE, 17)], [EINVAL, EINVAL, EINVAL]);
    assert.equal(copy(TYPE, 8), 0);
    assert.deepEqual([...into], [...Array(8).fill(7), ...Array(8).fill(0)]);
    assert.equal(new UserStruct(memory, TYPE, start, 8).copyOut(TYPE, 8, new Uint8Array(16).fill(9)), 0);
    assert.deepEqual([...bytes.subarray(0, 9)], [...Array(8).fill(9), 7]);
    assert.equal(new UserStruct(memory, TYPE, start + PAGE, 8).copyOut(TYPE, 8, into), EFAULT);
    assert.equal(new UserStruct(memory, TYPE, start, 17).copyOut(TYPE, 8, into), EINVAL);
  });

  it('comes in arrays, entry by entry or all at once', () => {
    for (let i = 0; i < 64; i++) bytes[i] = i;
    const array = (length: number, count: number, at = start): UserArray =>
      new UserArray(memory, TYPE, at, length, count);
    const into = new Uint8Array(8);
    assert.equal(array(8, 3).entry(2, TYPE, 8, into), 0);
    assert.equal(into[0], 16);
    assert.equal(array(8, 3).entry(3, TYPE, 8, into), EINVAL);
    assert.equal(array(4, 3).entry(0, TYPE, 8, into), EINVAL);
    assert.equal(array(8, 2, start + PAGE - 8).entry(1, TYPE, 8, into), EFAULT);

    const all = new Uint8Array(16);
    assert.equal(array(8, 2).all(TYPE, 8, all), 0);
    assert.deepEqual(all, bytes.slice(0, 16));
    assert.equal(array(6, 2).all(TYPE, 8, all), 0);
    assert.deepEqual([...all], [0, 1, 2, 3, 4, 5, 0, 0, 6, 7, 8, 9, 10, 11, 0, 0]);
    assert.equal(array(10, 2).all(TYPE, 8, all), E2BIG);
    assert.equal(array(8, 2, start + PAGE - 8).all(TYPE, 8, all), EFAULT);
    assert.deepEqual([array(8, 0).all(TYPE, 8, all), array(8, 1).all(TYPE + 1, 8, all)], [EINVAL, EINVAL]);
  });
});
