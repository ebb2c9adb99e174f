// VFIO's first model on /dev/iommu: ranges that are unmapped may begin and end within mappings.
import assert from 'node:assert/strict';
import type { Ioas } from '../../lib/index.js';
import {
  IOMMU_IOAS_COPY,
  IOMMU_IOAS_UNMAP,
  VFIO_SET_IOMMU,
  vfio_dma_unmap_flags,
  vfio_extension,
} from '../../lib/uapi/index.js';
import { FIXED, IOVA, READABLE, translation, WRITEABLE } from '../rig/address-space.js';
import { pinnedPages } from '../rig/pinned-pages.js';
import { type Bench, conformance, PAGE } from '../rig/suite.js';
import { askNumber, compatIoas, mapDma as map, unmapDma as unmap } from '../rig/vfio-compat.js';

const { VFIO_DMA_UNMAP_FLAG_ALL: ALL } = vfio_dma_unmap_flags.values;
const SIZE = 16n * PAGE;

/** An IOAS for these calls that cuts mappings, as the first model does. */
function cuttingIoas(t: Bench): Ioas {
  const ioas = compatIoas(t);
  assert.equal(askNumber(t, VFIO_SET_IOMMU, vfio_extension.values.VFIO_TYPE1_IOMMU), 0);
  return ioas;
}

conformance('vfio-compat-cut', (test) => {
  test('middle', 'with the first model a range may begin and end within mappings', (t) => {
    const ioas = cuttingIoas(t);
    const hwpt = ioas.allocHwpt(t.mockDevice().device);
    const ram = t.memory(SIZE);
    assert.equal(map(t, { vaddr: ram.address }), 'ok');
    assert.deepEqual(unmap(t, IOVA + 4n * PAGE, 2n * PAGE), ['ok', 2n * PAGE]);
    const there = [0, 1, 2, 3, 4, 5, 6, 15].map((i) => translation(t, hwpt, IOVA + BigInt(i) * PAGE, ram, i * 4096));
    assert.deepEqual(there, ['ok', 'ok', 'ok', 'ok', 'EINVAL', 'EINVAL', 'ok', 'ok']);
    assert.deepEqual(pinnedPages(t, ram, 2), [1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
    assert.deepEqual(unmap(t, IOVA + PAGE, 4n * PAGE), ['ok', 3n * PAGE]);
    assert.deepEqual(unmap(t, 0n, 0n, ALL), ['ok', 11n * PAGE]);
    assert.deepEqual(pinnedPages(t, ram, 2), new Array(16).fill(0));
  });

  test('before', 'a mapping that was cut is filled into page tables that come later', (t) => {
    const ioas = cuttingIoas(t);
    const ram = t.memory(SIZE);
    assert.equal(map(t, { vaddr: ram.address }), 'ok');
    assert.deepEqual(unmap(t, IOVA + PAGE, PAGE), ['ok', PAGE]);
    const hwpt = ioas.allocHwpt(t.mockDevice().device);
    assert.equal(translation(t, hwpt, IOVA, ram), 'ok');
    assert.equal(translation(t, hwpt, IOVA + 2n * PAGE, ram, 8192, 14 * 4096), 'ok');
    assert.equal(translation(t, hwpt, IOVA + PAGE, ram, 4096), 'EINVAL');
  });

  test('then-map', 'what is mapped afterwards is nothing to what is left of a mapping', (t) => {
    const ioas = cuttingIoas(t);
    const hwpt = ioas.allocHwpt(t.mockDevice().device);
    const [ram, more] = [t.memory(SIZE), t.memory(SIZE)];
    assert.equal(map(t, { vaddr: ram.address }), 'ok');
    assert.deepEqual(unmap(t, IOVA, 3n * PAGE), ['ok', 3n * PAGE]);
    assert.equal(map(t, { vaddr: more.address, iova: IOVA + SIZE }), 'ok');
    assert.equal(translation(t, hwpt, IOVA + 3n * PAGE, ram, 3 * 4096, 13 * 4096), 'ok');
    assert.deepEqual(unmap(t, IOVA + 3n * PAGE, 13n * PAGE), ['ok', 13n * PAGE]);
    assert.equal(map(t, { vaddr: ram.address }), 'ok');
    assert.equal(translation(t, hwpt, IOVA + SIZE, more, 0, Number(SIZE)), 'ok');
    assert.deepEqual(unmap(t, IOVA, 2n * SIZE), ['ok', 2n * SIZE]);
    assert.deepEqual([...pinnedPages(t, ram, 2), ...pinnedPages(t, more, 2)], new Array(32).fill(0));
  });

  test('unaligned', 'but only between pages', (t) => {
    cuttingIoas(t);
    assert.equal(map(t, { vaddr: t.memory(SIZE).address }), 'ok');
    assert.deepEqual(unmap(t, IOVA, PAGE + 1n), ['EINVAL', PAGE + 1n]);
    assert.deepEqual(unmap(t, IOVA + PAGE + 2n, PAGE), ['EINVAL', PAGE]);
    // A range that ends with a mapping's first byte cuts nothing.
    assert.deepEqual(unmap(t, IOVA, 1n), ['ENOENT', 0n]);
    assert.deepEqual(unmap(t, IOVA, SIZE), ['ok', SIZE]);
  });

  test('copied', 'a copy stays whole', (t) => {
    const ioas = cuttingIoas(t);
    const other = t.iommufd.allocIoas();
    const ram = t.memory(SIZE);
    ioas.allocHwpt(t.mockDevice().device);
    const hwpt = other.allocHwpt(t.mockDevice().device);
    assert.equal(map(t, { vaddr: ram.address }), 'ok');
    const ids = { dst_ioas_id: other.id, src_ioas_id: ioas.id };
    const copy = { ...ids, flags: FIXED | READABLE | WRITEABLE, length: SIZE, dst_iova: IOVA, src_iova: IOVA };
    assert.equal(t.ioctl(IOMMU_IOAS_COPY, copy).code, 'ok');
    assert.deepEqual(unmap(t, IOVA, 3n * PAGE), ['ok', 3n * PAGE]);
    assert.equal(translation(t, hwpt, IOVA, ram, 0, Number(SIZE)), 'ok');
    assert.deepEqual(unmap(t, 0n, 0n, ALL), ['ok', SIZE - 3n * PAGE]);
    assert.equal(t.ioctl(IOMMU_IOAS_UNMAP, { ioas_id: other.id, iova: IOVA, length: SIZE }).code, 'ok');
    assert.deepEqual(pinnedPages(t, ram, 2), new Array(16).fill(0));
  });
});
