// Every operation of the library for which a kernel may allocate.
import type { Operation } from './memory-operation.js';
import { FEATURE_OPERATIONS } from './memory-operations-features.js';
import { HOST_OPERATIONS } from './memory-operations-host.js';
import { IOAS_OPERATIONS } from './memory-operations-ioas.js';
import { IOMMU_OPERATIONS } from './memory-operations-iommu.js';
import { VFIO_OPERATIONS } from './memory-operations-vfio.js';

export const OPERATIONS: readonly Operation[] = [
  ...IOAS_OPERATIONS,
  ...IOMMU_OPERATIONS,
  ...HOST_OPERATIONS,
  ...VFIO_OPERATIONS,
  ...FEATURE_OPERATIONS,
];
