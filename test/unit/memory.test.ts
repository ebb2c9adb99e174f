// DmaMemory and MMIO windows on the stub seam: bounds, shares and ends.
import assert from 'node:assert/strict';
import { MmioMapping, MmioRegion } from '../../lib/host/mmio.js';
import { codeOf, codeOfAsync, leftovers, stage, viommuStage } from './stage.js';
import { StubRegion } from './stub-parts.js';
import { StubSeam } from './stub-seam.js';

describe('memory', () => {
  it('is read, written and seen through windows', () => {
    const { host } = stage();
    const ram = host.allocateMemory(8192);
    ram.write(4090, Uint8Array.of(1, 2, 3));
    assert.deepEqual(ram.read(4089n, 5), Uint8Array.of(0, 1, 2, 3, 0));
    const copy = ram.read(4090, 1);
    const window = ram.window(4090, 1);
    ram.write(4090, Uint8Array.of(9));
    assert.deepEqual([copy[0], window[0]], [1, 9]);
    assert.equal(ram.window(8192).length, 0);
    assert.equal(ram.window(0).buffer, ram.window(4096).buffer, 'windows share one buffer');
  });

  it('has no window beyond its end', () => {
    const ram = stage().host.allocateMemory(4096);
    for (const [offset, length] of [
      [4097, undefined],
      [4096, 1],
      [0, 4097],
      [-1, 1],
    ] as const) {
      assert.equal(
        codeOf(() => ram.window(offset, length)),
        'ERR_OUT_OF_RANGE',
      );
    }
    assert.equal(
      codeOf(() => ram.write(4095, Uint8Array.of(1, 2))),
      'ERR_OUT_OF_RANGE',
    );
    assert.equal(
      codeOf(() => ram.write(0, [1] as unknown as Uint8Array)),
      'ERR_INVALID_ARG_TYPE',
    );
  });

  it('is gone when freed, with all its windows', async () => {
    const { host, seam } = stage();
    const ram = host.allocateMemory(4096);
    const windows = [ram.window(), ram.window(10, 5)];
    ram.free();
    ram[Symbol.dispose]();
    assert.deepEqual(
      windows.map(({ length }) => length),
      [0, 0],
    );
    assert.equal(leftovers(seam).regions, 0);
    for (const use of [() => ram.address, () => ram.fd, () => ram.window(), () => ram.read(0, 1)]) {
      assert.equal(codeOf(use), 'ERR_IOMMUFD_DESTROYED');
    }
    assert.equal(await codeOfAsync(ram.prefault()), 'ERR_IOMMUFD_DESTROYED');
    assert.deepEqual(ram.toJSON(), { type: 'DmaMemory', backing: 'memfd', size: 4096, freed: true, mappings: 0 });
  });

  it('refuses sizes that are no pages', () => {
    const { host, seam } = stage();
    for (const [size, options] of [
      [0, {}],
      [4095, {}],
      [2 ** 21 + 4096, { hugePageSize: 2 ** 21 }],
      [4096, { hugePageSize: 4096 }],
      [2 ** 21, { hugePageSize: 3 }],
    ] as const) {
      assert.equal(
        codeOf(() => host.allocateMemory(size, options)),
        'ERR_OUT_OF_RANGE',
        String(size),
      );
    }
    seam.fail('allocateMemory', -12);
    assert.throws(() => host.allocateMemory(2 ** 21, { hugePageSize: 2 ** 21 }), {
      code: 'ENOMEM',
      syscall: 'memfd_create',
      message: /nr_hugepages/,
    });
  });

  it('stays while it is being made present', async () => {
    const { host, seam } = stage();
    const ram = host.allocateMemory(16384);
    seam.holdPool = true;
    const work = ram.prefault({ chunk: 4096 });
    ram.free();
    assert.equal(leftovers(seam).regions, 1);
    seam.deliver();
    assert.equal(await codeOfAsync(work), 'ERR_IOMMUFD_DESTROYED');
    assert.deepEqual([leftovers(seam).regions, seam.prefaults.length], [0, 1]);
  });
});

