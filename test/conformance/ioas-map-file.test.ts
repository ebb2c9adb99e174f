// IOMMU_IOAS_MAP_FILE: memory by its file, which outlives the process.
import assert from 'node:assert/strict';
import { closeSync, openSync } from 'node:fs';
import { IOMMU_IOAS_MAP, IOMMU_IOAS_MAP_FILE } from '../../lib/uapi/index.js';
import { FIXED, hostWithout, IOVA, RW, translation, U64_MAX } from '../rig/address-space.js';
import { MOCK_PAGE_SIZE } from '../rig/mock.js';
import { type Bench, conformance, NO_ID, PAGE, PAGE_SIZE, refused } from '../rig/suite.js';

/** A file descriptor that nobody has. */
const NO_FD = 0x7fff_fff0;

/** An address space and memory of a host whose kernel has no IOAS_MAP_FILE; `asked` collects what it is asked. */
function olderKernel(t: Bench) {
  const asked: number[] = [];
  const host = hostWithout(t, IOMMU_IOAS_MAP_FILE, asked);
  const iommufd = host.openIommufd();
  t.later(() => iommufd.close());
  const ram = host.allocateMemory(0x4000);
  t.later(() => ram.free());
  return { ioas: iommufd.allocIoas(), ram, asked };
}

function space(t: Bench) {
  const ioas = t.iommufd.allocIoas();
  const ram = t.memory();
  return {
    ioas,
    ram,
    base: { flags: FIXED | RW, ioas_id: ioas.id, fd: ram.fd, start: 0n, length: 0x1000n, iova: IOVA },
  };
}

/** An fd of a file that is no memfd, closed at the end of the case. */
function characterDevice(t: Bench): number {
  const { seam } = t.rig;
  const fd = seam.open('/dev/zero', 2);
  assert(fd >= 0);
  t.later(() => seam.close(fd));
  return fd;
}

