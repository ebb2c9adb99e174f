// Attaching devices and PASIDs of theirs to page tables (intel/iommu.c, intel/nested.c). A device is blocked first, whatever
// comes of it: where attaching fails, nothing of its gets through any more, although the kernel believes that all is as before.
import { ERRNO } from '../../../../uapi/errno.js';
import type { Domain } from '../../../kernel/driver.js';
import type { Kernel } from '../../../kernel/kernel.js';
import { NO_PASID } from '../function.js';
import type { VtdDevice } from './device.js';
import { pageTableOf, type VtdDomain } from './iommu-domain.js';
import { setUpEntry, tearDownEntry } from './pasid-entry.js';

/** Nothing of the device's own gets through any more (device_block_translation). */
function blockTranslation(device: VtdDevice): void {
  const { domain, iommu } = device;
  if (domain === undefined) return;
  domain.core.unassignTags(device, NO_PASID);
  tearDownEntry(device, NO_PASID);
  device.domain = undefined;
  domain.core.detachIommu(iommu);
}

/** Who handles page requests from now on (iopf_for_domain_replace). */
function replaceHandler(device: VtdDevice, domain: Domain, old: Domain): number {
  const rc = device.handleFaults(domain);
  if (rc === 0) device.unhandleFaults(old);
  return rc;
}

/** blocking_domain_attach_dev. */
export function block(device: VtdDevice): void {
  device.unhandleFaults(device.domain);
  blockTranslation(device);
}

/** A page table of the kernel's (intel_iommu_attach_device). */
export function attachPaging(device: VtdDevice, domain: VtdDomain, old: Domain): number {
  blockTranslation(device);
  let rc = domain.checkIommu(device.iommu);
  if (rc < 0) return rc;
  rc = replaceHandler(device, domain, old);
  if (rc < 0) return rc;
  rc = usePaging(device, domain);
  if (rc < 0) replaceHandler(device, old, domain);
  return rc;
}
function usePaging(device: VtdDevice, domain: VtdDomain): number {
  const attached = domain.core.attachIommu(device.iommu);
  if (attached < 0) return attached;
  device.domain = domain;
  let rc = setUpEntry(device, NO_PASID, domain);
  if (rc === 0) rc = domain.core.assignTags(device, NO_PASID);
  if (rc < 0) blockTranslation(device);
  return rc;
}

/**
 * A guest's page table (intel_nested_attach_dev). Whoever handled page requests before goes on to be counted: after that, what
 * waits for the last request of its group waits until the device goes, as on Linux.
 */
export function attachNested(device: VtdDevice, domain: VtdDomain): number {
  const { core } = domain;
  const { iommu } = device;
  blockTranslation(device);
  let rc = domain.checkIommu(iommu);
  if (rc < 0) return rc;
  rc = core.attachIommu(iommu);
  if (rc < 0) return rc;
  rc = core.assignTags(device, NO_PASID);
  if (rc === 0) {
    rc = handleAndSetUp(device, domain);
    if (rc < 0) core.unassignTags(device, NO_PASID);
  }
  if (rc < 0) core.detachIommu(iommu);
  else device.domain = domain;
  return rc;
}
function handleAndSetUp(device: VtdDevice, domain: VtdDomain): number {
  const handled = device.handleFaults(domain);
  if (handled < 0) return handled;
  const rc = setUpEntry(device, NO_PASID, domain);
  if (rc < 0) device.unhandleFaults(domain);
  return rc;
}

/** blocking_domain_set_dev_pasid. */
export function blockPasid(device: VtdDevice, pasid: number, old: Domain): void {
  tearDownEntry(device, pasid);
  device.unhandleFaults(old);
  removePasid(device, pasid, old);
}

/** A page table of either kind, for a PASID (intel_iommu_set_dev_pasid, intel_nested_set_dev_pasid). */
export function attachPasid(kernel: Kernel, device: VtdDevice, pasid: number, domain: VtdDomain, old: Domain): number {
  let rc = domain.checkIommu(device.iommu);
  if (rc < 0) return rc;
  rc = addPasid(kernel, device, pasid, domain);
  if (rc < 0) return rc;
  rc = replaceHandler(device, domain, old);
  if (rc === 0) {
    // Blocked between the two, and after a failure.
    tearDownEntry(device, pasid);
    rc = setUpEntry(device, pasid, domain);
    if (rc < 0) replaceHandler(device, old, domain);
  }
  removePasid(device, pasid, rc < 0 ? domain : old);
  return rc;
}
/** domain_add_dev_pasid. */
function addPasid(kernel: Kernel, device: VtdDevice, pasid: number, { core }: VtdDomain): number {
  if (!kernel.allocates()) return -ERRNO.ENOMEM;
  const attached = core.attachIommu(device.iommu);
  if (attached < 0) return attached;
  const rc = core.assignTags(device, pasid);
  if (rc < 0) core.detachIommu(device.iommu);
  return rc;
}
/** domain_remove_dev_pasid. */
function removePasid(device: VtdDevice, pasid: number, domain: Domain): void {
  const core = pageTableOf(domain)?.core;
  core?.unassignTags(device, pasid);
  core?.detachIommu(device.iommu);
}
