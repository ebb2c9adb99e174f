// IOMMU_IOAS_COPY.
import assert from 'node:assert/strict';
import { mock_flags_access } from '../../lib/emulated/hardware/selftest/uapi.js';
import { IOMMU_IOAS_COPY } from '../../lib/uapi/index.js';
import { FIXED, IOVA, RW, translation, U64_MAX } from '../rig/address-space.js';
import { type Bench, conformance, NO_ID, refused } from '../rig/suite.js';

const THERE = 0x5000_0000n;
const NTH_AREA = mock_flags_access.values.MOCK_FLAGS_ACCESS_SYZ;

/** Memory mapped at IOVA of one address space, and another that is empty. */
function pair(t: Bench) {
  const [source, target] = [t.iommufd.allocIoas(), t.iommufd.allocIoas()];
  const ram = t.memory();
  source.map(ram, { iova: IOVA });
  const ids = { src_ioas_id: source.id, dst_ioas_id: target.id };
  return { source, target, ram, base: { flags: FIXED | RW, ...ids, length: 0x1000n, src_iova: IOVA, dst_iova: THERE } };
}

conformance('ioas-copy', (test) => {
  test('other', 'maps the same memory in another address space', (t) => {
    const { source, target, ram } = pair(t);
    const hwpt = target.allocHwpt(t.mockDevice().device);
    assert.equal(target.copy(source, { sourceIova: IOVA, length: ram.size, iova: THERE }), THERE);
    assert.equal(translation(t, hwpt, THERE, ram, 0, ram.size), 'ok');
    assert.equal(ram.mappings, 2);
    assert.equal(target.unmap(THERE, ram.size), 0x10000n);
    assert.equal(source.unmap(IOVA, ram.size), 0x10000n);
  });

  test('same', 'maps it again in the same address space', (t) => {
    const { source, ram } = pair(t);
    assert.equal(source.copy(source, { sourceIova: IOVA, length: ram.size, iova: THERE }), THERE);
    assert.equal(source.mappingCount, 2);
    assert.equal(source.unmapAll(), 0x20000n);
  });

  test('automatic-iova', 'the kernel chooses an IOVA', (t) => {
    const { source, target } = pair(t);
    const iova = target.copy(source, { sourceIova: IOVA, length: 0x4000 });
    assert(iova > 0n);
    assert.equal(target.unmap(iova, 0x4000), 0x4000n);
  });

  test('part', 'copies part of a mapping', (t) => {
    const { source, target, ram } = pair(t);
    const hwpt = target.allocHwpt(t.mockDevice().device);
    target.copy(source, { sourceIova: IOVA + 0x3000n, length: 0x2000, iova: THERE });
    assert.equal(translation(t, hwpt, THERE, ram, 0x3000, 0x2000), 'ok');
    assert.equal(target.unmap(THERE, 0x2000), 0x2000n);
  });

  test('several', 'copies a range of several mappings, each of which stays one', (t) => {
    const { source, target, ram } = pair(t);
    const second = t.memory(0x4000);
    source.map(second, { iova: IOVA + 0x10000n });
    target.copy(source, { sourceIova: IOVA + 0xf000n, length: 0x3000, iova: THERE });
    assert.equal(target.mappingCount, 2);
    assert.deepEqual([ram.mappings, second.mappings], [2, 2]);
    refused('ENOENT', () => target.unmap(THERE, 0x2000));
    assert.equal(target.unmap(THERE + 0x1000n, 0x2000), 0x2000n);
  });

  test('gap', 'a source with a gap is ENOENT, and nothing is mapped', (t) => {
    const { source, target, ram } = pair(t);
    source.map(ram, { iova: IOVA + 0x11000n, length: 0x1000 });
    refused('ENOENT', () => target.copy(source, { sourceIova: IOVA, length: 0x12000, iova: THERE }));
    refused('ENOENT', () => target.copy(source, { sourceIova: IOVA + 0x10000n, length: 0x2000 }));
    refused('ENOENT', () => target.copy(source, { sourceIova: IOVA - 0x1000n, length: 0x2000 }));
    refused('ENOENT', () => target.copy(source, { sourceIova: 0n, length: 1 }));
    assert.equal(target.unmapAll(), 0n);
    assert.equal(ram.mappings, 2);
  });

  test('taken', 'a destination in use is EEXIST', (t) => {
    const { source, target, ram } = pair(t);
    target.map(ram, { iova: THERE + 0x1000n, length: 0x1000 });
    refused('EEXIST', () => target.copy(source, { sourceIova: IOVA, length: 0x2000, iova: THERE }));
    refused('EEXIST', () => source.copy(source, { sourceIova: IOVA, length: 0x2000, iova: IOVA + 0x1000n }));
    assert.equal(target.unmapAll(), 0x1000n);
  });

  test('write-denied', 'a copy of what devices may only read cannot be writable', (t) => {
    const { source, target } = pair(t);
    const ram = t.memory(0x4000);
    source.map(ram, { iova: THERE, writable: false });
    const error = refused('EPERM', () => target.copy(source, { sourceIova: THERE, length: 0x1000 }));
    assert.match(error.message, /hint: /);
    const iova = target.copy(source, { sourceIova: THERE, length: 0x1000, writable: false });
    assert.equal(target.unmap(iova, 0x1000), 0x1000n);
  });

  test('narrower', 'a copy may have fewer permissions than its source', (t) => {
    const { source, target } = pair(t);
    target.copy(source, { sourceIova: IOVA, length: 0x1000, readable: false });
    target.copy(source, { sourceIova: IOVA, length: 0x1000, writable: false });
    assert.equal(target.unmapAll(), 0x2000n);
  });

  test('outlives', 'a copy outlives its source', (t) => {
    const { source, target, ram } = pair(t);
    target.copy(source, { sourceIova: IOVA, length: ram.size, iova: THERE });
    source.destroy();
    assert.equal(ram.mappings, 1);
    const hwpt = target.allocHwpt(t.mockDevice().device);
    assert.equal(translation(t, hwpt, THERE, ram, 0, ram.size), 'ok');
  });

  test('copy-of-copy', 'a copy can be copied', (t) => {
    const { source, target, ram } = pair(t);
    target.copy(source, { sourceIova: IOVA + 0x1000n, length: 0x4000, iova: THERE });
    source.copy(target, { sourceIova: THERE + 0x1000n, length: 0x1000, iova: THERE });
    assert.equal(ram.mappings, 3);
    const hwpt = source.allocHwpt(t.mockDevice().device);
    assert.equal(translation(t, hwpt, THERE, ram, 0x2000, 0x1000), 'ok');
  });

  test('flags', 'refuses unknown flags', (t) => {
    const { base } = pair(t);
    assert.equal(t.ioctl(IOMMU_IOAS_COPY, { ...base, flags: base.flags | 8 }).code, 'EOPNOTSUPP');
  });

  test('no-permission', 'neither readable nor writable is EINVAL', (t) => {
    const { base } = pair(t);
    assert.equal(t.ioctl(IOMMU_IOAS_COPY, { ...base, flags: FIXED }).code, 'EINVAL');
  });

  test('zero-length', 'a length of 0 is EINVAL', (t) => {
    const { source, target } = pair(t);
    refused('EINVAL', () => target.copy(source, { sourceIova: IOVA, length: 0 }));
  });

  for (const [what, change] of [
    ['source', { src_iova: U64_MAX }],
    ['destination', { dst_iova: U64_MAX }],
    ['length', { length: U64_MAX }],
    ['source-end', { src_iova: U64_MAX - 0xffen }],
    ['destination-end', { dst_iova: U64_MAX - 0xffen }],
  ] as const) {
    test(`overflow-${what}`, `a ${what} beyond all addresses is EOVERFLOW`, (t) => {
      const { base } = pair(t);
      assert.equal(t.ioctl(IOMMU_IOAS_COPY, { ...base, ...change }).code, 'EOVERFLOW');
    });
  }

  test('unknown-ids', 'unknown address spaces are ENOENT', (t) => {
    const { base } = pair(t);
    for (const change of [{ src_ioas_id: NO_ID }, { dst_ioas_id: NO_ID }, { src_ioas_id: 0 }, { dst_ioas_id: 0 }]) {
      assert.equal(t.ioctl(IOMMU_IOAS_COPY, { ...base, ...change }).code, 'ENOENT');
    }
  });

  test('order', 'flags, then overflow, then permission, then the source and its range, then the destination', (t) => {
    const { base } = pair(t);
    const bad = { ...base, flags: 8, src_ioas_id: NO_ID, dst_ioas_id: NO_ID, length: U64_MAX };
    assert.equal(t.ioctl(IOMMU_IOAS_COPY, bad).code, 'EOPNOTSUPP');
    assert.equal(t.ioctl(IOMMU_IOAS_COPY, { ...bad, flags: 0 }).code, 'EOVERFLOW');
    assert.equal(t.ioctl(IOMMU_IOAS_COPY, { ...bad, flags: 0, length: 0n }).code, 'EINVAL');
    assert.equal(t.ioctl(IOMMU_IOAS_COPY, { ...bad, flags: RW, length: 0n }).code, 'ENOENT');
    const zero = { ...base, dst_ioas_id: NO_ID, length: 0n };
    assert.equal(t.ioctl(IOMMU_IOAS_COPY, zero).code, 'EINVAL');
  });

  test('written-back', 'an automatic IOVA is written back, the rest stays', (t) => {
    const { base } = pair(t);
    const { code, out } = t.ioctl(IOMMU_IOAS_COPY, { ...base, flags: RW, dst_iova: 0x123n });
    assert.equal(code, 'ok');
    assert.notEqual(out.dst_iova, 0x123n);
    assert.deepEqual([out.src_iova, out.length, out.flags], [IOVA, 0x1000n, RW]);
  });

  test('nth-area', "where the kernel has the mock, a fuzzer's flag makes the source the number of a mapping", (t) => {
    const { source, ram, base } = pair(t);
    source.map(ram, { iova: IOVA + 0x10000n });
    const second = { ...base, flags: FIXED | RW | NTH_AREA, src_iova: (0x2000n << 32n) | 1n };
    const { code, out } = t.ioctl(IOMMU_IOAS_COPY, second);
    assert.equal(code, 'ok');
    assert.deepEqual([out.flags, out.src_iova], [FIXED | RW, IOVA + 0x12000n]);
    // Without so many mappings it is IOVA 0; what was refused is not written back.
    const missing = t.ioctl(IOMMU_IOAS_COPY, { ...second, src_iova: 2n });
    assert.deepEqual([missing.code, missing.out.flags, missing.out.src_iova], ['ENOENT', second.flags, 2n]);
    assert.equal(t.ioctl(IOMMU_IOAS_COPY, { ...second, flags: NTH_AREA, src_ioas_id: NO_ID }).code, 'EINVAL');
    assert.equal(t.ioctl(IOMMU_IOAS_COPY, { ...second, src_ioas_id: NO_ID }).code, 'ENOENT');
  });

  test('arguments', 'wrong arguments never reach the kernel', (t) => {
    const { source, target } = pair(t);
    const foreign = t.openIommufd().allocIoas();
    const range = { sourceIova: IOVA, length: 0x1000 };
    assert.throws(() => target.copy(foreign, range), { name: 'UsageError', code: 'ERR_IOMMUFD_FOREIGN_CONTEXT' });
    assert.throws(() => target.copy({} as never, range), { code: 'ERR_INVALID_ARG_TYPE' });
    assert.throws(() => target.copy(source, { ...range, sourceIova: -1 }), { code: 'ERR_OUT_OF_RANGE' });
    assert.throws(() => target.copy(source, { ...range, offset: 0 } as never), { code: 'ERR_UNKNOWN_OPTION' });
    assert.throws(() => target.copy(source, undefined as never), { code: 'ERR_INVALID_ARG_TYPE' });
    source.destroy();
    assert.throws(() => target.copy(source, range), { code: 'ERR_IOMMUFD_DESTROYED' });
  });
});
