// A guest's first-stage page table (intel/nested.c). What its driver data says is looked at when a device is attached, and
// not before.
import { ERRNO } from '../../../../uapi/errno.js';
import {
  iommu_hwpt_data_type,
  iommu_hwpt_invalidate_data_type,
  iommu_hwpt_vtd_s1_flags,
  iommu_hwpt_vtd_s1_invalidate_flags,
  iommufd_hwpt_alloc_flags,
} from '../../../../uapi/iommufd-constants.js';
import { iommu_hwpt_vtd_s1, iommu_hwpt_vtd_s1_invalidate } from '../../../../uapi/iommufd-driver-data.js';
import { type Domain, type IommuDevice, NestedDomain, type PagingDomain } from '../../../kernel/driver.js';
import type { Kernel } from '../../../kernel/kernel.js';
import type { UserArray, UserStruct } from '../../../kernel/user-data.js';
import { PAGE_SIZE } from '../../../memory/backing.js';
import type { PasidEntry } from '../function.js';
import type { GuestTable } from '../host-table.js';
import { attachNested, attachPasid } from './attach.js';
import { vtdOf } from './device.js';
import { ALL_PAGES, DomainCore } from './domain-core.js';
import type { VtdIommu } from './iommu.js';
import type { VtdDomain } from './iommu-domain.js';
import { VtdPagingDomain } from './paging-domain.js';

const { IOMMU_HWPT_ALLOC_PASID: PASID } = iommufd_hwpt_alloc_flags.values;
const { IOMMU_HWPT_DATA_VTD_S1: DATA_TYPE } = iommu_hwpt_data_type.values;
const { IOMMU_HWPT_INVALIDATE_DATA_VTD_S1: INVALIDATE_TYPE } = iommu_hwpt_invalidate_data_type.values;
const { IOMMU_VTD_S1_EAFE: EXTENDED_ACCESSED } = iommu_hwpt_vtd_s1_flags.values;
const { IOMMU_VTD_INV_FLAGS_LEAF: LEAF } = iommu_hwpt_vtd_s1_invalidate_flags.values;
const DATA = iommu_hwpt_vtd_s1;
const INVALIDATE = iommu_hwpt_vtd_s1_invalidate;
/** How many levels tables have, by the width of their addresses. */
const LEVELS: { readonly [bits: number]: 4 | 5 } = { 48: 4, 57: 5 };
const PAGES = 2 ** ALL_PAGES;

export class VtdNestedDomain extends NestedDomain implements VtdDomain {
  readonly core: DomainCore;
  readonly #kernel: Kernel;
  readonly #guest: GuestTable | undefined;

  /** `guest`: undefined where no unit could walk it. */
  constructor(
    kernel: Kernel,
    readonly parent: VtdPagingDomain,
    guest: GuestTable | undefined,
  ) {
    super();
    this.#kernel = kernel;
    this.#guest = guest;
    this.core = new DomainCore(kernel, parent.core);
  }

  attach(device: IommuDevice): number {
    return attachNested(vtdOf(device), this);
  }
  attachPasid(device: IommuDevice, pasid: number, old: Domain): number {
    return attachPasid(this.#kernel, vtdOf(device), pasid, this, old);
  }
  free(): void {}

  checkIommu(iommu: VtdIommu): number {
    return this.parent.checkIommu(iommu);
  }
  pasidEntry(iommu: VtdIommu): PasidEntry | number {
    const guest = this.#guest;
    return guest === undefined ? -ERRNO.EINVAL : { domainId: this.core.idOn(iommu), host: this.parent, guest };
  }

  invalidate(requests: UserArray): number {
    const entry = new DataView(new ArrayBuffer(INVALIDATE.size));
    const bytes = new Uint8Array(entry.buffer);
    let done = 0;
    let refusal = requests.type === INVALIDATE_TYPE ? 0 : -ERRNO.EINVAL;
    while (refusal === 0 && done < requests.count) {
      refusal = requests.entry(done, INVALIDATE_TYPE, INVALIDATE.end('__reserved'), bytes);
      if (refusal === 0) refusal = this.#invalidate(entry);
      if (refusal === 0) done++;
    }
    requests.count = done;
    return refusal;
  }
  #invalidate(entry: DataView): number {
    const { at } = INVALIDATE;
    if ((entry.getUint32(at.flags, true) & ~LEAF) !== 0 || entry.getUint32(at.__reserved, true) !== 0) {
      return -ERRNO.EOPNOTSUPP;
    }
    const low = entry.getUint32(at.addr, true);
    const page = pageNumber(low, entry.getUint32(at.addr + 4, true));
    const countLow = entry.getUint32(at.npages, true);
    const countHigh = entry.getUint32(at.npages + 4, true);
    const isAll = countLow === 0xffff_ffff && countHigh === 0xffff_ffff;
    if (low % PAGE_SIZE !== 0 || (isAll && page !== 0)) return -ERRNO.EINVAL;
    this.#forget(page, (countHigh & 0xf_ffff) * 2 ** 32 + countLow);
    return 0;
  }
  /** Forgets `count` pages, modulo 2^52 as in the kernel's sum: hardware is told the aligned range around them. */
  #forget(page: number, count: number): void {
    const last = (page + count - 1 + PAGES) % PAGES;
    const order = bitLength(page, last);
    this.core.flush(page - (page % 2 ** order), order);
  }
}

function pageNumber(low: number, high: number): number {
  return high * 2 ** 20 + (low >>> 12);
}
/** How many low bits two page numbers differ in at most. */
function bitLength(one: number, other: number): number {
  const high = Math.floor(one / 2 ** 32) ^ Math.floor(other / 2 ** 32);
  return high === 0 ? 32 - Math.clz32(one ^ other) : 64 - Math.clz32(high);
}

/** Makes one (intel_iommu_domain_alloc_nested). */
export function allocNestedDomain(
  kernel: Kernel,
  parent: PagingDomain,
  flags: number,
  data: UserStruct,
): VtdNestedDomain | number {
  if ((flags & ~PASID) !== 0 || data.type !== DATA_TYPE) return -ERRNO.EOPNOTSUPP;
  if (!(parent instanceof VtdPagingDomain) || !parent.nestParent) return -ERRNO.EINVAL;
  const bytes = new Uint8Array(DATA.size);
  const copied = data.copyIn(DATA_TYPE, DATA.end('__reserved'), bytes);
  if (copied < 0) return copied;
  if (!kernel.allocates()) return -ERRNO.ENOMEM;
  return new VtdNestedDomain(kernel, parent, readTable(new DataView(bytes.buffer)));
}

/** Flags that are not known are not looked at; the address is cut to whole pages. */
function readTable(data: DataView): GuestTable | undefined {
  const { flags, pgtbl_addr, addr_width } = DATA.decode(data, 0);
  const levels = LEVELS[addr_width];
  if (levels === undefined) return undefined;
  const extendedAccessed = (flags & BigInt(EXTENDED_ACCESSED)) !== 0n;
  return { root: Number(pgtbl_addr / BigInt(PAGE_SIZE)) * PAGE_SIZE, levels, extendedAccessed };
}