conformance('ioas-map-file', (test) => {
  test('memfd', 'maps a memfd: devices see the pages that the process sees', (t) => {
    const { ioas, ram } = space(t);
    const hwpt = ioas.allocHwpt(t.mockDevice().device);
    assert.equal(ioas.mapFile(ram, { iova: IOVA }), IOVA);
    assert.equal(translation(t, hwpt, IOVA, ram, 0, ram.size), 'ok');
    assert.equal(ioas.unmap(IOVA, ram.size), 0x10000n);
  });

  test('offset', 'maps from an offset in the file', (t) => {
    const { ioas, ram } = space(t);
    const hwpt = ioas.allocHwpt(t.mockDevice().device);
    ioas.mapFile(ram, { iova: IOVA, offset: 0x5000, length: 0x2000 });
    assert.equal(translation(t, hwpt, IOVA, ram, 0x5000, 0x2000), 'ok');
    assert.notEqual(translation(t, hwpt, IOVA, ram, 0, PAGE_SIZE), 'ok');
  });

  test('automatic-iova', 'the kernel chooses an IOVA, and writes it back', (t) => {
    const { ioas, base } = space(t);
    const { code, out } = t.ioctl(IOMMU_IOAS_MAP_FILE, { ...base, flags: RW, iova: 0n });
    assert.equal(code, 'ok');
    assert(out.iova > 0n);
    assert.equal(ioas.unmap(out.iova, 0x1000), 0x1000n);
  });

  test('unaligned-start', 'a start within a page keeps its offset in an automatic IOVA', (t) => {
    const { base } = space(t);
    const { code, out } = t.ioctl(IOMMU_IOAS_MAP_FILE, { ...base, flags: RW, start: 0x1200n, length: 0x200n });
    assert.equal(code, 'ok');
    assert.equal(out.iova % PAGE, 0x200n);
  });

  test('unaligned-translates', 'a start within a page translates to the right bytes', (t) => {
    const { ioas, ram, base } = space(t);
    const hwpt = ioas.allocHwpt(t.mockDevice().device);
    const half = BigInt(MOCK_PAGE_SIZE);
    const { code } = t.ioctl(IOMMU_IOAS_MAP_FILE, { ...base, start: 0x1000n + half, length: half });
    assert.equal(code, 'ok');
    assert.equal(translation(t, hwpt, IOVA, ram, 0x1000 + MOCK_PAGE_SIZE, MOCK_PAGE_SIZE), 'ok');
    const odd = { ...base, iova: IOVA + 0x10000n, start: half / 2n, length: half };
    assert.equal(t.ioctl(IOMMU_IOAS_MAP_FILE, odd).code, 'EINVAL');
  });

  test('anonymous', 'memory without a file is no argument', (t) => {
    const { ioas } = space(t);
    const plain = t.memory(PAGE_SIZE, { backing: 'anonymous' });
    assert.throws(() => ioas.mapFile(plain), { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' });
    assert.equal(plain.mappings, 0);
  });

  test('bad-fd', 'an fd that is not open is EBADF', (t) => {
    const { ioas, base } = space(t);
    for (const fd of [-1, NO_FD]) assert.equal(t.ioctl(IOMMU_IOAS_MAP_FILE, { ...base, fd }).code, 'EBADF');
    const error = refused('EBADF', () => ioas.unsafeMapFd(NO_FD, 0, { length: PAGE_SIZE }));
    assert.match(error.message, /not an open file/);
    assert.throws(() => ioas.unsafeMapFd(-1, 0, { length: PAGE_SIZE }), { code: 'ERR_OUT_OF_RANGE' });
    assert.equal(ioas.mappingCount, 0);
  });

  test('not-memfd', 'a file that is no memfd is noticed by the first page table', (t) => {
    const { ioas, base } = space(t);
    const { device } = t.mockDevice();
    assert.equal(t.ioctl(IOMMU_IOAS_MAP_FILE, { ...base, fd: characterDevice(t) }).code, 'ok');
    refused('EINVAL', () => ioas.allocHwpt(device));
    assert.equal(ioas.unmapAll(), 0x1000n);
    ioas.allocHwpt(device);
  });

  test('not-memfd-eager', 'a file that is no memfd is refused at once when a page table exists', (t) => {
    const { ioas } = space(t);
    ioas.allocHwpt(t.mockDevice().device);
    const error = refused('EINVAL', () => ioas.unsafeMapFd(characterDevice(t), 0, { length: PAGE_SIZE }));
    assert.match(error.message, /memfd/);
    assert.equal(ioas.mappingCount, 0);
  });

  test('beyond-file', 'a range beyond the end of the file is noticed by the first page table', (t) => {
    const { ioas, ram, base } = space(t);
    const { device } = t.mockDevice();
    const beyond = { ...base, start: BigInt(ram.size) - 0x1000n, length: 0x2000n };
    assert.equal(t.ioctl(IOMMU_IOAS_MAP_FILE, beyond).code, 'ok');
    refused('EINVAL', () => ioas.allocHwpt(device));
    assert.equal(ioas.unmapAll(), 0x2000n);
    const hwpt = ioas.allocHwpt(device);
    assert.equal(t.ioctl(IOMMU_IOAS_MAP_FILE, beyond).code, 'EINVAL');
    assert.equal(t.ioctl(IOMMU_IOAS_MAP_FILE, { ...beyond, length: 0x1000n }).code, 'ok');
    assert.equal(translation(t, hwpt, IOVA, ram, ram.size - PAGE_SIZE), 'ok');
  });

  test('flags', 'refuses unknown flags', (t) => {
    const { base } = space(t);
    for (const bit of [1 << 3, 0x8000_0000]) {
      assert.equal(t.ioctl(IOMMU_IOAS_MAP_FILE, { ...base, flags: (base.flags | bit) >>> 0 }).code, 'EOPNOTSUPP');
    }
  });

  test('no-permission', 'neither readable nor writable is EINVAL', (t) => {
    const { ioas, base, ram } = space(t);
    assert.equal(t.ioctl(IOMMU_IOAS_MAP_FILE, { ...base, flags: FIXED }).code, 'EINVAL');
    const options = { length: PAGE_SIZE, readable: false, writable: false };
    assert.equal(refused('EINVAL', () => ioas.unsafeMapFd(ram.fd, 0, options)).name, 'IommufdError');
  });

  test('zero-length', 'a length of 0 is EINVAL, before the fd is looked at', (t) => {
    const { base } = space(t);
    assert.equal(t.ioctl(IOMMU_IOAS_MAP_FILE, { ...base, length: 0n, fd: NO_FD }).code, 'EINVAL');
  });

  for (const [what, change] of [
    ['iova', { iova: U64_MAX }],
    ['length', { length: U64_MAX }],
    ['start', { start: U64_MAX - 0x7ffn, fd: NO_FD }],
    ['end', { iova: U64_MAX - 0xffen }],
  ] as const) {
    test(`overflow-${what}`, `a range whose ${what} is beyond all addresses is EOVERFLOW`, (t) => {
      const { base } = space(t);
      assert.equal(t.ioctl(IOMMU_IOAS_MAP_FILE, { ...base, ...change }).code, 'EOVERFLOW');
    });
  }

  test('overlap', 'refuses a range that overlaps a mapping', (t) => {
    const { ioas, ram } = space(t);
    ioas.mapFile(ram, { iova: IOVA });
    refused('EEXIST', () => ioas.mapFile(ram, { iova: IOVA + 0xf000n, length: PAGE_SIZE }));
    assert.equal(ram.mappings, 1);
    assert.equal(ioas.unmapAll(), 0x10000n);
  });

  test('unknown-ioas', 'an unknown address space is ENOENT, before the fd is looked at', (t) => {
    const { base } = space(t);
    assert.equal(t.ioctl(IOMMU_IOAS_MAP_FILE, { ...base, ioas_id: NO_ID, fd: NO_FD }).code, 'ENOENT');
  });

  test('order', 'flags come before overflow, overflow before permission, permission before the id', (t) => {
    const bad = { flags: 1 << 3, ioas_id: NO_ID, fd: NO_FD, length: U64_MAX, iova: U64_MAX };
    assert.equal(t.ioctl(IOMMU_IOAS_MAP_FILE, bad).code, 'EOPNOTSUPP');
    assert.equal(t.ioctl(IOMMU_IOAS_MAP_FILE, { ...bad, flags: 0 }).code, 'EOVERFLOW');
    assert.equal(t.ioctl(IOMMU_IOAS_MAP_FILE, { ...bad, flags: 0, length: 1n, iova: 0n }).code, 'EINVAL');
    assert.equal(t.ioctl(IOMMU_IOAS_MAP_FILE, { ...bad, flags: RW, length: 1n, iova: 0n }).code, 'ENOENT');
  });

  test('unsafe-fd', 'maps a bare fd, without holding memory', (t) => {
    const { ioas, ram } = space(t);
    const hwpt = ioas.allocHwpt(t.mockDevice().device);
    assert.equal(ioas.unsafeMapFd(ram.fd, 0x2000n, { iova: IOVA, length: 0x3000 }), IOVA);
    assert.equal(ram.mappings, 0);
    assert.equal(ioas.mappingCount, 1);
    assert.equal(translation(t, hwpt, IOVA, ram, 0x2000, 0x3000), 'ok');
    assert.equal(ioas.unmap(IOVA, 0x3000), 0x3000n);
    assert.equal(ioas.mappingCount, 0);
  });

  test('fd-closed', 'a mapping outlives the fd it was made with', (t) => {
    const { ioas } = space(t);
    const { device } = t.mockDevice();
    t.needs(IOMMU_IOAS_MAP_FILE);
    const gone = t.rig.host.allocateMemory(PAGE_SIZE);
    ioas.unsafeMapFd(gone.fd, 0, { iova: IOVA, length: PAGE_SIZE });
    gone.free();
    const hwpt = ioas.allocHwpt(device);
    assert.equal(ioas.unmap(IOVA, PAGE_SIZE), 0x1000n);
    hwpt.destroy();
  });

  test('another-open', 'the same memfd opened anew maps the same pages', { needs: 'own-files' }, (t) => {
    const { ioas, ram } = space(t);
    const hwpt = ioas.allocHwpt(t.mockDevice().device);
    const fd = openSync(`/proc/self/fd/${ram.fd}`, 'r+');
    ioas.unsafeMapFd(fd, 0, { iova: IOVA, length: ram.size });
    closeSync(fd);
    assert.equal(translation(t, hwpt, IOVA, ram, 0, ram.size), 'ok');
  });

  test('fallback', 'where the kernel has no such call, memfd memory is mapped by its address', (t) => {
    const { ioas, ram, asked } = olderKernel(t);
    assert.equal(ioas.map(ram, { iova: IOVA }), IOVA);
    assert.deepEqual(asked.slice(-2), [IOMMU_IOAS_MAP_FILE.request, IOMMU_IOAS_MAP.request]);
    assert.equal(ram.mappings, 1);
    assert.equal(ioas.unmapAll(), 0x4000n);
    const error = refused('ENOTTY', () => ioas.mapFile(ram));
    assert.match(error.message, /6\.13/);
    assert.equal(ram.mappings, 0);
  });

  test('fallback-async', 'so does mapAsync', async (t) => {
    const { ioas, ram, asked } = olderKernel(t);
    assert.equal(await ioas.mapAsync(ram, { iova: IOVA }), IOVA);
    assert.deepEqual(asked.slice(-2), [IOMMU_IOAS_MAP_FILE.request, IOMMU_IOAS_MAP.request]);
    assert.equal(ioas.unmapAll(), 0x4000n);
  });
});
