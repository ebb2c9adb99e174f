// What cases about VFIO's old calls on /dev/iommu share.
import assert from 'node:assert/strict';
import type { Ioas } from '../../lib/index.js';
import {
  errnoName,
  IOMMU_VFIO_IOAS,
  type Ioctl,
  iommufd_vfio_ioas_op,
  VFIO_IOMMU_MAP_DMA,
  VFIO_IOMMU_UNMAP_DMA,
  vfio_dma_map_flags,
} from '../../lib/uapi/index.js';
import { IOVA } from './address-space.js';
import { type Bench, PAGE } from './suite.js';

const { VFIO_DMA_MAP_FLAG_READ: READ, VFIO_DMA_MAP_FLAG_WRITE: WRITE } = vfio_dma_map_flags.values;

/** The IOAS that these calls work on. */
export function compatIoas(t: Bench): Ioas {
  const ioas = t.iommufd.allocIoas();
  const { IOMMU_VFIO_IOAS_SET: op } = iommufd_vfio_ioas_op.values;
  assert.equal(t.ioctl(IOMMU_VFIO_IOAS, { op, ioas_id: ioas.id }).code, 'ok');
  return ioas;
}

/** A call whose argument is a number: what it answers, or the errno's name. */
export function askNumber(t: Bench, { request }: Ioctl, value: number): number | string {
  const result = t.rig.seam.ioctlValue(t.iommufd.fd, request, value);
  return result < 0 ? errnoName(result) : result;
}

interface Mapping {
  readonly vaddr: bigint;
  readonly iova?: bigint;
  /** Bytes; 16 pages if left out. */
  readonly size?: bigint;
  readonly flags?: number;
}
export function mapDma(t: Bench, { vaddr, iova = IOVA, size = 16n * PAGE, flags = READ | WRITE }: Mapping): string {
  return t.ioctl(VFIO_IOMMU_MAP_DMA, { vaddr, iova, size, flags }).code;
}
/** What it answers, and how many bytes it says were unmapped. */
export function unmapDma(t: Bench, iova: bigint, size: bigint, flags = 0): readonly [string, bigint] {
  const { code, out } = t.ioctl(VFIO_IOMMU_UNMAP_DMA, { iova, size, flags });
  return [code, out.size];
}
