// Windows of registers: accesses of every width, bounds and alignment, windows of windows, and their end.
import assert from 'node:assert/strict';
import { assertUnmapped, makeGuest } from '../rig/guest.js';
import { assertMisuse, BAD_SIZE, OUT_OF_RANGE, WRONG_TYPE } from '../rig/misuse.js';
import { conformance } from '../rig/suite.js';

conformance('mmio', (test) => {
  test('widths', 'registers are written and read back at every width, little end first', (t) => {
    const registers = makeGuest(t).viommu.mmap();
    registers.write64(8, 0x8877_6655_4433_2211n);
    assert.equal(registers.read64(8), 0x8877_6655_4433_2211n);
    assert.equal(registers.read32(8), 0x4433_2211);
    assert.equal(registers.read32(12), 0x8877_6655);
    assert.equal(registers.read16(14), 0x8877);
    assert.equal(registers.read8(15), 0x88);
    registers.write32(8, 0xdead_beef);
    registers.write16(12, 0xffff);
    registers.write8(14, 0);
    assert.equal(registers.read64(8), 0x8800_ffff_dead_beefn);
    registers.write64(8, 0xffff_ffff_ffff_ffffn);
    assert.equal(registers.read64(8), 0xffff_ffff_ffff_ffffn);
  });

  test('ends', 'the last register of the region can be reached, at every width', (t) => {
    const registers = makeGuest(t).viommu.mmap();
    const { length } = registers;
    registers.write64(length - 8, 0x0102_0304_0506_0708n);
    assert.equal(registers.read8(length - 1), 1);
    assert.equal(registers.read16(length - 2), 0x0102);
    assert.equal(registers.read32(length - 4), 0x0102_0304);
  });

  test('bounds', 'an access that is not wholly inside is a RangeError', (t) => {
    const registers = makeGuest(t).viommu.mmap({ length: 16 });
    const outside = { name: 'RangeError', code: 'ERR_OUT_OF_RANGE', message: /^offset must be/ };
    for (const offset of [-1, -8, 16, 2 ** 32, Number.NaN, Number.POSITIVE_INFINITY]) {
      assert.throws(() => registers.read8(offset), outside);
      assert.throws(() => registers.write8(offset, 0), outside);
    }
    for (const offset of [14, 15]) assert.throws(() => registers.read32(offset), outside);
    for (const offset of [9, 12, 16]) assert.throws(() => registers.read64(offset), outside);
  });

  test('alignment', 'an access that is not aligned to its width is a RangeError', (t) => {
    const registers = makeGuest(t).viommu.mmap();
    const unaligned = { name: 'RangeError', code: 'ERR_OUT_OF_RANGE', message: /^offset must be a multiple of/ };
    assert.throws(() => registers.read8(0.5), unaligned);
    assert.throws(() => registers.read16(1), unaligned);
    assert.throws(() => registers.write16(3, 0), unaligned);
    assert.throws(() => registers.read32(2), unaligned);
    assert.throws(() => registers.write32(6, 0), unaligned);
    assert.throws(() => registers.read64(4), unaligned);
    assert.throws(() => registers.write64(12, 0n), unaligned);
  });

  test('subregion', 'a window of a window counts from its own start and ends with it', (t) => {
    const registers = makeGuest(t).viommu.mmap({ length: 256 });
    const sub = registers.subregion(64n, 32);
    const inner = sub.subregion(8, 8);
    registers.write64(72, 0x55n);
    assert.equal(sub.length, 32);
    assert.equal(sub.read64(8), 0x55n);
    assert.equal(inner.read64(0), 0x55n);
    assert.equal(inner.address, registers.address + 72n);
    assert.throws(() => sub.read8(32), { code: 'ERR_OUT_OF_RANGE' });
    assert.throws(() => sub.read8(-1), { code: 'ERR_OUT_OF_RANGE' });
    inner.unmap();
    assertUnmapped(inner);
    assert.equal(sub.mapped, true);
    registers.unmap();
    assertUnmapped(sub);
    assert.throws(() => sub.subregion(0, 1), { code: 'ERR_IOMMUFD_DESTROYED' });
  });

  test('subregion-bounds', 'a window of a window cannot reach beyond it', (t) => {
    const registers = makeGuest(t).viommu.mmap({ length: 256 });
    const outside = { name: 'RangeError', code: 'ERR_OUT_OF_RANGE' };
    assert.throws(() => registers.subregion(257, 0), outside);
    assert.throws(() => registers.subregion(0, 257), outside);
    assert.throws(() => registers.subregion(255, 2), outside);
    assert.throws(() => registers.subregion(-1, 1), outside);
    assert.equal(registers.subregion(256, 0).length, 0);
  });

  test('subregion-inner-end', 'a window of a window of a window goes with any of those it was cut from', (t) => {
    const registers = makeGuest(t).viommu.mmap();
    const outer = registers.subregion(0, 64);
    const inner = outer.subregion(0, 8);
    outer.unmap();
    assertUnmapped(inner);
    assert.throws(() => inner.address, { code: 'ERR_IOMMUFD_DESTROYED' });
    assert.equal(registers.mapped, true);
  });

  test('after-unmap', 'a window that was given up throws at every use; giving it up twice is fine', (t) => {
    const { viommu } = makeGuest(t);
    const window = viommu.mmap();
    window.unmap();
    window.unmap();
    const gone = { name: 'UsageError', code: 'ERR_IOMMUFD_DESTROYED' };
    assert.throws(() => window.read8(0), gone);
    assert.throws(() => window.write64(0, 0n), gone);
    assert.throws(() => window.address, gone);
    assert.throws(() => window.subregion(0, 1), gone);
    assert.throws(() => window.unsafeView(), gone);
    viommu.destroy();
  });

  test('dispose', 'Symbol.dispose gives a window up', (t) => {
    const { viommu } = makeGuest(t);
    const window = viommu.mmap();
    window[Symbol.dispose]();
    assertUnmapped(window);
    viommu.destroy();
  });

  test('json', 'a window says what it is, without addresses', (t) => {
    const window = makeGuest(t).viommu.mmap({ length: 8 });
    assert.deepEqual(window.toJSON(), { type: 'MmioRegion', length: 8, mapped: true });
    window.unmap();
    assert.deepEqual(window.toJSON(), { type: 'MmioRegion', length: 8, mapped: false });
  });

  test('offset', 'MmioRegion: offsets', (t) => {
    const window = makeGuest(t).viommu.mmap();
    const bad = [
      ['0', WRONG_TYPE],
      [0n, WRONG_TYPE],
      [undefined, WRONG_TYPE],
      [null, WRONG_TYPE],
      [-8, OUT_OF_RANGE],
    ] as const;
    for (const width of [8, 16, 32] as const) {
      assertMisuse('offset', bad, (offset) => window[`read${width}`](offset));
      assertMisuse('offset', bad, (offset) => window[`write${width}`](offset, 0));
    }
    assertMisuse('offset', bad, (offset) => window.read64(offset));
    assertMisuse('offset', bad, (offset) => window.write64(offset, 0n));
    assertMisuse('offset', BAD_SIZE, (offset) => window.subregion(offset, 1));
    assertMisuse('length', BAD_SIZE, (length) => window.subregion(0, length));
  });

  test('value', 'MmioRegion: values, and nothing is written', (t) => {
    const window = makeGuest(t).viommu.mmap();
    window.write64(0, 0x0123_4567_89ab_cdefn);
    const wrong = [
      ['1', WRONG_TYPE],
      [1n, WRONG_TYPE],
      [undefined, WRONG_TYPE],
      [null, WRONG_TYPE],
    ] as const;
    for (const width of [8, 16, 32] as const) {
      const bad = [...wrong, ...[-1, 0.5, Number.NaN, 2 ** width].map((value) => [value, OUT_OF_RANGE] as const)];
      assertMisuse('value', bad, (value) => window[`write${width}`](0, value));
    }
    const bad64 = [
      ['1', WRONG_TYPE],
      [1, WRONG_TYPE],
      [undefined, WRONG_TYPE],
      [-1n, OUT_OF_RANGE],
      [1n << 64n, OUT_OF_RANGE],
    ];
    assertMisuse('value', bad64 as never, (value) => window.write64(0, value));
    assert.equal(window.read64(0), 0x0123_4567_89ab_cdefn);
  });
});
