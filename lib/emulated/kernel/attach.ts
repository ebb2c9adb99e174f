// Attaching devices to page tables, replacing, detaching, and choosing a page table for an IOAS (iommufd/device.c).
import { ERRNO } from '../../uapi/errno.js';
import type { IommufdDevice } from './device.js';
import { Hwpt } from './hwpt.js';
import { abortHwpt, allocHwptPaging, type HwptPaging } from './hwpt-paging.js';
import { Ioas } from './ioas.js';
import { type AttachHandle, NO_PASID } from './iommu-group.js';
import type { Attachment, IommufdGroup } from './iommufd-group.js';

export function attachDevice(device: IommufdDevice, pasid: number, ptId: number): number {
  const target = device.context.objects.find(ptId);
  if (target === undefined) return -ERRNO.ENOENT;
  if (target instanceof Hwpt) {
    const rc = attachHwpt(target, device, pasid);
    return rc < 0 ? rc : target.id;
  }
  if (!(target instanceof Ioas)) return -ERRNO.EINVAL;
  for (const hwpt of autoDomains(target)) {
    const rc = attachHwpt(hwpt, device, pasid);
    if (rc !== -ERRNO.EINVAL) return rc < 0 ? rc : hwpt.id;
  }
  const made = allocHwptPaging(target, device, { flags: 0, data: undefined, attachPasid: pasid });
  return typeof made === 'number' ? made : publishAuto(made);
}

export function replaceDevice(device: IommufdDevice, pasid: number, ptId: number): number {
  const target = device.context.objects.find(ptId);
  if (target === undefined) return -ERRNO.ENOENT;
  if (target instanceof Hwpt) return replaceHwpt(device, pasid, target);
  if (!(target instanceof Ioas)) return -ERRNO.EINVAL;
  for (const hwpt of autoDomains(target)) {
    const rc = replaceHwpt(device, pasid, hwpt);
    if (rc !== -ERRNO.EINVAL) return rc;
  }
  const made = allocHwptPaging(target, device, { flags: 0, data: undefined, attachPasid: undefined });
  if (typeof made === 'number') return made;
  const rc = replaceHwpt(device, pasid, made);
  if (rc < 0) {
    abortHwpt(made);
    return rc;
  }
  return publishAuto(made);
}

/** Those made by the kernel are all alike: the first one that goes with a device will do. -EINVAL says that it does not. */
function autoDomains(ioas: Ioas): HwptPaging[] {
  return ioas.hwpts.filter(({ autoDomain }) => autoDomain);
}
function publishAuto(hwpt: HwptPaging): number {
  hwpt.autoDomain = true;
  hwpt.context.objects.publish(hwpt);
  return hwpt.id;
}

/** Attaches what is not attached; for the second device of a group, joins it to what the group is attached to. */
export function attachHwpt(hwpt: Hwpt, device: IommufdDevice, pasid: number): number {
  const { kernel } = device.context;
  const { attachments } = device.group;
  const present = attachments.get(pasid);
  if (present === undefined && !kernel.allocates()) return -ERRNO.ENOMEM;
  if (present?.devices.has(device)) return -ERRNO.EBUSY;
  if (present !== undefined && present.hwpt !== hwpt) return -ERRNO.EINVAL;
  const { iopt } = hwpt.paging.ioas;
  if (pasid === NO_PASID) {
    const rc = iopt.enforceDeviceReservedRegions(device.dev);
    if (rc < 0) return rc;
  }
  if (present === undefined) {
    const rc = attachGroup(hwpt, device, pasid);
    if (rc < 0) {
      if (pasid === NO_PASID) iopt.removeReserved(device.dev);
      return rc;
    }
    attachments.set(pasid, { hwpt, devices: new Set([device]) });
  } else {
    present.devices.add(device);
  }
  hwpt.users++;
  return 0;
}

/** Answers what the device was attached to. */
export function detachHwpt(device: IommufdDevice, pasid: number): Hwpt | undefined {
  const { attachments } = device.group;
  const attachment = attachments.get(pasid);
  if (attachment === undefined || !attachment.devices.delete(device)) return undefined;
  const { hwpt } = attachment;
  if (attachment.devices.size === 0) {
    detachGroup(hwpt, device, pasid);
    attachments.delete(pasid);
  }
  if (pasid === NO_PASID) hwpt.paging.ioas.iopt.removeReserved(device.dev);
  hwpt.put();
  return hwpt;
}

