// What the kernel asks of IOMMU drivers, and drivers of the kernel: the boundary between kernel/ and hardware/. The names
// are those of Linux's iommu_ops, iommu_domain_ops and iommufd_viommu_ops.
import type { Fault } from './fault.js';
import type { MmioMapping } from './file.js';
import type { HwQueue } from './hw-queue.js';
import type { IommuGroup } from './iommu-group.js';
import type { UserArray, UserStruct } from './user-data.js';
import type { Vdevice } from './vdevice.js';
import type { Viommu } from './viommu.js';

/** IOVAs that must not be mapped while a device is attached. */
export interface ReservedRegion {
  readonly start: bigint;
  readonly last: bigint;
  /** 'direct': must be mapped one to one; 'direct-relaxable': may be left out; 'reserved', 'msi': never used. 'sw-msi': the kernel maps MSI doorbells here. */
  readonly type: 'direct' | 'direct-relaxable' | 'reserved' | 'msi' | 'sw-msi';
}

/** A device that sits behind an IOMMU: struct device. */
export interface IommuDevice {
  readonly name: string;
  readonly iommu: Iommu;
  /** Devices that cannot be told apart by the IOMMU share one. */
  readonly group: IommuGroup;
  /** PASIDs it can use, a power of two: 1 for the one of requests without any; 0 where it is not known. */
  readonly maxPasids: number;
  readonly reservedRegions: readonly ReservedRegion[];
  capable(what: 'cache-coherency' | 'enforce-cache-coherency' | 'dirty-tracking' | 'pci-ats'): boolean;
  /** What its PCI function's PASIDs may be used for (IOMMU_HW_CAP_PCI_*): undefined for a device that is not PCI. */
  readonly pciPasid: { readonly exec: boolean; readonly privileged: boolean } | undefined;
  /** A PCI virtual function whose page requests (PRI) go through its physical function: it cannot have a fault queue. */
  readonly sharesPageRequests?: boolean;
  /** The kernel's: page requests that wait for the last one of their group. */
  partialRequests?: PageRequest[] | undefined;
}

/** A physical IOMMU and its driver. Refusals are -errno. */
export interface Iommu {
  readonly name: string;
  /** False for what stands where there is no IOMMU: its devices are attached to anything, and nothing is done about it. */
  readonly translates?: boolean;
  /** The domain that lets nothing through. */
  readonly blocked: Domain;
  /** PASIDs can be attached by user space (IOMMU_HWPT_ALLOC_PASID and nested domains included). */
  readonly userPasidTable: boolean;
  /** Answers its registers, in the form of that type (0: whichever it has). */
  hwInfo(device: IommuDevice, type: number): { readonly type: number; readonly data: Uint8Array } | number;
  /** A page table that the kernel fills. `data` is undefined where the caller gave none. */
  allocPaging(device: IommuDevice, flags: number, data: UserStruct | undefined): PagingDomain | number;
  /** A page table of the guest's on top of a parent, without a vIOMMU. */
  allocNested?(device: IommuDevice, parent: PagingDomain, flags: number, data: UserStruct): NestedDomain | number;
  /** Whether a vIOMMU of this type can be made for the device. */
  hasViommu(device: IommuDevice, type: number): boolean;
  initViommu(viommu: Viommu, parent: PagingDomain, data: UserStruct | undefined): ViommuDriver | number;
  /** The answer to a page request. */
  pageResponse?(device: IommuDevice, fault: PageRequest, code: number): void;
}

/** A page request as hardware raises it; a group ends with its last one. */
export interface PageRequest {
  readonly address: bigint;
  readonly pasid: number;
  readonly hasPasid: boolean;
  readonly group: number;
  /** Bits of iommu_hwpt_pgfault_perm. */
  readonly perm: number;
  readonly last: boolean;
}

/** Something a device (or a PASID of it) is attached to. Refusals are -errno. */
export abstract class Domain {
  /** Where page requests through this domain go. */
  fault: Fault | undefined;
  /** Whose driver made it; undefined for a domain that drivers have from the start. */
  owner: Iommu | undefined;
  abstract readonly kind: 'paging' | 'nested' | 'blocked';
  /** Makes the device use this domain in place of `old`; on refusal it keeps using `old`. */
  abstract attach(device: IommuDevice, old: Domain): number;
  abstract attachPasid(device: IommuDevice, pasid: number, old: Domain): number;
  abstract free(): void;
}

