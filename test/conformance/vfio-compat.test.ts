// The calls of VFIO's containers on /dev/iommu: VFIO_GET_API_VERSION, VFIO_CHECK_EXTENSION, VFIO_SET_IOMMU, and
// VFIO_IOMMU_MAP_DMA and VFIO_IOMMU_UNMAP_DMA. What VFIO_IOMMU_GET_INFO tells is in vfio-compat-info.test.ts, and unmapping parts
// in vfio-compat-cut.test.ts.
import assert from 'node:assert/strict';
import {
  errnoName,
  IOMMU_OPTION,
  iommufd_option,
  VFIO_CHECK_EXTENSION,
  VFIO_GET_API_VERSION,
  VFIO_IOMMU_GET_INFO,
  VFIO_IOMMU_MAP_DMA,
  VFIO_IOMMU_UNMAP_DMA,
  VFIO_SET_IOMMU,
  vfio_dma_map_flags,
  vfio_dma_unmap_flags,
  vfio_extension,
} from '../../lib/uapi/index.js';
import { IOVA, translation, U64_MAX } from '../rig/address-space.js';
import { pinnedPages } from '../rig/pinned-pages.js';
import { conformance, PAGE, refused } from '../rig/suite.js';
import { askNumber as ask, compatIoas, mapDma as map, unmapDma as unmap } from '../rig/vfio-compat.js';

const MODELS = vfio_extension.values;
const { VFIO_DMA_MAP_FLAG_READ: READ, VFIO_DMA_MAP_FLAG_WRITE: WRITE } = vfio_dma_map_flags.values;
const { VFIO_DMA_MAP_FLAG_VADDR: MAP_VADDR } = vfio_dma_map_flags.values;
const UNMAP = vfio_dma_unmap_flags.values;
const RW = READ | WRITE;
/** VFIO_IOMMU_DIRTY_PAGES, which /dev/iommu never had. */
const DIRTY_PAGES = 0x3b75;
const SIZE = 16n * PAGE;