/** Replaces what is attached, for all devices of the group at once; answers the new page table's id. */
function replaceHwpt(device: IommufdDevice, pasid: number, hwpt: Hwpt): number {
  const attachment = device.group.attachments.get(pasid);
  if (attachment === undefined || !attachment.devices.has(device)) return -ERRNO.EINVAL;
  const old = attachment.hwpt;
  if (old === hwpt) return hwpt.id;
  if (pasid === NO_PASID) {
    const rc = reserveForGroup(attachment, hwpt.paging);
    if (rc < 0) return rc;
  }
  const rc = replaceGroup(hwpt, old, device, pasid);
  if (rc < 0) {
    if (pasid === NO_PASID) unreserveForGroup(attachment, hwpt.paging);
    return rc;
  }
  if (pasid === NO_PASID && old.paging.ioas !== hwpt.paging.ioas) unreserveForGroup(attachment, old.paging);
  attachment.hwpt = hwpt;
  const { size } = attachment.devices;
  hwpt.users += size;
  old.users -= size - 1;
  old.put();
  return hwpt.id;
}

function reserveForGroup({ devices, hwpt: old }: Attachment, paging: HwptPaging): number {
  if (old.paging.ioas === paging.ioas) return 0;
  for (const device of devices) {
    const rc = paging.ioas.iopt.enforceDeviceReservedRegions(device.dev);
    if (rc < 0) {
      for (const each of devices) paging.ioas.iopt.removeReserved(each.dev);
      return rc;
    }
  }
  return 0;
}
function unreserveForGroup({ devices }: Attachment, paging: HwptPaging): void {
  for (const device of devices) paging.ioas.iopt.removeReserved(device.dev);
}

function attachGroup(hwpt: Hwpt, device: IommufdDevice, pasid: number): number {
  const handle = newHandle(hwpt, device, pasid);
  if (typeof handle === 'number') return handle;
  const { group } = device.group;
  return pasid === NO_PASID ? group.attach(handle) : group.attachPasid(pasid, handle);
}

function detachGroup(hwpt: Hwpt, device: IommufdDevice, pasid: number): void {
  const { group } = device.group;
  const handle = group.handleOf(pasid);
  if (pasid === NO_PASID) group.detach();
  else group.detachPasid(pasid);
  if (handle !== undefined) hwpt.fault?.autoRespond(handle);
}

function replaceGroup(hwpt: Hwpt, old: Hwpt, device: IommufdDevice, pasid: number): number {
  const handle = newHandle(hwpt, device, pasid);
  if (typeof handle === 'number') return handle;
  const { group } = device.group;
  const oldHandle = group.handleOf(pasid);
  const rc = pasid === NO_PASID ? group.replace(handle) : group.replacePasid(pasid, handle);
  if (rc === 0 && oldHandle !== undefined) old.fault?.autoRespond(oldHandle);
  return rc;
}

/**
 * Each attaching has a handle of its own, so that page requests can be told apart. -errno where the two do not go together;
 * 0 for a device without an IOMMU, of which nobody needs to know.
 */
function newHandle(hwpt: Hwpt, device: IommufdDevice, pasid: number): AttachHandle | number {
  if (hwpt.fault !== undefined && device.dev.sharesPageRequests === true) return -ERRNO.EINVAL;
  if (!goesWithPasids(hwpt, device.group, pasid)) return -ERRNO.EINVAL;
  if (device.dev.iommu.translates === false) return 0;
  if (!device.context.kernel.allocates()) return -ERRNO.ENOMEM;
  return { domain: hwpt.domain, device };
}

/** PASIDs, and the device itself while it has some attached, need page tables made for that. */
function goesWithPasids(hwpt: Hwpt, { attachments }: IommufdGroup, pasid: number): boolean {
  if (pasid !== NO_PASID) return hwpt.pasidCompat && attachments.get(NO_PASID)?.hwpt.pasidCompat !== false;
  if (hwpt.pasidCompat) return true;
  return attachments.size === (attachments.has(NO_PASID) ? 1 : 0);
}