/** What DMA through a domain meets: the kernel's map of IOVAs to memory. */
export interface Translation {
  /**
   * The physical address behind an IOVA, told as its page number and the offset within that page; -1 where nothing is
   * mapped or it is not allowed. The answer holds to the end of the domain's smallest page around that IOVA: mappings
   * may begin and end at any of those, at another offset within a page than the memory has.
   */
  translate(page: number, offset: number, write: boolean): number;
  /**
   * The physical page behind a page of IOVAs, for domains whose smallest page is no smaller than that; -1 as `translate`
   * answers it. For what happens often: an address has more than 31 bits, which V8 allocates, and a page number has not.
   */
  frame(page: number, write: boolean): number;
}

/** Tells whether anything was written through a domain, and where. Positions are IOVAs. */
export interface DirtyTracker {
  /** The IOVA page was written, in the domain's smallest pages. */
  readonly enabled: boolean;
  /** False where the driver refuses to read (EINVAL) while it does not track. */
  readonly readsWhileOff: boolean;
  setTracking(enable: boolean): number;
  /**
   * Calls `report` for every run of IOVAs between `iova` and `last` that was written, and forgets them if `clear`.
   * Runs may reach beyond what was asked for, where the hardware's entries do; an entry that starts before `iova` is a run
   * of its own.
   */
  read(iova: bigint, last: bigint, clear: boolean, report: (start: bigint, length: bigint) => void): void;
}

/** A page table that the kernel keeps equal to an IOAS. */
export abstract class PagingDomain extends Domain {
  readonly kind = 'paging';
  /** Bits of the page sizes it has: the lowest one is the alignment of IOVAs. */
  abstract readonly pageSizes: bigint;
  /** IOVAs it can translate. */
  abstract readonly aperture: { readonly start: bigint; readonly last: bigint };
  abstract readonly dirty: DirtyTracker | undefined;
  /** Whether it can make devices' accesses coherent with the CPU's caches, and will from now on. */
  enforceCacheCoherency(): boolean {
    return false;
  }
  /** It has no entries without the right to write: what is mapped without it is refused (generic_pt/fmt/vtdss.h). */
  readonly needsWritable?: boolean;
  /** Whether the physical addresses behind it may be told: nothing translates for the device. */
  readonly tellsPhysical: boolean = false;
  /** The map it is kept equal to; set while an IOAS holds the domain. */
  translation: Translation | undefined;
  /** A range of IOVAs is mapped from now on, or no more: caches of it are stale. */
  mapped?(iova: bigint, length: bigint): void;
  unmapped?(iova: bigint, length: bigint): void;
}

/** A page table of the guest's: its driver data says where it lies. */
export abstract class NestedDomain extends Domain {
  readonly kind = 'nested';
  /** Carries out invalidations in order; sets how many were done. */
  abstract invalidate(requests: UserArray): number;
}

/** A driver's part of a vIOMMU. */
export interface ViommuDriver {
  destroy(): void;
  allocNested?(flags: number, data: UserStruct): NestedDomain | number;
  invalidate?(requests: UserArray): number;
  /** Whether it takes vDEVICEs, and its part of making one; answers what undoes it. */
  initVdevice?(vdevice: Vdevice): (() => void) | number;
  hasHwQueue?(type: number): boolean;
  /** Answers what undoes it. `physical`: where the queue lies in memory. */
  initHwQueue?(queue: HwQueue, index: number, physical: number): (() => void) | number;
}

/** Registers that a driver lends to user space, by way of mmap. */
export interface MmapRegion {
  /** Bytes. */
  readonly length: number;
  /** A mapping of it: accesses only, `close` is the kernel's. */
  readonly registers: Omit<MmioMapping, 'close'>;
}

/** Memory as a device reaches it. */
export type { FramePage as PinnedPage } from '../memory/frames.js';
