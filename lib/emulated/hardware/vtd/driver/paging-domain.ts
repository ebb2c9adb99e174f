// A page table that the kernel fills: a first-stage one (x86-64's format), or a second-stage one, which alone can track dirty
// pages and be nested on (intel/iommu.c; generic_pt/fmt/x86_64.h, vtdss.h).
import { ERRNO } from '../../../../uapi/errno.js';
import { iommufd_hwpt_alloc_flags } from '../../../../uapi/iommufd-constants.js';
import { type Domain, type IommuDevice, PagingDomain } from '../../../kernel/driver.js';
import type { Kernel } from '../../../kernel/kernel.js';
import type { UserStruct } from '../../../kernel/user-data.js';
import { PAGE_SIZE } from '../../../memory/backing.js';
import type { PasidEntry } from '../function.js';
import type { HostTable } from '../host-table.js';
import { ADDRESS_BITS } from '../registers.js';
import { attachPaging, attachPasid } from './attach.js';
import { vtdOf } from './device.js';
import { VtdDirtyTracker } from './dirty-tracker.js';
import { DomainCore } from './domain-core.js';
import type { VtdIommu } from './iommu.js';
import type { VtdDomain } from './iommu-domain.js';

const FLAGS = iommufd_hwpt_alloc_flags.values;
const NEST_PARENT = FLAGS.IOMMU_HWPT_ALLOC_NEST_PARENT;
const TRACK_DIRTY = FLAGS.IOMMU_HWPT_ALLOC_DIRTY_TRACKING;
const PASID = FLAGS.IOMMU_HWPT_ALLOC_PASID;

const PAGE_SIZES = BigInt(PAGE_SIZE | (2 << 20) | (1 << 30));
/** Of the first stage's addresses, only those below the ones that are sign-extended are used. */
const FIRST_STAGE = { start: 0n, last: 2n ** BigInt(ADDRESS_BITS - 1) - 1n };
const SECOND_STAGE = { start: 0n, last: 2n ** BigInt(ADDRESS_BITS) - 1n };

export class VtdPagingDomain extends PagingDomain implements VtdDomain, HostTable {
  readonly pageSizes = PAGE_SIZES;
  readonly aperture: typeof FIRST_STAGE;
  readonly dirty: VtdDirtyTracker | undefined;
  readonly core: DomainCore;
  readonly isFirstStage: boolean;
  readonly nestParent: boolean;
  /**
   * Memory that cannot be written is not mapped, but refused with EINVAL: a second stage below others must not have any
   * (erratum 772415 of Sapphire Rapids, which Linux sees on every unit).
   */
  readonly needsWritable: boolean;
  readonly #kernel: Kernel;
  /** Has all units forget what they know of whole translations. */
  readonly #forget: () => void;

  constructor(kernel: Kernel, forget: () => void, stage: 'first' | 'second', flags: number) {
    super();
    this.#kernel = kernel;
    this.#forget = forget;
    this.core = new DomainCore(kernel);
    this.isFirstStage = stage === 'first';
    this.aperture = this.isFirstStage ? FIRST_STAGE : SECOND_STAGE;
    this.nestParent = (flags & NEST_PARENT) !== 0;
    this.needsWritable = this.nestParent;
    this.dirty = (flags & TRACK_DIRTY) === 0 ? undefined : new VtdDirtyTracker(this, kernel.linux !== '6.12');
  }

  attach(device: IommuDevice, old: Domain): number {
    return attachPaging(vtdOf(device), this, old);
  }
  attachPasid(device: IommuDevice, pasid: number, old: Domain): number {
    return attachPasid(this.#kernel, vtdOf(device), pasid, this, old);
  }
  free(): void {}
  /** Every unit here can make accesses snoop. */
  override enforceCacheCoherency(): boolean {
    return true;
  }

  checkIommu(iommu: VtdIommu): number {
    return this.dirty !== undefined && !iommu.tracksDirty ? -ERRNO.EINVAL : 0;
  }
  pasidEntry(iommu: VtdIommu): PasidEntry {
    return { domainId: this.core.idOn(iommu), host: this, guest: undefined };
  }

  frame(page: number, write: boolean): number {
    const { translation } = this;
    if (translation === undefined) return -1;
    const frame = translation.frame(page, write);
    // An entry of the first stage that is there can be read: it has no bit against that.
    return frame >= 0 || write || !this.isFirstStage ? frame : translation.frame(page, true);
  }
  written(page: number): void {
    this.dirty?.written(page);
  }

  override unmapped(iova: bigint, length: bigint): void {
    this.dirty?.forget(iova, length);
    this.core.flushAll();
    // Wherever the driver may have lost sight of a cache, memory that goes is not reached any more.
    this.#forget();
  }
}

/**
 * Makes one (intel_iommu_domain_alloc_paging_flags): of the first stage, unless that lacks what is asked for.
 * @param forget has all units forget what they know of whole translations
 */
export function allocPagingDomain(
  kernel: Kernel,
  iommu: VtdIommu,
  flags: number,
  data: UserStruct | undefined,
  forget: () => void,
): VtdPagingDomain | number {
  if (data !== undefined) return -ERRNO.EOPNOTSUPP;
  // Linux 6.12 gives user space the second stage always.
  const isFirstStage = (flags & ~PASID) === 0 && kernel.linux !== '6.12';
  if (!isFirstStage) {
    if ((flags & ~(NEST_PARENT | TRACK_DIRTY | PASID)) !== 0) return -ERRNO.EOPNOTSUPP;
    if ((flags & TRACK_DIRTY) !== 0 && !iommu.tracksDirty) return -ERRNO.EOPNOTSUPP;
  }
  // The domain, and the root of its table.
  if (!kernel.allocates() || !kernel.allocates()) return -ERRNO.ENOMEM;
  return new VtdPagingDomain(kernel, forget, isFirstStage ? 'first' : 'second', flags);
}
