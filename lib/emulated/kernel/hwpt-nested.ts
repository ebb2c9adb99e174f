// A page table of the guest's, on top of one that follows an IOAS: struct iommufd_hwpt_nested (iommufd/hw_pagetable.c).
import { ERRNO } from '../../uapi/errno.js';
import { iommufd_hwpt_alloc_flags } from '../../uapi/iommufd-constants.js';
import type { IommufdDevice } from './device.js';
import type { Iommu, NestedDomain } from './driver.js';
import { Hwpt } from './hwpt.js';
import type { HwptPaging } from './hwpt-paging.js';
import { sameDriver } from './iommu-group.js';
import type { IommufdContext } from './iommufd-file.js';
import type { Kernel } from './kernel.js';
import type { UserStruct } from './user-data.js';
import type { Viommu } from './viommu.js';

const { IOMMU_HWPT_FAULT_ID_VALID: FAULT_ID_VALID, IOMMU_HWPT_ALLOC_PASID: PASID } = iommufd_hwpt_alloc_flags.values;

export class HwptNested extends Hwpt {
  readonly kind = 'hwpt-nested';
  readonly paging: HwptPaging;

  constructor(
    context: IommufdContext,
    readonly parent: HwptPaging,
    /** The vIOMMU it was made from, which holds the parent; undefined if it holds the parent itself. */
    readonly viommu: Viommu | undefined,
    readonly domain: NestedDomain,
    flags: number,
  ) {
    super(context, (flags & PASID) !== 0);
    this.paging = parent;
    (viommu ?? parent).users++;
  }

  destroy(): void {
    this.freeDomain();
    (this.viommu ?? this.parent).users--;
  }
}

/** From a parent page table. As all made here, it has its id, and is to be published or aborted. */
export function allocNestedOfParent(
  parent: HwptPaging,
  device: IommufdDevice,
  flags: number,
  data: UserStruct,
): HwptNested | number {
  const { iommu } = device.dev;
  if (hasOtherFlags(parent.context.kernel, flags) || data.length === 0 || iommu.allocNested === undefined)
    return -ERRNO.EOPNOTSUPP;
  const { owner } = parent.domain;
  if (parent.autoDomain || !parent.nestParent || owner === undefined || !sameDriver(owner, iommu)) return -ERRNO.EINVAL;
  if (!parent.context.kernel.allocates()) return -ERRNO.ENOMEM;
  const domain = iommu.allocNested(device.dev, parent.domain, flags & ~FAULT_ID_VALID, data);
  return made(domain, parent, undefined, flags, iommu);
}

/** From a vIOMMU. */
export function allocNestedOfViommu(viommu: Viommu, flags: number, data: UserStruct): HwptNested | number {
  const { driver } = viommu;
  if (hasOtherFlags(viommu.context.kernel, flags) || data.length === 0 || driver.allocNested === undefined)
    return -ERRNO.EOPNOTSUPP;
  if (!viommu.context.kernel.allocates()) return -ERRNO.ENOMEM;
  return made(driver.allocNested(flags & ~FAULT_ID_VALID, data), viommu.hwpt, viommu, flags, viommu.iommu);
}

function hasOtherFlags(kernel: Kernel, flags: number): boolean {
  return (flags & ~(FAULT_ID_VALID | (kernel.has('6.15') ? PASID : 0))) !== 0;
}

function made(
  domain: NestedDomain | number,
  parent: HwptPaging,
  viommu: Viommu | undefined,
  flags: number,
  owner: Iommu,
): HwptNested | number {
  if (typeof domain === 'number') return domain;
  domain.owner = owner;
  const hwpt = new HwptNested(parent.context, parent, viommu, domain, flags);
  parent.context.objects.reserve(hwpt);
  return hwpt;
}
