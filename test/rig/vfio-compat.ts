// What cases about VFIO's old calls on /dev/iommu share.
import assert from 'node:assert/strict';
import type { Ioas } from '../../lib/index.js';
import { IOMMU_VFIO_IOAS, iommufd_vfio_ioas_op } from '../../lib/uapi/index.js';
import type { Bench } from './suite.js';

/** The IOAS that these calls work on. */
export function compatIoas(t: Bench): Ioas {
  const ioas = t.iommufd.allocIoas();
  const { IOMMU_VFIO_IOAS_SET: op } = iommufd_vfio_ioas_op.values;
  assert.equal(t.ioctl(IOMMU_VFIO_IOAS, { op, ioas_id: ioas.id }).code, 'ok');
  return ioas;
}
