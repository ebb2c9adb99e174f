// IOMMU_IOAS_UNMAP, and what becomes of memory that is freed while it is mapped.
import assert from 'node:assert/strict';
import type { Ioas } from '../../lib/index.js';
import { IOMMU_IOAS_UNMAP } from '../../lib/uapi/index.js';
import { collect, IOVA, U64_MAX } from '../rig/address-space.js';
import { markDirty } from '../rig/mock-checks.js';
import { type Bench, conformance, NO_ID, refused } from '../rig/suite.js';

function space(t: Bench) {
  return { ioas: t.iommufd.allocIoas(), ram: t.memory() };
}

/** Maps memory that nothing refers to afterwards. */
function mapAndForget(t: Bench, ioas: Ioas): void {
  ioas.map(t.rig.host.allocateMemory(0x4000, { backing: 'anonymous' }), { iova: IOVA });
}

conformance('ioas-unmap', (test) => {
  test('exact', 'unmaps a mapping and answers its bytes', (t) => {
    const { ioas, ram } = space(t);
    ioas.map(ram, { iova: IOVA });
    assert.equal(ioas.unmap(IOVA, ram.size), 0x10000n);
    assert.equal(ioas.mappingCount, 0);
    refused('ENOENT', () => ioas.unmap(IOVA, ram.size));
  });

  test('superset', 'a larger range unmaps all inside it, and counts only what was mapped', (t) => {
    const { ioas, ram } = space(t);
    ioas.map(ram, { iova: IOVA + 0x1000n, length: 0x1000 });
    ioas.map(ram, { iova: IOVA + 0x8000n, length: 0x3000 });
    ioas.map(ram, { iova: IOVA + 0x40000n, length: 0x1000 });
    assert.equal(ioas.unmap(IOVA, 0x20000), 0x4000n);
    assert.equal(ioas.mappingCount, 1);
    assert.equal(ram.mappings, 1);
    assert.equal(ioas.unmapAll(), 0x1000n);
  });

  for (const [where, iova, length] of [
    ['start', IOVA, 0x1000n],
    ['middle', IOVA + 0x1000n, 0x1000n],
    ['end', IOVA + 0xf000n, 0x1000n],
    ['all-but-a-byte', IOVA, 0xffffn],
  ] as const) {
    test(`part-${where}`, `part of a mapping cannot be unmapped (${where})`, (t) => {
      const { ioas, ram } = space(t);
      ioas.map(ram, { iova: IOVA });
      refused('ENOENT', () => ioas.unmap(iova, length));
      assert.equal(ram.mappings, 1);
      assert.equal(ioas.unmap(IOVA, ram.size), 0x10000n);
    });
  }

  test('nothing', 'a range without a mapping is ENOENT', (t) => {
    const { ioas } = space(t);
    refused('ENOENT', () => ioas.unmap(IOVA, 0x1000));
    const { code, out } = t.ioctl(IOMMU_IOAS_UNMAP, { ioas_id: ioas.id, iova: IOVA, length: 0x1000n });
    assert.equal(code, 'ENOENT');
    assert.equal(out.length, 0x1000n);
  });

  test('all', 'everything at once', (t) => {
    const { ioas, ram } = space(t);
    ioas.map(ram, { iova: 0n });
    ioas.map(ram, { iova: U64_MAX - 0xffffn });
    ioas.map(ram);
    assert.equal(ioas.unmapAll(), 0x30000n);
    assert.equal(ram.mappings, 0);
    assert.equal(ioas.mappingCount, 0);
  });

  test('all-empty', 'everything of an empty address space is 0 bytes', (t) => {
    const { ioas } = space(t);
    assert.equal(ioas.unmapAll(), 0n);
    const { code, out } = t.ioctl(IOMMU_IOAS_UNMAP, { ioas_id: ioas.id, iova: 0n, length: U64_MAX });
    assert.equal(code, 'ok');
    assert.equal(out.length, 0n);
  });

  test('written-back', 'the length comes back as the bytes unmapped', (t) => {
    const { ioas, ram } = space(t);
    const { iova } = { iova: ioas.unsafeMapAddress(ram.address, { length: 0x2000, iova: IOVA }) };
    const { code, out } = t.ioctl(IOMMU_IOAS_UNMAP, { ioas_id: ioas.id, iova: iova - 0x1000n, length: 0x9000n });
    assert.equal(code, 'ok');
    assert.equal(out.length, 0x2000n);
    assert.equal(out.iova, iova - 0x1000n);
  });

  test('zero-length', 'a length of 0 is EINVAL', (t) => {
    const { ioas, ram } = space(t);
    ioas.map(ram, { iova: IOVA });
    refused('EINVAL', () => ioas.unmap(IOVA, 0));
    assert.equal(ioas.mappingCount, 1);
  });

  test('overflow', 'a range beyond all addresses is EOVERFLOW', (t) => {
    const { ioas } = space(t);
    refused('EOVERFLOW', () => ioas.unmap(U64_MAX, 1));
    refused('EOVERFLOW', () => ioas.unmap(1n, U64_MAX));
    refused('EOVERFLOW', () => ioas.unmap(U64_MAX - 0xffen, 0x1000));
  });

  test('unknown-ioas', 'an unknown address space is ENOENT, before the range is looked at', (t) => {
    const queue = t.iommufd.allocFaultQueue();
    for (const ioas_id of [0, NO_ID, queue.id]) {
      assert.equal(t.ioctl(IOMMU_IOAS_UNMAP, { ioas_id, iova: U64_MAX, length: 1n }).code, 'ENOENT');
    }
  });

  test('half-way', 'a refusal keeps what was unmapped until then', (t) => {
    const { ioas, ram } = space(t);
    ioas.map(ram, { iova: IOVA, length: 0x1000 });
    ioas.map(ram, { iova: IOVA + 0x1000n, length: 0x4000 });
    refused('ENOENT', () => ioas.unmap(IOVA, 0x2000));
    // The first of the two is gone.
    refused('ENOENT', () => ioas.unmap(IOVA, 0x1000));
    assert.equal(ioas.unmap(IOVA + 0x1000n, 0x4000), 0x4000n);
  });

  test('half-way-memory', 'memory unmapped by a call that was refused is not held for ever', (t) => {
    const { ioas } = space(t);
    const [a, b] = [t.memory(0x1000), t.memory(0x4000)];
    ioas.map(a, { iova: IOVA });
    ioas.map(b, { iova: IOVA + 0x1000n });
    refused('ENOENT', () => ioas.unmap(IOVA, 0x2000));
    const c = t.memory(0x1000);
    ioas.map(c, { iova: IOVA });
    assert.equal(ioas.unmapAll(), 0x5000n);
    assert.deepEqual([a.mappings, b.mappings, c.mappings], [0, 0, 0]);
  });

  test('half-way-overlap', 'nor is memory whose IOVAs were then mapped in another shape', (t) => {
    const { ioas } = space(t);
    const [a, b] = [t.memory(0x1000), t.memory(0x4000)];
    ioas.map(a, { iova: IOVA });
    ioas.map(b, { iova: IOVA + 0x1000n });
    refused('ENOENT', () => ioas.unmap(IOVA, 0x2000));
    const c = t.memory(0x2000);
    ioas.map(c, { iova: IOVA - 0x1000n });
    assert.equal(a.mappings, 0);
    assert.equal(ioas.mappingCount, 2);
    ioas.unmap(IOVA - 0x1000n, 0x2000);
    assert.equal(ioas.unmapAll(), 0x4000n);
  });

  test('half-way-dirty', 'dirty pages behind what such a call unmapped are not lost', (t) => {
    const { ioas, ram } = space(t);
    // Otherwise pages that happen to lie in a row would be dirty together.
    ioas.hugePages = false;
    const hwpt = ioas.allocHwpt(t.mockDevice().device, { dirtyTracking: true });
    ioas.map(ram, { iova: IOVA, length: 0x1000 });
    ioas.map(ram, { iova: IOVA + 0x1000n, length: 0x4000 });
    refused('ENOENT', () => ioas.unmap(IOVA, 0x2000));
    hwpt.setDirtyTracking(true);
    assert.equal(markDirty(t, hwpt, IOVA + 0x1000n, [1]), 'ok');
    const bitmap = hwpt.dirtyBitmap({ iova: IOVA, length: 0x5000 });
    t.later(() => bitmap.free());
    assert.deepEqual([...bitmap.read().ranges()], [{ iova: IOVA + 0x2000n, length: 0x1000n }]);
  });

  test('mapped-again', 'an IOVA is free at once', (t) => {
    const { ioas, ram } = space(t);
    for (let i = 0; i < 100; i++) {
      ioas.map(ram, { iova: IOVA });
      assert.equal(ioas.unmap(IOVA, ram.size), 0x10000n);
    }
    assert.equal(ram.mappings, 0);
  });

  test('free-while-mapped', 'freed memory stays reserved until its last mapping is gone', (t) => {
    const { ioas } = space(t);
    const before = t.rig.census();
    const ram = t.rig.host.allocateMemory(0x4000);
    const view = ram.window();
    ioas.map(ram, { iova: IOVA });
    ioas.map(ram, { iova: IOVA + 0x10000n });
    ram.free();
    assert.equal(view.length, 0);
    assert.equal(ram.freed, true);
    assert.equal(ram.mappings, 2);
    ioas.unmap(IOVA, 0x4000);
    assert.notDeepEqual(t.rig.census(), before);
    ioas.unmap(IOVA + 0x10000n, 0x4000);
    assert.deepEqual(t.rig.census(), before);
    assert.equal(ram.mappings, 0);
  });

  test('free-then-pin', 'a page table made after the memory was freed still meets the right pages', (t) => {
    const { ioas, ram } = space(t);
    const { device } = t.mockDevice();
    const plain = t.memory(0x4000, { backing: 'anonymous' });
    ioas.map(plain, { iova: IOVA });
    ioas.map(ram, { iova: IOVA + 0x10000n });
    plain.free();
    ram.free();
    ioas.allocHwpt(device);
    assert.equal(ioas.unmapAll(), 0x14000n);
  });

  test('free-copies', 'copies keep freed memory reserved as well', (t) => {
    const { ioas } = space(t);
    const other = t.iommufd.allocIoas();
    const before = t.rig.census();
    const ram = t.rig.host.allocateMemory(0x4000);
    ioas.map(ram, { iova: IOVA });
    other.copy(ioas, { sourceIova: IOVA + 0x1000n, length: 0x1000, iova: IOVA });
    ram.free();
    ioas.unmapAll();
    assert.equal(ram.mappings, 1);
    assert.notDeepEqual(t.rig.census(), before);
    other.unmap(IOVA, 0x1000);
    assert.deepEqual(t.rig.census(), before);
  });

  test('free-destroy', 'destroying the address space lets memory go', (t) => {
    const { ioas } = space(t);
    const before = t.rig.census();
    const ram = t.rig.host.allocateMemory(0x4000);
    ioas.map(ram);
    ram.free();
    ioas.destroy();
    assert.equal(ram.mappings, 0);
    assert.deepEqual(t.rig.census(), before);
  });

  test('collected', 'memory that is forgotten while mapped stays until it is unmapped, then goes', async (t) => {
    const { ioas } = space(t);
    const before = t.rig.census();
    mapAndForget(t, ioas);
    const mapped = t.rig.census();
    await collect(() => t.rig.census().regions === before.regions);
    assert.deepEqual(t.rig.census(), mapped);
    ioas.allocHwpt(t.mockDevice().device);
    assert.equal(ioas.unmap(IOVA, 0x4000), 0x4000n);
    await collect(() => t.rig.census().regions === before.regions);
    assert.deepEqual(t.rig.census(), before);
  });

  test('arguments', 'wrong arguments never reach the kernel', (t) => {
    const { ioas } = space(t);
    assert.throws(() => ioas.unmap(-1n, 1), { code: 'ERR_OUT_OF_RANGE' });
    assert.throws(() => ioas.unmap(0, 2 ** 60), { code: 'ERR_OUT_OF_RANGE' });
    assert.throws(() => ioas.unmap(0, undefined as never), { code: 'ERR_INVALID_ARG_TYPE' });
    assert.throws(() => ioas.unmap('0' as never, 1), { code: 'ERR_INVALID_ARG_TYPE' });
  });
});
