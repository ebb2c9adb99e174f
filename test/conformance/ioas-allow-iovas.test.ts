// IOMMU_IOAS_ALLOW_IOVAS.
import assert from 'node:assert/strict';
import { IOMMU_IOAS_ALLOW_IOVAS } from '../../lib/uapi/index.js';
import { IOVA, reserve, U64_MAX } from '../rig/address-space.js';
import { MOCK_APERTURE } from '../rig/mock.js';
import { conformance, NO_ID, PAGE_SIZE, refused } from '../rig/suite.js';

const HERE = { start: IOVA, last: IOVA + 0xffffn };

conformance('ioas-allow-iovas', (test) => {
  test('automatic', 'automatic IOVAs come from the allowed ranges only', (t) => {
    const ioas = t.iommufd.allocIoas();
    const ram = t.memory(PAGE_SIZE);
    ioas.allowIovas([
      { start: 0x4000_0000n, last: 0x4000_0fffn },
      { start: 0x2000_0000n, last: 0x2000_0fffn },
    ]);
    assert.deepEqual(new Set([ioas.map(ram), ioas.map(ram)]), new Set([0x2000_0000n, 0x4000_0000n]));
    refused('ENOSPC', () => ioas.map(ram));
  });

  test('fixed', 'a fixed IOVA may lie outside them', (t) => {
    const ioas = t.iommufd.allocIoas();
    ioas.allowIovas([HERE]);
    assert.equal(ioas.map(t.memory(), { iova: 0x7000_0000n }), 0x7000_0000n);
  });

  test('ranges-unchanged', 'what can be mapped does not change by it', (t) => {
    const ioas = t.iommufd.allocIoas();
    ioas.allowIovas([HERE]);
    assert.deepEqual(ioas.iovaRanges().ranges, [{ start: 0n, last: U64_MAX }]);
  });

  test('replaces', 'the list replaces the one before', (t) => {
    const ioas = t.iommufd.allocIoas();
    const ram = t.memory();
    ioas.allowIovas([HERE]);
    ioas.allowIovas([{ start: 0x5000_0000, last: 0x5000_ffff }]);
    assert.equal(ioas.map(ram), 0x5000_0000n);
    refused('ENOSPC', () => ioas.map(ram));
  });

  test('lifted', 'an empty list lifts it', (t) => {
    const ioas = t.iommufd.allocIoas();
    const ram = t.memory();
    ioas.allowIovas([HERE]);
    ioas.map(ram);
    ioas.allowIovas([]);
    assert.notEqual(ioas.map(ram), IOVA);
  });

  test('promise', 'a device that cannot reach them is refused, and works once they are given up', (t) => {
    const ioas = t.iommufd.allocIoas();
    const { device } = t.mockDevice();
    ioas.allowIovas([{ start: 0n, last: 0xffffn }, HERE]);
    const error = refused('EADDRINUSE', () => ioas.allocHwpt(device));
    assert.match(error.message, /hint: .*allowIovas/);
    assert.equal(device.tryAttach(ioas).refusal?.code, 'EADDRINUSE');
    ioas.allowIovas([HERE]);
    ioas.allocHwpt(device);
  });

  test('promise-mapping', 'so is one that cannot reach what is mapped', (t) => {
    const ioas = t.iommufd.allocIoas();
    const { device } = t.mockDevice();
    ioas.map(t.memory(), { iova: 0n });
    refused('EADDRINUSE', () => ioas.allocHwpt(device));
    assert.deepEqual(ioas.iovaRanges().ranges, [{ start: 0n, last: U64_MAX }]);
    ioas.unmapAll();
    ioas.allocHwpt(device);
  });

  test('promise-alignment', 'and one whose pages do not fit what is mapped', (t) => {
    const ioas = t.iommufd.allocIoas();
    const { device } = t.mockDevice();
    ioas.map(t.memory(), { iova: IOVA + 0x400n, length: PAGE_SIZE });
    refused('EADDRINUSE', () => ioas.allocHwpt(device));
    ioas.unmapAll();
    ioas.allocHwpt(device);
  });

  test('in-use', 'ranges that a device reserves are EADDRINUSE, and the list before stays', (t) => {
    const ioas = t.iommufd.allocIoas();
    ioas.allocHwpt(t.mockDevice().device);
    ioas.allowIovas([HERE]);
    refused('EADDRINUSE', () => ioas.allowIovas([{ start: MOCK_APERTURE.start - 1n, last: MOCK_APERTURE.start }]));
    refused('EADDRINUSE', () => ioas.allowIovas([{ start: MOCK_APERTURE.last, last: MOCK_APERTURE.last + 1n }]));
    assert.equal(ioas.map(t.memory()), IOVA);
    refused('ENOSPC', () => ioas.map(t.memory()));
  });

  test('in-use-reserved', 'reserved IOVAs are EADDRINUSE, and allowed ones cannot be reserved', (t) => {
    const ioas = t.iommufd.allocIoas();
    assert.equal(reserve(t, ioas.id, 0x1000n, 0x1000n), 'ok');
    refused('EADDRINUSE', () => ioas.allowIovas([{ start: 0n, last: 0x1000n }]));
    ioas.allowIovas([{ start: 0n, last: 0xfffn }]);
    assert.equal(reserve(t, ioas.id, 0xfffn, 1n), 'EADDRINUSE');
  });

  for (const [what, ranges] of [
    ['overlap', [HERE, { start: HERE.last, last: HERE.last + 1n }]],
    ['twice', [HERE, HERE]],
    ['backwards', [{ start: HERE.last, last: HERE.start }]],
    ['single', [{ start: IOVA, last: IOVA }]],
  ] as const) {
    test(`invalid-${what}`, `ranges that make no sense are EINVAL, and the list before stays (${what})`, (t) => {
      const ioas = t.iommufd.allocIoas();
      ioas.allowIovas([HERE]);
      refused('EINVAL', () => ioas.allowIovas(ranges));
      assert.equal(ioas.map(t.memory()), IOVA);
      refused('ENOSPC', () => ioas.map(t.memory()));
    });
  }

  test('touching', 'ranges may touch, in any order', (t) => {
    const ioas = t.iommufd.allocIoas();
    ioas.allowIovas([{ start: HERE.last + 1n, last: HERE.last + 0x1000n }, HERE]);
    assert.equal(ioas.map(t.memory()), IOVA);
  });

  test('whole', 'all IOVAs may be allowed', (t) => {
    const ioas = t.iommufd.allocIoas();
    ioas.allowIovas([{ start: 0n, last: U64_MAX }]);
    assert(ioas.map(t.memory()) > 0n);
  });

  test('many', 'a list longer than a page works', (t) => {
    const ioas = t.iommufd.allocIoas();
    const ranges = Array.from({ length: 1000 }, (_, i) => ({ start: i * 0x10000, last: i * 0x10000 + 0xfff }));
    ioas.allowIovas(ranges);
    refused('ENOSPC', () => ioas.map(t.memory()));
    assert(ioas.map(t.memory(PAGE_SIZE)) < 1000n * 0x10000n);
  });

  test('bad-pointer', 'a list that is not mapped is EFAULT', (t) => {
    const { id } = t.iommufd.allocIoas();
    const input = { ioas_id: id, num_iovas: 1, allowed_iovas: 8n };
    assert.equal(t.ioctl(IOMMU_IOAS_ALLOW_IOVAS, input).code, 'EFAULT');
    assert.equal(t.ioctl(IOMMU_IOAS_ALLOW_IOVAS, { ...input, num_iovas: 0 }).code, 'ok');
  });

  test('reserved', 'refuses a reserved field that is not 0, before the id', (t) => {
    assert.equal(t.ioctl(IOMMU_IOAS_ALLOW_IOVAS, { ioas_id: NO_ID, __reserved: 1 }).code, 'EOPNOTSUPP');
  });

  test('unknown-ioas', 'an unknown address space is ENOENT, before the list is read', (t) => {
    const input = { ioas_id: NO_ID, num_iovas: 1, allowed_iovas: 8n };
    assert.equal(t.ioctl(IOMMU_IOAS_ALLOW_IOVAS, input).code, 'ENOENT');
  });

  test('arguments', 'wrong arguments never reach the kernel', (t) => {
    const ioas = t.iommufd.allocIoas();
    assert.throws(() => ioas.allowIovas([{ start: -1, last: 1 }]), { code: 'ERR_OUT_OF_RANGE' });
    assert.throws(() => ioas.allowIovas([{ start: 0 } as never]), { code: 'ERR_INVALID_ARG_TYPE' });
    assert.throws(() => ioas.allowIovas(undefined as never), { name: 'TypeError' });
  });
});
