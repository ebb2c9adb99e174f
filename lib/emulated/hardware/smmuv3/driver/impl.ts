// What an implementation adds to an SMMUv3's driver: struct arm_smmu_impl_ops (arm-smmu-v3.h). NVIDIA's CMDQV is one.
import type { ViommuDriver } from '../../../kernel/driver.js';
import type { UserStruct } from '../../../kernel/user-data.js';
import type { Smmuv3Viommu } from './viommu.js';

export interface SmmuImpl {
  /** IOMMU_GET_HW_INFO of a type that is not the SMMUv3's own. */
  hwInfo?(type: number): { readonly type: number; readonly data: Uint8Array } | number;
  /** Another type of vIOMMU that can be made. */
  readonly viommuType?: number;
  /** Makes the driver's part of one: `base` has what it shares with the plain type. */
  initViommu?(base: Smmuv3Viommu, data: UserStruct | undefined): ViommuDriver | number;
}
