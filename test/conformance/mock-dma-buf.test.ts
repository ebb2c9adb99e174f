// dma-bufs of the mock (DMABUF_GET and DMABUF_REVOKE of IOMMU_TEST_CMD), and what iommufd does with them.
import assert from 'node:assert/strict';
import {
  test_access_rw,
  test_create_access,
  test_dmabuf_get,
  test_dmabuf_revoke,
} from '../../lib/emulated/hardware/selftest/uapi.js';
import {
  IOMMU_IOAS_CHANGE_PROCESS,
  IOMMU_IOAS_COPY,
  IOMMU_IOAS_MAP_FILE,
  IOMMU_IOAS_UNMAP,
  VFIO_IOMMU_UNMAP_DMA,
  VFIO_SET_IOMMU,
  vfio_extension,
} from '../../lib/uapi/index.js';
import { FIXED, IOVA, RW } from '../rig/address-space.js';
import { tryTestCmd } from '../rig/mock.js';
import { type Bench, codeOf, conformance, PAGE, portOf, refused } from '../rig/suite.js';
import { compatIoas } from '../rig/vfio-compat.js';

const SIZE = 4n * PAGE;

/** What DMABUF_GET answers: -errno, or what is to be the fd. */
function ask(t: Bench, length: number): number {
  return tryTestCmd(portOf(t), 'IOMMU_TEST_OP_DMABUF_GET', test_dmabuf_get, { length, open_flags: 0o2000000 }).result;
}
/** The fd of a new one. Linux answers 0 in place of it (iommufd/selftest.c): there it is the lowest that is free. */
function getDmaBuf(t: Bench, length = Number(SIZE)): number {
  const { seam } = t.rig;
  const lowest = seam.open('/dev/null', 0);
  seam.close(lowest);
  const answer = ask(t, length);
  assert(answer >= 0, codeOf(answer));
  const fd = answer === 0 ? lowest : answer;
  assert.equal(seam.own(fd), 0);
  t.later(() => seam.close(fd));
  return fd;
}
function revoke(t: Bench, fd: number, revoked: number): string {
  const input = { dmabuf_fd: fd, revoked };
  return codeOf(tryTestCmd(portOf(t), 'IOMMU_TEST_OP_DMABUF_REVOKE', test_dmabuf_revoke, input).result);
}
function map(t: Bench, ioas_id: number, fd: number, length = SIZE, start = 0n, iova = IOVA): string {
  return t.ioctl(IOMMU_IOAS_MAP_FILE, { flags: RW | FIXED, ioas_id, fd, start, length, iova }).code;
}
function unmap(t: Bench, ioas_id: number, length = SIZE, iova = IOVA): string {
  return t.ioctl(IOMMU_IOAS_UNMAP, { ioas_id, iova, length }).code;
}