conformance('vfio-compat', (test) => {
  test('version', 'the version is 0', (t) => {
    assert.equal(ask(t, VFIO_GET_API_VERSION, 0), 0);
  });

  test('extensions', 'which extensions there are, with and without an address space', (t) => {
    const answers = () =>
      [
        ...[MODELS.VFIO_TYPE1_IOMMU, MODELS.VFIO_TYPE1v2_IOMMU, MODELS.VFIO_UNMAP_ALL, MODELS.VFIO_NOIOMMU_IOMMU],
        ...[MODELS.VFIO_UPDATE_VADDR, 0, 2, 6, 99, 0x7fff_ffff],
      ].map((extension) => ask(t, VFIO_CHECK_EXTENSION, extension));
    const expected = [1, 1, 1, 1, 0, 0, 0, 0, 0, 0];
    assert.deepEqual(answers(), expected);
    compatIoas(t);
    assert.deepEqual(answers(), expected);
  });

  test('coherency', 'DMA is said to be coherent until a page table is not', (t) => {
    assert.equal(ask(t, VFIO_CHECK_EXTENSION, MODELS.VFIO_DMA_CC_IOMMU), 'ENODEV');
    const ioas = compatIoas(t);
    assert.equal(ask(t, VFIO_CHECK_EXTENSION, MODELS.VFIO_DMA_CC_IOMMU), 1);
    ioas.allocHwpt(t.mockDevice().device);
    assert.equal(ask(t, VFIO_CHECK_EXTENSION, MODELS.VFIO_DMA_CC_IOMMU), 0);
  });

  test('no-ioas', 'without an address space everything else is ENODEV', (t) => {
    const vaddr = t.memory().address;
    for (const model of [MODELS.VFIO_TYPE1_IOMMU, MODELS.VFIO_TYPE1v2_IOMMU]) {
      assert.equal(ask(t, VFIO_SET_IOMMU, model), 'ENODEV');
    }
    assert.equal(map(t, { vaddr }), 'ENODEV');
    assert.deepEqual(unmap(t, IOVA, SIZE), ['ENODEV', SIZE]);
    assert.equal(t.ioctl(VFIO_IOMMU_GET_INFO, {}).code, 'ENODEV');
  });

  test('models', 'other models are EINVAL', (t) => {
    for (const known of [false, true]) {
      if (known) compatIoas(t);
      for (const model of [0, 2, MODELS.VFIO_NOIOMMU_IOMMU, MODELS.VFIO_UNMAP_ALL, 99]) {
        assert.equal(ask(t, VFIO_SET_IOMMU, model), 'EINVAL');
      }
    }
  });

  test('model-pages', 'the first model turns large pages off, the second one leaves them', (t) => {
    const ioas = compatIoas(t);
    const large = () =>
      t.ioctl(IOMMU_OPTION, { option_id: iommufd_option.values.IOMMU_OPTION_HUGE_PAGES, op: 1, object_id: ioas.id }).out
        .val64;
    assert.equal(ask(t, VFIO_SET_IOMMU, MODELS.VFIO_TYPE1v2_IOMMU), 0);
    assert.equal(large(), 1n);
    assert.equal(ask(t, VFIO_SET_IOMMU, MODELS.VFIO_TYPE1_IOMMU), 0);
    assert.equal(large(), 0n);
    assert.equal(ask(t, VFIO_SET_IOMMU, MODELS.VFIO_TYPE1v2_IOMMU), 0);
    assert.equal(large(), 0n);
  });

  test('model-late', 'the first model is EINVAL once a page table has mappings', (t) => {
    const ioas = compatIoas(t);
    ioas.allocHwpt(t.mockDevice().device);
    assert.equal(map(t, { vaddr: t.memory().address }), 'ok');
    assert.equal(ask(t, VFIO_SET_IOMMU, MODELS.VFIO_TYPE1_IOMMU), 'EINVAL');
  });

  test('model-unaligned', 'and EADDRINUSE where a mapping is no whole page', (t) => {
    compatIoas(t);
    assert.equal(map(t, { vaddr: t.memory().address + 5n, size: 100n }), 'ok');
    assert.equal(ask(t, VFIO_SET_IOMMU, MODELS.VFIO_TYPE1_IOMMU), 'EADDRINUSE');
  });

  test('unknown', 'dirty pages, and numbers that are nothing, are ENOTTY', (t) => {
    compatIoas(t);
    for (const request of [DIRTY_PAGES, 0x3b63, 0x3b67, 0x3b7f]) {
      assert.equal(errnoName(t.rig.seam.ioctlValue(t.iommufd.fd, request, 0)), 'ENOTTY');
    }
  });

  test('bad-pointer', 'a struct that is not there is EFAULT, with and without an address space', (t) => {
    for (const known of [false, true]) {
      if (known) compatIoas(t);
      for (const op of [VFIO_IOMMU_MAP_DMA, VFIO_IOMMU_UNMAP_DMA, VFIO_IOMMU_GET_INFO]) {
        assert.equal(ask(t, op, 0), 'EFAULT');
      }
    }
  });

  test('map', 'maps at the IOVA that is told, for every page table', (t) => {
    const ioas = compatIoas(t);
    const ram = t.memory(SIZE);
    assert.equal(map(t, { vaddr: ram.address }), 'ok');
    const hwpt = ioas.allocHwpt(t.mockDevice().device);
    assert.equal(translation(t, hwpt, IOVA, ram, 0, Number(SIZE)), 'ok');
    assert.deepEqual(unmap(t, IOVA, SIZE), ['ok', SIZE]);
    assert.equal(translation(t, hwpt, IOVA, ram), 'EINVAL');
  });

  test('map-unmapped', 'memory that is not there is EFAULT as soon as a page table is', (t) => {
    const ioas = compatIoas(t);
    assert.equal(map(t, { vaddr: 0x1000n, iova: IOVA + SIZE, size: PAGE }), 'ok');
    assert.deepEqual(unmap(t, IOVA + SIZE, PAGE), ['ok', PAGE]);
    ioas.allocHwpt(t.mockDevice().device);
    assert.equal(map(t, { vaddr: 0x1000n, iova: IOVA + SIZE, size: PAGE }), 'EFAULT');
  });

  test('map-flags', 'a mapping needs no rights; unknown flags are EINVAL', (t) => {
    compatIoas(t);
    const vaddr = t.memory().address;
    for (const flags of [MAP_VADDR, MAP_VADDR | RW, 8, 0x8000_0000]) assert.equal(map(t, { vaddr, flags }), 'EINVAL');
    for (const flags of [0, READ, WRITE]) {
      assert.equal(map(t, { vaddr, flags }), 'ok');
      assert.deepEqual(unmap(t, IOVA, SIZE), ['ok', SIZE]);
    }
  });

  // On Linux it is a WARNING besides, which the lane takes for a defect.
  test('map-no-rights', 'page tables take no mapping without rights', { needs: 'emulated' }, (t) => {
    const ioas = compatIoas(t);
    const ram = t.memory();
    const { device } = t.mockDevice();
    assert.equal(map(t, { vaddr: ram.address, flags: 0 }), 'ok');
    refused('EINVAL', () => ioas.allocHwpt(device));
    assert.deepEqual(unmap(t, IOVA, SIZE), ['ok', SIZE]);
    ioas.allocHwpt(device);
    assert.equal(map(t, { vaddr: ram.address, flags: 0 }), 'EINVAL');
    assert.equal(map(t, { vaddr: 0x1000n, flags: 0 }), 'EFAULT');
    assert.deepEqual(pinnedPages(t, ram, 1), new Array(16).fill(0));
  });

  test('map-sizes', 'no bytes, too many, and ends beyond 64 bits', (t) => {
    compatIoas(t);
    const vaddr = t.memory().address;
    assert.equal(map(t, { vaddr, size: 0n }), 'EINVAL');
    assert.equal(map(t, { vaddr: 0n, size: U64_MAX }), 'EINVAL');
    assert.equal(map(t, { vaddr: 0n, size: U64_MAX - PAGE + 1n }), 'EINVAL');
    // Linux 6.12 looks at the size alone first.
    assert.equal(map(t, { vaddr, size: U64_MAX }), t.onLinux('6.12') ? 'EINVAL' : 'EOVERFLOW');
    assert.equal(map(t, { vaddr, iova: U64_MAX - PAGE + 2n, size: PAGE }), 'EOVERFLOW');
    assert.equal(map(t, { vaddr, iova: U64_MAX - PAGE + 1n, size: PAGE }), 'ok');
    assert.deepEqual(unmap(t, U64_MAX, 1n), ['ENOENT', 0n]);
    assert.deepEqual(unmap(t, U64_MAX - PAGE + 1n, PAGE), ['ok', PAGE]);
  });

  test('map-taken', 'IOVAs that are taken are EEXIST, and those that cannot be used EINVAL', (t) => {
    const ioas = compatIoas(t);
    const vaddr = t.memory().address;
    assert.equal(map(t, { vaddr }), 'ok');
    assert.equal(map(t, { vaddr, iova: IOVA + PAGE, size: PAGE }), 'EEXIST');
    ioas.allocHwpt(t.mockDevice().device);
    assert.equal(map(t, { vaddr, iova: IOVA - PAGE, size: PAGE }), 'EINVAL');
    assert.equal(map(t, { vaddr, iova: IOVA + SIZE + 1n, size: PAGE }), 'EINVAL');
    assert.equal(map(t, { vaddr, iova: IOVA + SIZE, size: PAGE + 1n }), 'EINVAL');
  });

  test('struct-sizes', 'structs that are too short are EINVAL, longer ones are not looked at', (t) => {
    compatIoas(t);
    const { address: vaddr } = t.memory();
    const mapping = { vaddr, iova: IOVA, size: SIZE, flags: RW };
    const range = { iova: IOVA, size: SIZE };
    const tail = new Uint8Array(8).fill(0xff);
    for (const size of [0, 31]) {
      assert.equal(t.ioctlSized(VFIO_IOMMU_MAP_DMA, mapping, { size }).code, 'EINVAL');
      assert.equal(t.ioctlSized(VFIO_IOMMU_UNMAP_DMA, range, { size: Math.min(size, 23) }).code, 'EINVAL');
    }
    assert.equal(t.ioctlSized(VFIO_IOMMU_MAP_DMA, mapping, { size: 40, tail }).code, 'ok');
    assert.equal(t.ioctlSized(VFIO_IOMMU_UNMAP_DMA, range, { size: 32, tail }).code, 'ok');
  });

  test('unmap', 'ranges that hold nothing are fine, and those that cut a mapping ENOENT', (t) => {
    compatIoas(t);
    const vaddr = t.memory().address;
    assert.deepEqual(unmap(t, IOVA, SIZE), ['ok', 0n]);
    for (const iova of [IOVA, IOVA + SIZE]) assert.equal(map(t, { vaddr, iova }), 'ok');
    assert.deepEqual(unmap(t, IOVA + PAGE, PAGE), ['ENOENT', 0n]);
    // The first mapping is gone by then, and told of.
    assert.deepEqual(unmap(t, IOVA - PAGE, SIZE + 2n * PAGE), ['ENOENT', SIZE]);
    assert.deepEqual(unmap(t, 0n, U64_MAX), ['ok', SIZE]);
  });

  test('unmap-sizes', 'no bytes are EINVAL, ends beyond 64 bits EOVERFLOW, and nothing was unmapped', (t) => {
    compatIoas(t);
    assert.equal(map(t, { vaddr: t.memory().address }), 'ok');
    assert.deepEqual(unmap(t, IOVA, 0n), ['EINVAL', 0n]);
    assert.deepEqual(unmap(t, IOVA, U64_MAX), ['EOVERFLOW', 0n]);
    assert.deepEqual(unmap(t, U64_MAX, 2n), ['EOVERFLOW', 0n]);
    assert.deepEqual(unmap(t, IOVA, SIZE), ['ok', SIZE]);
  });

  test('unmap-all', 'everything at once, which names no range', (t) => {
    compatIoas(t);
    const vaddr = t.memory().address;
    assert.deepEqual(unmap(t, 0n, 0n, UNMAP.VFIO_DMA_UNMAP_FLAG_ALL), ['ok', 0n]);
    for (const iova of [IOVA, IOVA + 2n * SIZE]) assert.equal(map(t, { vaddr, iova }), 'ok');
    assert.deepEqual(unmap(t, IOVA, 0n, UNMAP.VFIO_DMA_UNMAP_FLAG_ALL), ['EINVAL', 0n]);
    assert.deepEqual(unmap(t, 0n, SIZE, UNMAP.VFIO_DMA_UNMAP_FLAG_ALL), ['EINVAL', SIZE]);
    assert.deepEqual(unmap(t, 0n, 0n, UNMAP.VFIO_DMA_UNMAP_FLAG_ALL), ['ok', 2n * SIZE]);
  });

  test('unmap-flags', 'other flags are EINVAL', (t) => {
    compatIoas(t);
    for (const flags of [UNMAP.VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP, UNMAP.VFIO_DMA_UNMAP_FLAG_VADDR, 8]) {
      assert.deepEqual(unmap(t, IOVA, SIZE, flags), ['EINVAL', SIZE]);
    }
  });
});