describe('MMIO', () => {
  function registers(length = 64): { seam: StubSeam; region: StubRegion; mmio: MmioRegion; gone: () => number } {
    const seam = new StubSeam();
    const region = new StubRegion(seam, 'mmio', length, -1);
    let gone = 0;
    const mapping = new MmioMapping(region, () => gone++);
    return { seam, region, mmio: new MmioRegion({ mapping, base: 0, length }), gone: () => gone };
  }

  it('is accessed at every width, also through windows of windows', () => {
    const { mmio, region } = registers();
    const inner = mmio.subregion(16, 32).subregion(8, 8);
    inner.write64(0, 0x1122_3344_5566_7788n);
    assert.equal(region.read64(24), 0x1122_3344_5566_7788n);
    assert.deepEqual([inner.read32(4), inner.read16(2), inner.read8(7)], [0x1122_3344, 0x5566, 0x11]);
    mmio.write32(24, 1);
    mmio.write16(28, 2);
    mmio.write8(31, 3);
    assert.equal(inner.read64(0), 0x0322_0002_0000_0001n);
    assert.equal(inner.address, region.address + 24n);
  });

  it('takes no access outside, or across a boundary', () => {
    const { mmio } = registers(16);
    const inner = mmio.subregion(0, 6);
    for (const [offset, code] of [
      [13, 'ERR_OUT_OF_RANGE'],
      [16, 'ERR_OUT_OF_RANGE'],
      [-4, 'ERR_OUT_OF_RANGE'],
      [2, 'ERR_OUT_OF_RANGE'],
      [0.5, 'ERR_OUT_OF_RANGE'],
      [Number.NaN, 'ERR_OUT_OF_RANGE'],
      ['0', 'ERR_INVALID_ARG_TYPE'],
    ] as const) {
      assert.equal(
        codeOf(() => mmio.read32(offset as number)),
        code,
        String(offset),
      );
    }
    assert.equal(
      codeOf(() => inner.write32(4, 0)),
      'ERR_OUT_OF_RANGE',
      'the window ends before the word does',
    );
    assert.equal(
      codeOf(() => mmio.subregion(8, 9)),
      'ERR_OUT_OF_RANGE',
    );
  });

  it('is unmapped with its last window, and no sooner', () => {
    const { viommu, seam } = viommuStage();
    const one = viommu.mmap();
    const two = viommu.mmap({ length: 4096 });
    assert.equal(two.length, 4096);
    assert.equal(leftovers(seam).regions, 1, 'one mapping for both');
    one.unmap();
    one.unmap();
    assert.equal(two.read32(0), 0);
    two.unmap();
    assert.equal(leftovers(seam).regions, 0);
    for (const use of [() => two.read32(0), () => two.address, () => two.subregion(0, 4), () => two.unsafeView()]) {
      assert.equal(codeOf(use), 'ERR_IOMMUFD_DESTROYED');
    }
    for (const length of [0, 0x10001])
      assert.equal(
        codeOf(() => viommu.mmap({ length })),
        'ERR_OUT_OF_RANGE',
      );
  });

  it('ends a window with the one it was cut from, and not the other way round', () => {
    const { mmio, gone } = registers();
    const inner = mmio.subregion(0, 8);
    inner.unmap();
    assert.equal(mmio.mapped, true);
    const other = mmio.subregion(0, 8);
    mmio.unmap();
    assert.equal(other.mapped, false);
    assert.equal(
      codeOf(() => other.read8(0)),
      'ERR_IOMMUFD_DESTROYED',
    );
    assert.equal(gone(), 1);
  });

  it('has no view where the registers are no memory', () => {
    assert.equal(
      codeOf(() => registers().mmio.unsafeView()),
      'ERR_IOMMUFD_UNAVAILABLE',
    );
  });

  it('is not there for a vIOMMU without registers', () => {
    const { viommu } = viommuStage('arm-smmuv3');
    assert.equal(
      codeOf(() => viommu.mmap()),
      'ERR_IOMMUFD_UNAVAILABLE',
    );
    assert.equal(
      codeOf(() => viommu.mmapRegion),
      'ERR_IOMMUFD_UNAVAILABLE',
    );
  });
});
