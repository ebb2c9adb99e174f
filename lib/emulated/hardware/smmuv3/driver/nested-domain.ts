// A guest's stream table entry, over stage 2: struct arm_smmu_nested_domain (arm-smmu-v3-iommufd.c).
import { ERRNO } from '../../../../uapi/errno.js';
import { type IommuDevice, NestedDomain } from '../../../kernel/driver.js';
import type { UserArray } from '../../../kernel/user-data.js';
import { smmuDeviceOf } from './device.js';
import type { GuestEntry } from './stream-table-entry.js';
import type { Smmuv3Viommu } from './viommu.js';

export class Smmuv3NestedDomain extends NestedDomain {
  constructor(
    readonly viommu: Smmuv3Viommu,
    readonly entry: GuestEntry,
  ) {
    super();
  }

  attach(device: IommuDevice): number {
    return smmuDeviceOf(device).master.attachNested(this);
  }
  /** PASIDs are the guest's own business. */
  attachPasid(): number {
    return -ERRNO.EOPNOTSUPP;
  }
  free(): void {}

  /** By way of the vIOMMU alone. */
  invalidate(requests: UserArray): number {
    requests.count = 0;
    return -ERRNO.EOPNOTSUPP;
  }
}
