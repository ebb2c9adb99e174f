// Linux's driver of a VT-d unit in scalable mode (intel_iommu_ops of intel/iommu.c).
import { ERRNO } from '../../../../uapi/errno.js';
import { iommu_hw_info_type, iommu_hw_info_vtd_flags } from '../../../../uapi/iommufd-constants.js';
import { iommu_hw_info_vtd } from '../../../../uapi/iommufd-driver-data.js';
import type { Domain, Iommu, IommuDevice, NestedDomain, PageRequest, PagingDomain } from '../../../kernel/driver.js';
import type { Kernel } from '../../../kernel/kernel.js';
import type { UserStruct } from '../../../kernel/user-data.js';
import { CAPABILITIES, extendedCapabilities } from '../registers.js';
import { VtdUnit } from '../unit.js';
import { vtdOf } from './device.js';
import { DomainIds } from './domain-ids.js';
import { allocNestedDomain } from './nested-domain.js';
import { allocPagingDomain } from './paging-domain.js';

const { IOMMU_HW_INFO_TYPE_DEFAULT: DEFAULT, IOMMU_HW_INFO_TYPE_INTEL_VTD: TYPE } = iommu_hw_info_type.values;
const { IOMMU_HW_INFO_VTD_ERRATA_772415_SPR17: ERRATUM } = iommu_hw_info_vtd_flags.values;

export interface VtdIommuOptions {
  readonly name: string;
  readonly blocked: Domain;
  /** Its second stage can track dirty pages. */
  readonly tracksDirty: boolean;
  /** Has all units forget what they know of whole translations. */
  readonly forget: () => void;
}

export class VtdIommu implements Iommu {
  readonly name: string;
  readonly blocked: Domain;
  readonly userPasidTable = false;
  readonly tracksDirty: boolean;
  readonly unit: VtdUnit;
  readonly domainIds = new DomainIds();
  readonly #kernel: Kernel;
  readonly #forget: () => void;

  constructor(kernel: Kernel, { name, blocked, tracksDirty, forget }: VtdIommuOptions) {
    this.#kernel = kernel;
    this.#forget = forget;
    this.name = name;
    this.blocked = blocked;
    this.tracksDirty = tracksDirty;
    this.unit = new VtdUnit(kernel.physical);
  }

  hwInfo(_device: IommuDevice, type: number): { type: number; data: Uint8Array } | number {
    if (type !== DEFAULT && type !== TYPE) return -ERRNO.EOPNOTSUPP;
    if (!this.#kernel.allocates()) return -ERRNO.ENOMEM;
    const data = new Uint8Array(iommu_hw_info_vtd.size);
    iommu_hw_info_vtd.encode(new DataView(data.buffer), 0, {
      // Of all units, since the driver does not tell the affected ones.
      flags: ERRATUM,
      cap_reg: CAPABILITIES,
      ecap_reg: extendedCapabilities(this.tracksDirty),
    });
    return { type: TYPE, data };
  }

  allocPaging(_device: IommuDevice, flags: number, data: UserStruct | undefined): PagingDomain | number {
    return allocPagingDomain(this.#kernel, this, flags, data, this.#forget);
  }
  allocNested(_device: IommuDevice, parent: PagingDomain, flags: number, data: UserStruct): NestedDomain | number {
    return allocNestedDomain(this.#kernel, parent, flags, data);
  }

  /** A guest's page tables go straight on a parent: there is no vIOMMU of a VT-d unit. */
  hasViommu(): boolean {
    return false;
  }
  initViommu(): number {
    return -ERRNO.EOPNOTSUPP;
  }

  pageResponse(device: IommuDevice, fault: PageRequest, code: number): void {
    vtdOf(device).answered(fault, code);
  }
}
