// Setting up an entry of a device's PASID table, and tearing it down (intel/pasid.c).
import { ERRNO } from '../../../../uapi/errno.js';
import type { VtdDevice } from './device.js';
import type { VtdDomain } from './iommu-domain.js';

/** Leads requests with a PASID to a page table. */
export function setUpEntry(device: VtdDevice, pasid: number, domain: VtdDomain): number {
  const entry = domain.pasidEntry(device.iommu);
  if (typeof entry === 'number') return entry;
  if (!device.hasEntry(pasid)) return -ERRNO.ENODEV;
  device.fn.install(pasid, entry);
  return 0;
}

/** Leads them nowhere, and has what is cached forgotten. */
export function tearDownEntry({ fn, iommu: { unit } }: VtdDevice, pasid: number): void {
  const entry = fn.entryOf(pasid);
  if (entry === undefined) return;
  fn.remove(pasid);
  if (entry.guest === undefined) unit.invalidatePasid(entry.domainId, pasid);
  else unit.invalidateDomain(entry.domainId);
  fn.invalidatePasid(pasid);
}
