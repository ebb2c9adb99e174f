// VFIO_DEVICE_GET_REGION_INFO (drivers/vfio/vfio_main.c): a driver's answer and its capabilities, as far as the caller has
// room for them.
import { ERRNO } from '../../../uapi/errno.js';
import { vfio_region_info_flags } from '../../../uapi/vfio-constants.js';
import { vfio_info_cap_header, vfio_region_info } from '../../../uapi/vfio-structs.js';
import type { UserBuffer, VfioDriver } from './driver.js';

const INFO = vfio_region_info;
const { VFIO_REGION_INFO_FLAG_CAPS: HAS_CAPS } = vfio_region_info_flags.values;

export function regionInfo(driver: VfioDriver, argument: UserBuffer): number {
  const bytes = new Uint8Array(INFO.size);
  if (!argument.copyIn(0, bytes)) return -ERRNO.EFAULT;
  const view = new DataView(bytes.buffer);
  const size = view.getUint32(INFO.at.argsz, true);
  if (size < INFO.end('offset')) return -ERRNO.EINVAL;
  const region = driver.regionInfo(view.getUint32(INFO.at.index, true));
  if (typeof region === 'number') return region;
  const { capabilities = new Uint8Array(0) } = region;
  const needed = INFO.size + capabilities.length;
  if (capabilities.length > 0) {
    const fits = size >= needed;
    if (fits && !argument.copyOut(INFO.size, shifted(capabilities, INFO.size))) return -ERRNO.EFAULT;
    if (!fits) view.setUint32(INFO.at.argsz, needed, true);
    view.setUint32(INFO.at.cap_offset, fits ? INFO.size : 0, true);
  }
  // Without capabilities the caller gets the cap_offset back that it gave.
  view.setUint32(INFO.at.flags, region.flags | (capabilities.length > 0 ? HAS_CAPS : 0), true);
  view.setBigUint64(INFO.at.size, region.size, true);
  view.setBigUint64(INFO.at.offset, region.offset, true);
  return argument.copyOut(0, bytes) ? 0 : -ERRNO.EFAULT;
}

/** A chain that starts at an offset of the caller's buffer: vfio_info_cap_shift. */
export function shifted(capabilities: Uint8Array, by: number): Uint8Array {
  const bytes = capabilities.slice();
  const view = new DataView(bytes.buffer);
  for (let at = 0; ; ) {
    const next = view.getUint32(at + vfio_info_cap_header.at.next, true);
    if (next === 0) return bytes;
    view.setUint32(at + vfio_info_cap_header.at.next, next + by, true);
    at = next;
  }
}
