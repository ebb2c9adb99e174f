// The driver of an SMMUv3: struct arm_smmu_device and arm_smmu_ops (arm-smmu-v3.c, arm-smmu-v3-iommufd.c).
import { ERRNO } from '../../../../uapi/errno.js';
import { iommu_hw_info_type, iommu_viommu_type, iommufd_hwpt_alloc_flags } from '../../../../uapi/iommufd-constants.js';
import { iommu_hw_info_arm_smmuv3 } from '../../../../uapi/iommufd-driver-data.js';
import type { Domain, Iommu, IommuDevice, PageRequest, PagingDomain, ViommuDriver } from '../../../kernel/driver.js';
import type { Kernel } from '../../../kernel/kernel.js';
import { RESPONSE } from '../../../kernel/page-requests.js';
import type { UserStruct } from '../../../kernel/user-data.js';
import type { Viommu } from '../../../kernel/viommu.js';
import { Smmu } from '../smmu.js';
import { type Smmuv3Device, smmuDeviceOf } from './device.js';
import { handleEvent } from './events.js';
import { type Features, type Firmware, featuresOf } from './features.js';
import type { SmmuImpl } from './impl.js';
import { Smmuv3PagingDomain } from './paging-domain.js';
import { UserCommands } from './user-commands.js';
import { Smmuv3Viommu } from './viommu.js';
import { Vmids } from './vmids.js';

const {
  IOMMU_HW_INFO_TYPE_NONE: INFO_NONE,
  IOMMU_HW_INFO_TYPE_DEFAULT: INFO_DEFAULT,
  IOMMU_HW_INFO_TYPE_ARM_SMMUV3: INFO,
} = iommu_hw_info_type.values;
/** The Linux whose driver nests, and tells of itself. */
const NESTING_SINCE = '6.13';
const { IOMMU_VIOMMU_TYPE_ARM_SMMUV3: VIOMMU } = iommu_viommu_type.values;
const {
  IOMMU_HWPT_ALLOC_NEST_PARENT: NEST_PARENT,
  IOMMU_HWPT_ALLOC_DIRTY_TRACKING: DIRTY_TRACKING,
  IOMMU_HWPT_ALLOC_PASID: PASID,
} = iommufd_hwpt_alloc_flags.values;
const NO_VMID = 0;

export interface Smmuv3IommuOptions {
  readonly name: string;
  readonly blocked: Domain;
  readonly firmware: Firmware;
  readonly impl: SmmuImpl | undefined;
}

export class Smmuv3Iommu implements Iommu {
  readonly name: string;
  readonly blocked: Domain;
  /** A guest's stream table entry has its table of PASIDs too. */
  readonly userPasidTable = true;
  readonly smmu: Smmu;
  readonly features: Features;
  readonly userCommands: UserCommands;
  readonly vmids: Vmids;
  /** By StreamID. */
  readonly devices = new Map<number, Smmuv3Device>();
  readonly #impl: SmmuImpl | undefined;

  constructor(
    readonly kernel: Kernel,
    { name, blocked, firmware, impl }: Smmuv3IommuOptions,
  ) {
    this.name = name;
    this.blocked = blocked;
    this.smmu = new Smmu(kernel.physical);
    this.smmu.onEvent = (record) => handleEvent(this.devices, record);
    const features = featuresOf(this.smmu.identification, firmware);
    // Whatever the hardware can: drivers before that nest nothing.
    this.features = { ...features, nesting: features.nesting && kernel.has(NESTING_SINCE) };
    this.userCommands = new UserCommands(this.features);
    this.vmids = new Vmids(this.features.vmidBits);
    this.#impl = impl;
  }

  hwInfo(_device: IommuDevice, type: number): { readonly type: number; readonly data: Uint8Array } | number {
    if (!this.kernel.has(NESTING_SINCE)) return { type: INFO_NONE, data: new Uint8Array(0) };
    if (type !== INFO_DEFAULT && type !== INFO) return this.#impl?.hwInfo?.(type) ?? -ERRNO.EOPNOTSUPP;
    if (!this.kernel.allocates()) return -ERRNO.ENOMEM;
    const data = new Uint8Array(iommu_hw_info_arm_smmuv3.size);
    const { idr, iidr, aidr } = this.smmu.identification;
    iommu_hw_info_arm_smmuv3.encode(new DataView(data.buffer), 0, { idr: [...idr], iidr, aidr });
    return { type: INFO, data };
  }

  allocPaging(_device: IommuDevice, flags: number, data: UserStruct | undefined): PagingDomain | number {
    if ((flags & ~(NEST_PARENT | DIRTY_TRACKING | PASID)) !== 0 || data !== undefined) return -ERRNO.EOPNOTSUPP;
    // The domain, and the list of what to invalidate for it.
    if (!this.#allocatesBoth()) return -ERRNO.ENOMEM;
    const stage = this.#stageFor(flags);
    if (stage === undefined) return -ERRNO.EOPNOTSUPP;
    // The table's description and its first page; then the number of its address space.
    if (!this.#allocatesBoth() || !this.kernel.allocates()) return -ERRNO.ENOMEM;
    const vmid = stage === 2 ? this.vmids.take() : NO_VMID;
    if (vmid < 0) return vmid;
    return new Smmuv3PagingDomain(this, { stage, vmid, tracksDirty: (flags & DIRTY_TRACKING) !== 0 });
  }
  #allocatesBoth(): boolean {
    return this.kernel.allocates() && this.kernel.allocates();
  }
  /** Which stage has what is asked for; undefined where none has. */
  #stageFor(flags: number): 1 | 2 | undefined {
    const { stage1, nesting } = this.features;
    switch (flags) {
      case 0:
        return stage1 ? 1 : 2;
      case NEST_PARENT:
        return nesting ? 2 : undefined;
      case DIRTY_TRACKING:
      case DIRTY_TRACKING | PASID:
      case PASID:
        return stage1 ? 1 : undefined;
      default:
        return undefined;
    }
  }

  /** Guests cannot make accesses less coherent than the kernel believes: firmware says so of every device. */
  hasViommu(_device: IommuDevice, type: number): boolean {
    return this.features.nesting && (type === VIOMMU || type === this.#impl?.viommuType);
  }
  initViommu(viommu: Viommu, parent: PagingDomain, data: UserStruct | undefined): ViommuDriver | number {
    if (!(parent instanceof Smmuv3PagingDomain) || parent.iommu !== this) return -ERRNO.EINVAL;
    const base = new Smmuv3Viommu(viommu, parent, this);
    return viommu.type === VIOMMU ? base : (this.#impl?.initViommu?.(base, data) ?? -ERRNO.EOPNOTSUPP);
  }

  /** Ends a stall. */
  pageResponse(device: IommuDevice, fault: PageRequest, code: number): void {
    this.smmu.resume(smmuDeviceOf(device).streamId, fault.group, code === RESPONSE.success);
  }
}
