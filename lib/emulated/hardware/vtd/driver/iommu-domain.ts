// What a device, or a PASID of one, can be attached to beside nothing: a page table of this driver.
import type { Domain } from '../../../kernel/driver.js';
import type { PasidEntry } from '../function.js';
import type { DomainCore } from './domain-core.js';
import type { VtdIommu } from './iommu.js';

export interface VtdDomain extends Domain {
  readonly core: DomainCore;
  /** Whether a unit has all that it, or what it is nested on, was made for: 0 or -EINVAL (paging_domain_compatible). */
  checkIommu(iommu: VtdIommu): number;
  /** The entry of a PASID table that leads to it, on a unit it has an id on: -EINVAL where there can be none. */
  pasidEntry(iommu: VtdIommu): PasidEntry | number;
}

/** A domain that a device is attached to, as this driver knows it; undefined for the one that lets nothing through. */
export function pageTableOf(domain: Domain): VtdDomain | undefined {
  return isPageTable(domain) ? domain : undefined;
}
function isPageTable(domain: Domain): domain is VtdDomain {
  return 'core' in domain;
}
