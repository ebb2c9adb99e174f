// What all page tables of this driver have: struct dmar_domain. On each unit that uses it a domain has an id, and it knows
// where its translations are cached (intel/iommu.c, intel/cache.c).
import { ERRNO } from '../../../../uapi/errno.js';
import type { Kernel } from '../../../kernel/kernel.js';
import type { VtdDevice } from './device.js';
import type { VtdIommu } from './iommu.js';

/** Of one's own, or as the second stage of a nested one; in the unit, or in a device. */
type CacheKind = 'iotlb' | 'device-tlb' | 'nesting-iotlb' | 'nesting-device-tlb';

/** Where translations of a domain are cached: struct cache_tag. */
interface CacheTag {
  readonly kind: CacheKind;
  readonly domainId: number;
  readonly device: VtdDevice;
  readonly pasid: number;
  users: number;
}

interface DomainId {
  readonly id: number;
  users: number;
}

/** log2 of the number of all pages there are. */
export const ALL_PAGES = 52;

export class DomainCore {
  readonly #kernel: Kernel;
  readonly #ids = new Map<VtdIommu, DomainId>();
  readonly #tags: CacheTag[] = [];
  /** Commands are collected here before the unit gets them: made when first needed. */
  #hasBatch = false;

  constructor(
    kernel: Kernel,
    /** The one that it is nested on. */
    readonly parent?: DomainCore,
  ) {
    this.#kernel = kernel;
  }

  /** The domain gets an id on the unit, unless it has one (domain_attach_iommu). */
  attachIommu(iommu: VtdIommu): number {
    if (!this.#kernel.allocates()) return -ERRNO.ENOMEM;
    const present = this.#ids.get(iommu);
    if (present !== undefined) {
      present.users++;
      return 0;
    }
    const id = iommu.domainIds.take();
    if (id < 0) return -ERRNO.ENOSPC;
    this.#ids.set(iommu, { id, users: 1 });
    return 0;
  }
  detachIommu(iommu: VtdIommu): void {
    const present = this.#ids.get(iommu);
    if (present === undefined || --present.users > 0) return;
    iommu.domainIds.give(present.id);
    this.#ids.delete(iommu);
  }
  /** Its id on a unit that it is attached to. */
  idOn(iommu: VtdIommu): number {
    return this.#ids.get(iommu)?.id ?? -1;
  }

  /** A PASID of a device uses it from now on (cache_tag_assign_domain). */
  assignTags(device: VtdDevice, pasid: number): number {
    const domainId = this.idOn(device.iommu);
    const rc = this.#assignPair(domainId, device, pasid, 'iotlb', 'device-tlb');
    if (rc < 0 || this.parent === undefined) return rc;
    const parents = this.parent.#assignPair(domainId, device, pasid, 'nesting-iotlb', 'nesting-device-tlb');
    if (parents < 0) this.#unassignPair(domainId, device, pasid, 'iotlb', 'device-tlb');
    return parents;
  }
  unassignTags(device: VtdDevice, pasid: number): void {
    const domainId = this.idOn(device.iommu);
    this.#unassignPair(domainId, device, pasid, 'iotlb', 'device-tlb');
    const { parent } = this;
    if (parent !== undefined) parent.#unassignPair(domainId, device, pasid, 'nesting-iotlb', 'nesting-device-tlb');
  }
  #assignPair(domainId: number, device: VtdDevice, pasid: number, own: CacheKind, remote: CacheKind): number {
    if (!this.#hasBatch && !this.#kernel.allocates()) return -ERRNO.ENOMEM;
    this.#hasBatch = true;
    const rc = this.#assign(own, domainId, device, pasid);
    if (rc < 0 || !device.ats) return rc;
    const remotes = this.#assign(remote, domainId, device, pasid);
    if (remotes < 0) this.#unassign(own, domainId, device, pasid);
    return remotes;
  }
  #unassignPair(domainId: number, device: VtdDevice, pasid: number, own: CacheKind, remote: CacheKind): void {
    this.#unassign(own, domainId, device, pasid);
    if (device.ats) this.#unassign(remote, domainId, device, pasid);
  }
  #assign(kind: CacheKind, domainId: number, device: VtdDevice, pasid: number): number {
    if (!this.#kernel.allocates()) return -ERRNO.ENOMEM;
    const present = this.#find(kind, domainId, device, pasid);
    if (present === undefined) this.#tags.push({ kind, domainId, device, pasid, users: 1 });
    else present.users++;
    return 0;
  }
  #unassign(kind: CacheKind, domainId: number, device: VtdDevice, pasid: number): void {
    const tag = this.#find(kind, domainId, device, pasid);
    if (tag !== undefined && --tag.users === 0) this.#tags.splice(this.#tags.indexOf(tag), 1);
  }
  /** A unit's cache is one for all devices behind it. */
  #find(kind: CacheKind, domainId: number, device: VtdDevice, pasid: number): CacheTag | undefined {
    const inDevice = kind === 'device-tlb' || kind === 'nesting-device-tlb';
    return this.#tags.find(
      (tag) =>
        tag.kind === kind &&
        tag.domainId === domainId &&
        tag.pasid === pasid &&
        (inDevice ? tag.device === device : tag.device.iommu === device.iommu),
    );
  }

  /** Has 2^`order` pages from `page` on forgotten, wherever they are cached (cache_tag_flush_range). */
  flush(page: number, order: number): void {
    for (const { kind, domainId, device, pasid } of this.#tags) {
      const { unit } = device.iommu;
      if (kind === 'nesting-iotlb') unit.invalidateDomain(domainId);
      // Which of a device's translations go through a second-stage page, nobody knows: all go.
      else if (kind === 'nesting-device-tlb') device.fn.invalidatePasid(pasid);
      else if (kind === 'device-tlb') invalidateDevice(device, pasid, page, order);
      else if (order < ALL_PAGES) unit.invalidatePages(domainId, pasid, page, order);
      else unit.invalidatePasid(domainId, pasid);
    }
  }
  flushAll(): void {
    this.flush(0, ALL_PAGES);
  }
}

function invalidateDevice({ fn }: VtdDevice, pasid: number, page: number, order: number): void {
  if (order < ALL_PAGES) fn.invalidatePages(pasid, page, order);
  else fn.invalidatePasid(pasid);
}
