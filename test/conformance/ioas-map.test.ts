// IOMMU_IOAS_MAP: memory by its address, and what is common to every way of mapping.
import assert from 'node:assert/strict';
import { IOMMU_IOAS_MAP } from '../../lib/uapi/index.js';
import { FIXED, IOVA, RW, translation, U64_MAX } from '../rig/address-space.js';
import { MOCK_APERTURE, MOCK_PAGE_SIZE } from '../rig/mock.js';
import { type Bench, conformance, NO_ID, PAGE, PAGE_SIZE, refused } from '../rig/suite.js';

/** Memory without a file: it is mapped by address. */
function plainMemory(t: Bench, size = 0x10000) {
  return t.memory(size, { backing: 'anonymous' });
}

/** An address space, and some memory for raw calls. */
function space(t: Bench) {
  const ioas = t.iommufd.allocIoas();
  const ram = plainMemory(t);
  return {
    ioas,
    ram,
    base: { flags: FIXED | RW, ioas_id: ioas.id, user_va: ram.address, length: 0x1000n, iova: IOVA },
  };
}

conformance('ioas-map', (test) => {
  test('fixed-iova', 'maps at the IOVA asked for', (t) => {
    const { ioas, ram } = space(t);
    assert.equal(ioas.map(ram, { iova: 0x4000_0000n }), 0x4000_0000n);
    assert.equal(ioas.mappingCount, 1);
    assert.equal(ioas.unmap(0x4000_0000n, ram.size), 0x10000n);
  });

  test('iova-zero', 'maps at IOVA 0', (t) => {
    const { ioas, ram } = space(t);
    assert.equal(ioas.map(ram, { iova: 0 }), 0n);
    assert.equal(ioas.unmap(0, ram.size), 0x10000n);
  });

  test('number-and-bigint', 'takes numbers and bigint, and answers bigint', (t) => {
    const { ioas, ram } = space(t);
    assert.equal(ioas.map(ram, { iova: 0x10_0000, offset: 0x1000, length: 0x2000 }), 0x10_0000n);
    assert.equal(ioas.map(ram, { iova: 0x20_0000n, offset: 0x1000n, length: 0x2000n }), 0x20_0000n);
    assert.equal(ioas.unmap(0x10_0000n, 0x2000), 0x2000n);
    assert.equal(ioas.unmap(0x20_0000, 0x2000n), 0x2000n);
  });

  test('automatic-iova', 'the kernel chooses IOVAs that are free, and never 0', (t) => {
    const { ioas, ram } = space(t);
    const iovas = Array.from({ length: 50 }, () => ioas.map(ram)).sort((a, b) => (a < b ? -1 : 1));
    for (const [i, iova] of iovas.entries()) {
      const before = iovas[i - 1];
      assert(iova > 0n);
      assert(before === undefined || iova >= before + 0x10000n, 'two mappings overlap');
    }
    assert.equal(ioas.unmapAll(), 50n * 0x10000n);
  });

  test('automatic-congruent', 'an automatic IOVA keeps the offset in the page', (t) => {
    const { base, ram } = space(t);
    const { code, out } = t.ioctl(IOMMU_IOAS_MAP, {
      ...base,
      flags: RW,
      user_va: ram.address + 0x234n,
      length: 0x100n,
    });
    assert.equal(code, 'ok');
    assert.equal(out.iova % PAGE, 0x234n);
  });

  test('automatic-ignores-iova', 'without the fixed flag the IOVA given is no wish', (t) => {
    const { base } = space(t);
    const first = t.ioctl(IOMMU_IOAS_MAP, { ...base, flags: RW, iova: 0x1234n });
    assert.equal(first.code, 'ok');
    assert.notEqual(first.out.iova, 0x1234n);
    const second = t.ioctl(IOMMU_IOAS_MAP, { ...base, flags: RW, iova: first.out.iova });
    assert.equal(second.code, 'ok');
    assert.notEqual(second.out.iova, first.out.iova);
  });

  test('automatic-full', 'says ENOSPC when no room is left', (t) => {
    const { ioas, ram } = space(t);
    ioas.allowIovas([{ start: IOVA, last: IOVA + 0xffffn }]);
    assert.equal(ioas.map(ram), IOVA);
    refused('ENOSPC', () => ioas.map(ram, { length: PAGE_SIZE }));
    ioas.unmap(IOVA, ram.size);
    assert.equal(ioas.map(ram), IOVA);
  });

  test('automatic-huge', 'an automatic IOVA for half of all addresses is EOVERFLOW', (t) => {
    const { base } = space(t);
    assert.equal(
      t.ioctl(IOMMU_IOAS_MAP, { ...base, flags: RW, user_va: 0x1000n, length: 1n << 63n }).code,
      'EOVERFLOW',
    );
  });

  test('part', 'maps part of the memory', (t) => {
    const { ioas, ram } = space(t);
    const { device } = t.mockDevice();
    const hwpt = ioas.allocHwpt(device);
    ioas.map(ram, { iova: IOVA, offset: 0x3000, length: 0x2000 });
    assert.equal(translation(t, hwpt, IOVA, ram, 0x3000, 0x2000), 'ok');
    assert.notEqual(translation(t, hwpt, IOVA, ram, 0x4000, 0x1000), 'ok');
    assert.equal(ioas.unmapAll(), 0x2000n);
  });

  test('many-aliases', 'the same memory may be mapped many times', (t) => {
    const { ioas, ram } = space(t);
    for (let i = 0n; i < 4n; i++) ioas.map(ram, { iova: IOVA + i * 0x10000n });
    assert.equal(ram.mappings, 4);
    assert.equal(ioas.mappingCount, 4);
    assert.equal(ioas.unmapAll(), 0x40000n);
    assert.equal(ram.mappings, 0);
  });

  test('filled-now', 'what is mapped after a page table exists is in it at once', (t) => {
    const { ioas, ram } = space(t);
    const { device } = t.mockDevice();
    const hwpt = ioas.allocHwpt(device);
    assert.notEqual(translation(t, hwpt, IOVA, ram), 'ok');
    ioas.map(ram, { iova: IOVA });
    assert.equal(translation(t, hwpt, IOVA, ram, 0, ram.size), 'ok');
  });

  for (const [where, iova, length] of [
    ['same', IOVA, 0x4000n],
    ['inside', IOVA + 0x1000n, 0x1000n],
    ['around', IOVA - 0x1000n, 0x6000n],
    ['first-byte', IOVA - 0xfffn, 0x1000n],
    ['last-byte', IOVA + 0x3fffn, 0x1000n],
  ] as const) {
    test(`overlap-${where}`, `refuses a range that overlaps a mapping (${where}), which stays as it was`, (t) => {
      const { ioas, ram, base } = space(t);
      ioas.map(ram, { iova: IOVA, length: 0x4000 });
      const { code, out } = t.ioctl(IOMMU_IOAS_MAP, { ...base, iova, length });
      assert.equal(code, 'EEXIST');
      assert.equal(out.iova, iova);
      assert.equal(ioas.unmapAll(), 0x4000n);
    });
  }

  test('neighbours', 'ranges may touch', (t) => {
    const { ioas, ram } = space(t);
    ioas.map(ram, { iova: IOVA, length: 0x1000 });
    ioas.map(ram, { iova: IOVA + 0x1000n, length: 0x1000 });
    ioas.map(ram, { iova: IOVA - 0x1000n, length: 0x1000 });
    assert.equal(ioas.unmap(IOVA - 0x1000n, 0x3000), 0x3000n);
  });

  test('eexist-object', 'a refusal says what was asked, and leaves nothing behind', (t) => {
    const { ioas, ram } = space(t);
    ioas.map(ram, { iova: IOVA });
    const error = refused('EEXIST', () => ioas.map(ram, { iova: IOVA }));
    assert.match(error.message, /IOMMU_IOAS_MAP: EEXIST/);
    assert.match(error.message, /iova 0x1000000/);
    assert.match(error.message, /hint: .*overlaps/);
    assert.equal(ram.mappings, 1);
    assert.equal(ioas.mappingCount, 1);
  });

  test('no-permission', 'neither readable nor writable is EINVAL', (t) => {
    const { ioas, ram, base } = space(t);
    assert.equal(t.ioctl(IOMMU_IOAS_MAP, { ...base, flags: FIXED }).code, 'EINVAL');
    assert.equal(t.ioctl(IOMMU_IOAS_MAP, { ...base, flags: 0 }).code, 'EINVAL');
    assert.throws(() => ioas.map(ram, { readable: false, writable: false }), { code: 'ERR_OUT_OF_RANGE' });
  });

  test('flags', 'refuses unknown flags', (t) => {
    const { base } = space(t);
    for (const bit of [1 << 3, 1 << 16, 0x8000_0000]) {
      assert.equal(t.ioctl(IOMMU_IOAS_MAP, { ...base, flags: (base.flags | bit) >>> 0 }).code, 'EOPNOTSUPP');
    }
  });

  test('reserved', 'refuses a reserved field that is not 0', (t) => {
    const { base } = space(t);
    assert.equal(t.ioctl(IOMMU_IOAS_MAP, { ...base, __reserved: 1 }).code, 'EOPNOTSUPP');
  });

  test('zero-length', 'refuses a length of 0', (t) => {
    const { ioas, ram, base } = space(t);
    assert.equal(t.ioctl(IOMMU_IOAS_MAP, { ...base, length: 0n }).code, 'EINVAL');
    refused('EINVAL', () => ioas.map(ram, { length: 0 }));
    refused('EINVAL', () => ioas.map(ram, { offset: ram.size }));
    assert.equal(ram.mappings, 0);
  });

  for (const [what, change] of [
    ['iova', { iova: U64_MAX }],
    ['length', { length: U64_MAX }],
    ['end', { iova: U64_MAX - 0xffen, length: 0x1000n }],
    ['address', { user_va: U64_MAX - 0x7ffn }],
  ] as const) {
    test(`overflow-${what}`, `a range whose ${what} is beyond all addresses is EOVERFLOW`, (t) => {
      const { base } = space(t);
      assert.equal(t.ioctl(IOMMU_IOAS_MAP, { ...base, ...change }).code, 'EOVERFLOW');
    });
  }

  test('top', 'maps up to the very last IOVA', (t) => {
    const { ioas, ram } = space(t);
    const iova = U64_MAX - 0xffffn;
    assert.equal(ioas.map(ram, { iova }), iova);
    assert.equal(ioas.unmap(iova, ram.size), 0x10000n);
    assert.equal(ram.mappings, 0);
  });

  test('beyond-doubles', 'IOVAs that no number can hold are exact', (t) => {
    const { ioas, ram } = space(t);
    const iova = (1n << 53n) + 1n;
    ioas.map(ram, { iova, length: 1 });
    ioas.map(ram, { iova: iova + 1n, length: 1 });
    assert.equal(ioas.mappingCount, 2);
    assert.equal(ioas.unmap(iova, 1), 1n);
    assert.equal(ioas.unmap(iova + 1n, 1), 1n);
  });

  test('bytes', 'without a page table any byte may be mapped', (t) => {
    const { ioas, base, ram } = space(t);
    const { code } = t.ioctl(IOMMU_IOAS_MAP, { ...base, user_va: ram.address + 3n, length: 5n, iova: IOVA + 1n });
    assert.equal(code, 'ok');
    assert.equal(ioas.unmap(IOVA + 1n, 5), 5n);
  });

  for (const [what, change] of [
    ['iova', { iova: IOVA + BigInt(MOCK_PAGE_SIZE / 2) }],
    ['length', { length: BigInt(MOCK_PAGE_SIZE + MOCK_PAGE_SIZE / 2) }],
    ['address', {}],
  ] as const) {
    test(`alignment-${what}`, `with a page table the ${what} must fit its page size`, (t) => {
      const { ioas, base } = space(t);
      ioas.allocHwpt(t.mockDevice().device);
      const user_va = what === 'address' ? base.user_va + BigInt(MOCK_PAGE_SIZE / 2) : base.user_va;
      assert.equal(t.ioctl(IOMMU_IOAS_MAP, { ...base, user_va, ...change }).code, 'EINVAL');
      assert.equal(t.ioctl(IOMMU_IOAS_MAP, { ...base, length: BigInt(MOCK_PAGE_SIZE) }).code, 'ok');
    });
  }

  test('reserved-iova', 'with a page table the IOVAs outside its aperture are refused', (t) => {
    const { ioas, ram } = space(t);
    ioas.allocHwpt(t.mockDevice().device);
    refused('EINVAL', () => ioas.map(ram, { iova: 0n }));
    refused('EINVAL', () => ioas.map(ram, { iova: MOCK_APERTURE.start - 0x1000n }));
    refused('EINVAL', () => ioas.map(ram, { iova: MOCK_APERTURE.last + 1n }));
    refused('EINVAL', () => ioas.map(ram, { iova: MOCK_APERTURE.last + 1n - 0x8000n }));
    assert.equal(ioas.map(ram, { iova: MOCK_APERTURE.last + 1n - 0x10000n }), MOCK_APERTURE.last + 1n - 0x10000n);
    assert(ioas.map(ram) >= MOCK_APERTURE.start);
  });

  test('unknown-ioas', 'an unknown address space is ENOENT', (t) => {
    const { base } = space(t);
    const queue = t.iommufd.allocFaultQueue();
    for (const ioas_id of [0, NO_ID, 0xffff_ffff, queue.id]) {
      assert.equal(t.ioctl(IOMMU_IOAS_MAP, { ...base, ioas_id }).code, 'ENOENT');
    }
  });

  test('order', 'flags come before overflow, overflow before permission, permission before the id', (t) => {
    const bad = { flags: 1 << 3, ioas_id: NO_ID, length: U64_MAX, iova: U64_MAX };
    assert.equal(t.ioctl(IOMMU_IOAS_MAP, bad).code, 'EOPNOTSUPP');
    assert.equal(t.ioctl(IOMMU_IOAS_MAP, { ...bad, flags: 0 }).code, 'EOVERFLOW');
    assert.equal(t.ioctl(IOMMU_IOAS_MAP, { ...bad, flags: 0, length: 0n, iova: 0n }).code, 'EINVAL');
    assert.equal(t.ioctl(IOMMU_IOAS_MAP, { ...bad, flags: RW, length: 0n, iova: 0n }).code, 'ENOENT');
  });

  test('lazy', 'memory that is not there is noticed by the first page table', (t) => {
    const { ioas, base } = space(t);
    const { device } = t.mockDevice();
    assert.equal(t.ioctl(IOMMU_IOAS_MAP, { ...base, user_va: 0x1000n }).code, 'ok');
    refused('EFAULT', () => ioas.allocHwpt(device));
    assert.equal(ioas.unmapAll(), 0x1000n);
    ioas.allocHwpt(device).destroy();
  });

  test('eager', 'memory that is not there is refused at once when a page table exists', (t) => {
    const { ioas, base } = space(t);
    ioas.allocHwpt(t.mockDevice().device);
    assert.equal(t.ioctl(IOMMU_IOAS_MAP, { ...base, user_va: 0x1000n }).code, 'EFAULT');
    assert.equal(t.ioctl(IOMMU_IOAS_MAP, base).code, 'ok');
  });

  test('unsafe-address', 'memory mapped by a bare address is not held', (t) => {
    const { ioas, ram } = space(t);
    const iova = ioas.unsafeMapAddress(ram.address, { length: ram.size });
    assert.equal(ram.mappings, 0);
    assert.equal(ioas.mappingCount, 1);
    assert.equal(ioas.unsafeMapAddress(ram.address, { length: 0x1000, iova: 0x4000_0040n }), 0x4000_0040n);
    refused('EEXIST', () => ioas.unsafeMapAddress(ram.address, { length: 0x1000n, iova }));
    assert.equal(ioas.unmapAll(), 0x11000n);
  });

  test('arguments', 'wrong arguments never reach the kernel', (t) => {
    const { ioas, ram } = space(t);
    const range = { name: 'RangeError', code: 'ERR_OUT_OF_RANGE' };
    const type = { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' };
    assert.throws(() => ioas.map(ram, { iova: -1n }), range);
    assert.throws(() => ioas.map(ram, { iova: 1n << 64n }), range);
    assert.throws(() => ioas.map(ram, { iova: 2 ** 53 }), range);
    assert.throws(() => ioas.map(ram, { iova: 0.5 }), range);
    assert.throws(() => ioas.map(ram, { offset: ram.size + 1 }), range);
    assert.throws(() => ioas.map(ram, { length: ram.size + 1 }), range);
    assert.throws(() => ioas.map(ram, { offset: 0x1000, length: ram.size }), range);
    assert.throws(() => ioas.map(ram, { iova: '0x1000' as never }), type);
    assert.throws(() => ioas.map(ram, { readable: 1 as never }), type);
    assert.throws(() => ioas.map(new Uint8Array(4096) as never), type);
    assert.throws(() => ioas.map(ram, 0x1000 as never), type);
    assert.throws(() => ioas.map(ram, { lenght: 1 } as never), { name: 'TypeError', code: 'ERR_UNKNOWN_OPTION' });
    assert.throws(() => ioas.unsafeMapAddress(ram.address, { length: -1 }), range);
    assert.equal(ioas.mappingCount, 0);
    assert.equal(ram.mappings, 0);
  });
});
