// A page table that follows an IOAS: struct iommufd_hwpt_paging (iommufd/hw_pagetable.c).
import { ERRNO } from '../../uapi/errno.js';
import { iommufd_hwpt_alloc_flags } from '../../uapi/iommufd-constants.js';
import { attachHwpt, detachHwpt } from './attach.js';
import type { IommufdDevice } from './device.js';
import type { PagingDomain } from './driver.js';
import { Hwpt } from './hwpt.js';
import type { Ioas } from './ioas.js';
import type { IommufdContext } from './iommufd-file.js';
import type { Kernel } from './kernel.js';
import type { UserStruct } from './user-data.js';

const FLAGS = iommufd_hwpt_alloc_flags.values;
const NEST_PARENT = FLAGS.IOMMU_HWPT_ALLOC_NEST_PARENT;
const DIRTY_TRACKING = FLAGS.IOMMU_HWPT_ALLOC_DIRTY_TRACKING;
const FAULT_ID_VALID = FLAGS.IOMMU_HWPT_FAULT_ID_VALID;
const PASID = FLAGS.IOMMU_HWPT_ALLOC_PASID;

/** Before Linux 6.13 only nested page tables have fault queues, before 6.15 none has PASIDs. */
function knownFlags(kernel: Kernel): number {
  return NEST_PARENT | DIRTY_TRACKING | (kernel.has('6.13') ? FAULT_ID_VALID : 0) | (kernel.has('6.15') ? PASID : 0);
}

export class HwptPaging extends Hwpt {
  readonly kind = 'hwpt-paging';
  readonly paging = this;
  readonly nestParent: boolean;
  /** Made by the kernel for a device that was attached to an IOAS: goes when the last device does. */
  autoDomain = false;
  /** It makes its devices' accesses coherent, whatever they ask for. */
  enforcesCoherency = false;

  constructor(
    context: IommufdContext,
    readonly ioas: Ioas,
    readonly domain: PagingDomain,
    flags: number,
  ) {
    super(context, (flags & PASID) !== 0);
    this.nestParent = (flags & NEST_PARENT) !== 0;
    ioas.users++;
  }

  override put(): void {
    this.users--;
    if (this.autoDomain) this.context.objects.remove(this);
  }

  destroy(): void {
    const { hwpts, iopt } = this.ioas;
    const index = hwpts.indexOf(this);
    // A half-made one is not filled yet.
    if (index >= 0) {
      hwpts.splice(index, 1);
      iopt.removeDomain(this.domain);
    }
    this.freeDomain();
    this.ioas.users--;
  }
}

/** What is asked of a new page table. */
export interface PagingRequest {
  readonly flags: number;
  readonly data: UserStruct | undefined;
  /** Attaches the device (this PASID of it) before the page table is filled. */
  readonly attachPasid: number | undefined;
}

/** Makes and fills a page table that a device can use; it has its id, and is to be published or aborted. */
export function allocHwptPaging(ioas: Ioas, device: IommufdDevice, request: PagingRequest): HwptPaging | number {
  const { context, dev } = device;
  const { flags, data } = request;
  if ((flags & ~knownFlags(context.kernel)) !== 0) return -ERRNO.EOPNOTSUPP;
  if ((flags & DIRTY_TRACKING) !== 0 && !dev.capable('dirty-tracking')) return -ERRNO.EOPNOTSUPP;
  if ((flags & FAULT_ID_VALID) !== 0 && (flags & NEST_PARENT) !== 0) return -ERRNO.EOPNOTSUPP;
  if (!context.kernel.allocates()) return -ERRNO.ENOMEM;
  const domain = dev.iommu.allocPaging(dev, flags & ~FAULT_ID_VALID, data);
  if (typeof domain === 'number') return domain;
  domain.owner = dev.iommu;
  const hwpt = new HwptPaging(context, ioas, domain, flags);
  context.objects.reserve(hwpt);
  const rc = fill(hwpt, device, request.attachPasid);
  if (rc === 0) return hwpt;
  abortHwpt(hwpt);
  return rc;
}

/** Undoes `allocHwptPaging`. */
export function abortHwpt(hwpt: HwptPaging): void {
  hwpt.destroy();
  hwpt.context.objects.abort(hwpt);
}

function fill(hwpt: HwptPaging, device: IommufdDevice, attachPasid: number | undefined): number {
  // Whether accesses are coherent is decided before anything is mapped, and for good.
  if (device.enforceCacheCoherency) {
    hwpt.enforcesCoherency = hwpt.domain.enforceCacheCoherency();
    if (!hwpt.enforcesCoherency) return -ERRNO.EINVAL;
  }
  if (attachPasid !== undefined) {
    const rc = attachHwpt(hwpt, device, attachPasid);
    if (rc < 0) return rc;
  }
  const { ioas } = hwpt;
  const rc = ioas.iopt.addDomain(hwpt.domain);
  if (rc === 0) ioas.hwpts.push(hwpt);
  else if (attachPasid !== undefined) detachHwpt(device, attachPasid);
  return rc;
}
