// An ioctl's struct on its way into the emulated kernel and back: sizes, and bytes that must be zero.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { Command } from '../../lib/emulated/kernel/command.js';
import type { IommufdContext } from '../../lib/emulated/kernel/iommufd-file.js';

const [E2BIG, EFAULT, EINVAL] = [-7, -14, -22];
const LENGTH = 256;
/** Nothing here asks it anything. */
const CONTEXT = {} as IommufdContext;

function memoryOf(bytes: Uint8Array) {
  return { bytes, u32: new Uint32Array(bytes.buffer, 0, bytes.length / 4) };
}
function blank(): Uint8Array {
  return new Uint8Array(LENGTH);
}
function putSize(bytes: Uint8Array, at: number, size: number): void {
  new DataView(bytes.buffer).setUint32(at, size, true);
}

/** What copy_struct_from_user and the checks before it answer. */
function expected(bytes: Uint8Array, at: number, size: number, minSize: number): number {
  if (at < 0 || at + 4 > bytes.length) return EFAULT;
  const userSize = new DataView(bytes.buffer).getUint32(at, true);
  if (userSize < minSize) return EINVAL;
  for (let i = at + size; i < at + userSize; i++) {
    if (i >= bytes.length) return EFAULT;
    if (bytes[i] !== 0) return E2BIG;
  }
  return at + Math.min(size, userSize) > bytes.length ? EFAULT : 0;
}

describe('structs of the emulated kernel', () => {
  it('are taken or refused by their size, wherever they lie', () => {
    const sizes = fc.record({
      at: fc.integer({ min: -8, max: LENGTH + 8 }),
      userSize: fc.oneof(fc.nat({ max: 140 }), fc.constantFrom(0xffff_ffff, 0x8000_0000, LENGTH)),
      size: fc.integer({ min: 8, max: 128 }),
      least: fc.integer({ min: 4, max: 128 }),
    });
    const noise = fc.array(fc.tuple(fc.nat({ max: LENGTH - 1 }), fc.nat({ max: 255 })), { maxLength: 20 });
    fc.assert(
      fc.property(sizes, noise, ({ at, userSize, size, least }, spots) => {
        const bytes = blank();
        for (const [place, value] of spots) bytes[place] = value;
        if (at >= 0 && at + 4 <= LENGTH) putSize(bytes, at, userSize);
        const before = bytes.slice();
        const command = new Command();
        // Of the call before.
        command.bytes.fill(0xee);
        const minSize = Math.min(least, size);
        const result = command.load(CONTEXT, memoryOf(bytes), at, size, minSize);
        assert.equal(result, expected(before, at, size, minSize));
        assert.deepEqual(bytes, before);
        if (result < 0) return;
        const copied = Math.min(size, userSize);
        const image = new Uint8Array(size);
        image.set(before.subarray(at, at + copied));
        assert.deepEqual(command.bytes.slice(0, size), image);
        command.bytes.fill(0xaa, 0, size);
        assert.equal(command.respond(size), 0);
        before.fill(0xaa, at, at + copied);
        assert.deepEqual(bytes, before, 'nothing is written behind the struct of the caller');
      }),
      { numRuns: 1000 },
    );
  });

  it('may answer in the middle, as far as memory goes', () => {
    const bytes = blank();
    putSize(bytes, 232, 8);
    const command = new Command();
    assert.equal(command.load(CONTEXT, memoryOf(bytes), 232, 32, 8), 0);
    command.set(16, 7);
    assert.equal(command.respondAt(16, 8), 0);
    assert.equal(bytes[248], 7);
    assert.equal(command.respondAt(20, 8), EFAULT);
  });

  it('are fields of 16, 32 and 64 bits, and addresses', () => {
    const command = new Command();
    command.set64(8, 0xffff_ffff_ffff_f001n);
    assert.equal(command.get(8), 0xffff_f001);
    assert.equal(command.u16(8), 0xf001);
    assert.equal(command.s32(12), -1);
    assert.equal(command.get64(8), 0xffff_ffff_ffff_f001n);
    assert(command.address(8) >= 2 ** 53);
    command.set64(8, 2n ** 53n - 1n);
    assert.equal(command.address(8), 2 ** 53 - 1);
    command.set(8, -1);
    assert.equal(command.get(8), 0xffff_ffff);
  });

  it('are nobody’s after the call', () => {
    const bytes = blank();
    putSize(bytes, 0, 8);
    const command = new Command();
    assert.throws(() => command.context, /no call/);
    assert.equal(command.load(CONTEXT, memoryOf(bytes), 0, 8, 8), 0);
    assert.equal(command.context, CONTEXT);
    command.unload();
    assert.throws(() => command.context, /no call/);
    assert.throws(() => command.respond(8), /no call/);
    assert.throws(() => command.respondAt(0, 8), /no call/);
  });
});