conformance('mock-dma-buf', (test) => {
  test('fd', 'the answer is the fd, as it was meant to be', { needs: 'emulated' }, (t) => {
    const fd = ask(t, 4096);
    assert.equal(t.rig.seam.own(fd), 0);
    assert.equal(revoke(t, fd, 0), 'ok');
    assert.equal(t.rig.seam.close(fd), 0);
  });

  test('sizes', 'one has 1 to 512 pages, in whole ones', (t) => {
    const { id } = t.iommufd.allocIoas();
    for (const length of [0, 512 * 4096 + 1, 0xffff_0000]) assert.equal(codeOf(ask(t, length)), 'EINVAL');
    const small = getDmaBuf(t, 1);
    assert.equal(map(t, id, small, PAGE + 1n), 'EINVAL');
    assert.equal(map(t, id, small, PAGE), 'ok');
    assert.equal(map(t, id, getDmaBuf(t, 512 * 4096), 512n * PAGE, 0n, IOVA + PAGE), 'ok');
  });

  test('map', 'is mapped by its fd, by parts too, and stays when that is closed', (t) => {
    const ioas = t.iommufd.allocIoas();
    const fd = getDmaBuf(t);
    assert.equal(map(t, ioas.id, fd, 0n), 'EINVAL');
    assert.equal(map(t, ioas.id, fd, SIZE, PAGE), 'EINVAL');
    assert.equal(map(t, ioas.id, fd, PAGE, SIZE), 'EINVAL');
    assert.equal(map(t, ioas.id, fd, 2n * PAGE, PAGE), 'ok');
    const other = t.rig.seam.duplicate(fd);
    assert.equal(map(t, ioas.id, other, SIZE, 0n, IOVA + SIZE), 'ok');
    assert.equal(t.rig.seam.close(other), 0);
    ioas.allocHwpt(t.mockDevice().device);
    assert.equal(unmap(t, ioas.id, 2n * PAGE), 'ok');
    assert.equal(unmap(t, ioas.id, SIZE, IOVA + SIZE), 'ok');
  });

  test('revoked', 'one that was taken away is ENODEV until it is given back, and page tables do without', (t) => {
    const ioas = t.iommufd.allocIoas();
    const fd = getDmaBuf(t);
    assert.equal(map(t, ioas.id, fd), 'ok');
    for (const times of [1, 2]) assert.equal(revoke(t, fd, times), 'ok');
    assert.equal(map(t, ioas.id, fd, SIZE, 0n, IOVA + SIZE), 'ENODEV');
    ioas.allocHwpt(t.mockDevice().device);
    assert.equal(revoke(t, fd, 0), 'ok');
    assert.equal(map(t, ioas.id, fd, SIZE, 0n, IOVA + SIZE), 'ok');
    assert.equal(unmap(t, ioas.id, 2n * SIZE), 'ok');
  });

  test('memory', 'two mappings are one memory, lost to devices whatever it is told', { needs: 'emulated' }, (t) => {
    const ioas = t.iommufd.allocIoas();
    const { device } = t.mockDevice();
    const hardware = t.rig.emulated?.deviceOf(device);
    assert(hardware !== undefined);
    device.attach(ioas);
    const fd = getDmaBuf(t);
    assert.equal(map(t, ioas.id, fd), 'ok');
    assert.equal(map(t, ioas.id, fd, PAGE, 2n * PAGE, IOVA + SIZE), 'ok');
    assert.deepEqual(hardware.dmaRead(IOVA, 3), new Uint8Array(3));
    hardware.dmaWrite(IOVA + 2n * PAGE + 5n, Uint8Array.of(7, 8, 9));
    assert.deepEqual(hardware.dmaRead(IOVA + SIZE + 5n, 3), Uint8Array.of(7, 8, 9));
    // Given back before it was taken: who mapped it loses it all the same.
    assert.equal(revoke(t, fd, 0), 'ok');
    refused('EFAULT', () => hardware.dmaRead(IOVA, 1));
    assert.equal(map(t, ioas.id, fd, SIZE, 0n, IOVA + 2n * SIZE), 'ok');
    assert.deepEqual(hardware.dmaRead(IOVA + 2n * SIZE + 2n * PAGE + 5n, 3), Uint8Array.of(7, 8, 9));
    refused('EFAULT', () => hardware.dmaRead(IOVA + SIZE, 1));
  });

  test('revoke-others', 'only these can be revoked', (t) => {
    assert.equal(revoke(t, -1, 1), 'EBADF');
    assert.equal(revoke(t, t.iommufd.fd, 1), 'EINVAL');
    assert.equal(revoke(t, t.memory().fd ?? -1, 1), 'EINVAL');
  });

  test('access', 'the CPU does not reach it', (t) => {
    const ioas = t.iommufd.allocIoas();
    assert.equal(map(t, ioas.id, getDmaBuf(t)), 'ok');
    const create = { id: ioas.id, flags: 0 };
    const { out } = tryTestCmd(portOf(t), 'IOMMU_TEST_OP_CREATE_ACCESS', test_create_access, create);
    const access = out.out_access_fd;
    assert.equal(t.rig.seam.own(access), 0);
    t.later(() => t.rig.seam.close(access));
    const uptr = t.memory().address;
    for (const flags of [0, 1]) {
      const input = { id: access, iova: IOVA, length: 8n, uptr, flags };
      const { result } = tryTestCmd(portOf(t), 'IOMMU_TEST_OP_ACCESS_RW', test_access_rw, input);
      assert.equal(codeOf(result), 'EINVAL');
    }
  });

  test('copied', 'a mapping of it can be copied, but not taken to another process', (t) => {
    const [a, b] = [t.iommufd.allocIoas(), t.iommufd.allocIoas()];
    assert.equal(map(t, a.id, getDmaBuf(t)), 'ok');
    const ids = { dst_ioas_id: b.id, src_ioas_id: a.id };
    const copy = { ...ids, flags: RW | FIXED, length: PAGE, dst_iova: IOVA, src_iova: IOVA + PAGE };
    assert.equal(t.ioctl(IOMMU_IOAS_COPY, copy).code, 'ok');
    assert.equal(unmap(t, a.id), 'ok');
    assert.equal(t.ioctl(IOMMU_IOAS_CHANGE_PROCESS, {}).code, 'EINVAL');
    assert.equal(unmap(t, b.id, PAGE), 'ok');
  });

  test('cut', "VFIO's first model cannot cut it", (t) => {
    const ioas = compatIoas(t);
    const { VFIO_TYPE1_IOMMU } = vfio_extension.values;
    assert.equal(t.rig.seam.ioctlValue(t.iommufd.fd, VFIO_SET_IOMMU.request, VFIO_TYPE1_IOMMU), 0);
    assert.equal(map(t, ioas.id, getDmaBuf(t)), 'ok');
    assert.equal(t.ioctl(VFIO_IOMMU_UNMAP_DMA, { iova: IOVA, size: PAGE }).code, 'EOPNOTSUPP');
    assert.equal(t.ioctl(VFIO_IOMMU_UNMAP_DMA, { iova: IOVA, size: SIZE }).code, 'ok');
  });
});
