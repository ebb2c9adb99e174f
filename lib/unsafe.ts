// `iommufd/unsafe`: the seam itself, the raw structs, and the hooks for devices that something else than VFIO drives.
// Unsafe: these calls carry raw pointers. Whoever passes a wrong one makes the kernel, or a device, write anywhere.
import type { Attacher } from './objects/device.js';
import { Device } from './objects/device.js';
import { type Iommufd, iommufdContext } from './objects/iommufd.js';

export { Arena } from './host/arena.js';
export { IommufdError } from './host/errors.js';
export { kernelSeam } from './host/kernel.js';
export type { Backing, FileStatus, HostKind, MemoryRequest, Region, Seam, Watch } from './host/seam.js';
export { type Unsupported, unsupported } from './host/unsupported.js';
export { Host, hostSeam } from './host-object.js';
export { type Attachments, call, type Outcome, type Port, refusal, tryCall, tryCallAsync } from './objects/call.js';
export type { Attacher } from './objects/device.js';
export * as uapi from './uapi/index.js';

/** A device bound to an iommufd by something else than VFIO, with the way to attach it. */
export function bindDevice(iommufd: Iommufd, id: number, attacher: Attacher): Device {
  return new Device(iommufd, iommufdContext(iommufd), id, attacher);
}
