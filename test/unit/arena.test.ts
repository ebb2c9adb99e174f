// The arena: a stack of places in memory that the kernel may be given.
import assert from 'node:assert/strict';
import { Arena } from '../../lib/host/arena.js';
import { generator } from './stage.js';

function arena(size = 256): Arena {
  return new Arena(new ArrayBuffer(size), 0x5000n);
}

describe('arena', () => {
  it('hands out 8-byte aligned places, one behind another', () => {
    const a = arena();
    assert.deepEqual([a.take(1), a.take(8), a.take(9), a.take(0), a.take(8)], [0, 8, 16, 32, 32]);
  });

  it('gives back everything behind a mark', () => {
    const a = arena();
    a.take(16);
    const mark = a.mark();
    const first = a.take(40);
    a.take(40);
    a.release(mark);
    assert.equal(a.take(8), first);
  });

  it('refuses what does not fit, and stays as it was', () => {
    const a = arena();
    a.take(200);
    const mark = a.mark();
    for (const length of [57, 256, 257, 2 ** 31, 2 ** 32 + 8]) {
      assert.throws(() => a.take(length), /argument arena holds 256 bytes/, String(length));
    }
    assert.equal(a.mark(), mark);
    assert.equal(a.take(56), 200);
  });

  it('never says that something fits which take then refuses', () => {
    const random = generator(1);
    for (let round = 0; round < 2000; round++) {
      const a = arena(8 * (1 + random(64)));
      a.take(random(a.size + 1) & ~7);
      const length = random(600);
      if (a.fits(length)) a.take(length);
    }
  });

  it('tells addresses as the kernel sees them', () => {
    const a = arena();
    a.take(24);
    assert.equal(a.addressOf(a.take(8)), 0x5018n);
  });

  it('shows the same bytes through all of its views', () => {
    const a = arena();
    const at = a.take(16) + 8;
    a.u64[at >>> 3] = 0x0102_0304_0506_0708n;
    assert.equal(a.u32[at >>> 2], 0x0506_0708);
    assert.equal(a.view.getUint32(at + 4, true), 0x0102_0304);
    assert.equal(a.bytes[at], 8);
  });
});
