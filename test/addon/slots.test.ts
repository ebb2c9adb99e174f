// Numbers of regions and watches: what names nothing is refused, whatever lies behind the table of those that live.
import assert from 'node:assert/strict';
import { native, page, runScript } from './support.js';

const SLOT = 0xffff;

/** The number of the same slot's n-th object. */
function generation(number: number, n: number): number {
  return n * (SLOT + 1) + (number & SLOT);
}

describe('addon: numbers of regions and watches', () => {
  it('name nothing before there is any', () => {
    // In a process of its own: its tables have no memory yet, so that looking into them is a fault.
    const { status, signal, stdout, stderr } = runScript(`
      const refused = [];
      for (const number of [0, 1, 65535, 65536, 65537, 131072, 0x7fff0000, 0xffffffff]) {
        for (const call of ['regionAddress', 'freeRegion', 'dropRegion', 'watchArm', 'watchClose']) {
          try { native[call](number); } catch (error) { refused.push(error.code); }
        }
      }
      console.log(refused.length, new Set(refused).size, refused[0]);`);
    assert.deepEqual(
      { status, signal, stdout, stderr },
      { status: 0, signal: null, stdout: '40 1 ERR_OUT_OF_RANGE\n', stderr: '' },
    );
  });

  it('name nothing in slots that were never used, at any age', () => {
    const region = native.allocateBlock(page);
    const beyond = { code: 'ERR_OUT_OF_RANGE', message: /^region \d+ is not live$/ };
    for (let slot = 4096; slot <= SLOT; slot += 61) assert.throws(() => native.regionAddress((1 << 16) + slot), beyond);
    native.freeRegion(region);
  });

  it('name one object and no other that its slot has held or will hold', () => {
    const region = native.allocateBlock(page);
    const age = region >>> 16;
    for (const other of [0, age - 1, age + 1, age + 2, 0x7ffe, 0x7fff, age + 0x8000, 0xffff]) {
      assert.throws(() => native.regionFd(generation(region, other)), { code: 'ERR_OUT_OF_RANGE' });
    }
    assert.equal(native.regionFd(region), -1);
    native.freeRegion(region);
    for (const call of [native.regionFd, native.freeRegion, native.dropRegion]) {
      assert.throws(() => call(region), { code: 'ERR_OUT_OF_RANGE' });
    }
  });
});
