// VFIO_IOMMU_GET_INFO on /dev/iommu (iommufd/vfio_compat.c): page sizes, and as far as the caller has room for it what can be
// mapped, and how often.
import { ERRNO } from '../../../uapi/errno.js';
import { vfio_iommu_info_flags, vfio_iommu_type1_info_cap } from '../../../uapi/vfio-constants.js';
import { vfio_info_cap_header } from '../../../uapi/vfio-structs.js';
import {
  vfio_iommu_type1_info,
  vfio_iommu_type1_info_cap_iova_range,
  vfio_iommu_type1_info_dma_avail,
  vfio_iova_range,
} from '../../../uapi/vfio-type1.js';
import { PAGE_SIZE } from '../../memory/backing.js';
import type { IoPagetable } from '../io-pagetable.js';
import type { IommufdContext } from '../iommufd-file.js';
import { U64_MAX } from '../iova-ranges.js';
import type { UserBuffer } from '../vfio/driver.js';
import { bufferFrom } from '../vfio/user-buffer.js';

const INFO = vfio_iommu_type1_info;
const RANGES = vfio_iommu_type1_info_cap_iova_range;
const AVAIL = vfio_iommu_type1_info_dma_avail;
const RANGE = vfio_iova_range;
const FIXED = INFO.end('iova_pgsizes');
const IDS = vfio_iommu_type1_info_cap.values;
const { VFIO_IOMMU_INFO_PGSIZES: PGSIZES, VFIO_IOMMU_INFO_CAPS: CAPS } = vfio_iommu_info_flags.values;
const NO_LIMIT = 0xffff_ffff;
const CAP_ALIGN = 8;
const PAGE = BigInt(PAGE_SIZE);

/** Writes a capability as far as `room` bytes hold it; how long it is, or -EFAULT. */
type FillCapability = (iopt: IoPagetable, buffer: UserBuffer, room: number) => number;

/** How many more mappings there may be: as many as memory allows. */
function fillAvail(_iopt: IoPagetable, buffer: UserBuffer, room: number): number {
  const bytes = new Uint8Array(AVAIL.size);
  const header = { id: IDS.VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, version: 1, next: 0 };
  AVAIL.encode(new DataView(bytes.buffer), 0, { header, avail: NO_LIMIT });
  return room >= bytes.length && !buffer.copyOut(0, bytes) ? -ERRNO.EFAULT : bytes.length;
}

/** What can be mapped. Ranges are written one by one, also where the header in front of them does not come to be. */
function fillRanges({ reserved }: IoPagetable, buffer: UserBuffer, room: number): number {
  const bytes = new Uint8Array(RANGE.size);
  let length = RANGES.size;
  let count = 0;
  for (const { start, last } of reserved.holes()) {
    RANGE.encode(new DataView(bytes.buffer), 0, { start, end: last });
    if (room >= length + bytes.length && !buffer.copyOut(length, bytes)) return -ERRNO.EFAULT;
    length += bytes.length;
    count++;
  }
  const head = new Uint8Array(RANGES.size);
  const header = { id: IDS.VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, version: 1, next: 0 };
  RANGES.encode(new DataView(head.buffer), 0, { header, nr_iovas: count });
  return room >= length && !buffer.copyOut(0, head) ? -ERRNO.EFAULT : length;
}

const CAPABILITIES: readonly FillCapability[] = [fillAvail, fillRanges];

/** Writes the chain behind the struct; how long all of it is, or -EFAULT. */
function fillChain(iopt: IoPagetable, argument: UserBuffer, room: number): number {
  let total = INFO.size;
  let previous: number | undefined;
  for (const fill of CAPABILITIES) {
    const length = fill(iopt, bufferFrom(argument, total), Math.max(0, room - total));
    if (length < 0) return length;
    // The one before is told where this one is even where only its place fits.
    if (previous !== undefined && room >= total) {
      const next = new Uint8Array(Uint32Array.of(total).buffer);
      if (!argument.copyOut(previous + vfio_info_cap_header.at.next, next)) return -ERRNO.EFAULT;
    }
    previous = total;
    total += Math.ceil(length / CAP_ALIGN) * CAP_ALIGN;
  }
  return total;
}

/** What all page tables have, in no less than the pages of the system. */
function pageSizes(iopt: IoPagetable): bigint {
  let sizes = U64_MAX;
  for (const domain of iopt.domains) sizes &= domain.pageSizes;
  if (sizes % PAGE !== 0n) sizes = (sizes & ~(PAGE - 1n)) | PAGE;
  return sizes > iopt.alignment ? sizes : iopt.alignment;
}

export function getInfo({ vfioIoas }: IommufdContext, argument: UserBuffer): number {
  const bytes = new Uint8Array(INFO.size);
  if (!argument.copyIn(0, bytes.subarray(0, FIXED))) return -ERRNO.EFAULT;
  const view = new DataView(bytes.buffer);
  const room = view.getUint32(INFO.at.argsz, true);
  if (room < FIXED) return -ERRNO.EINVAL;
  if (vfioIoas === undefined) return -ERRNO.ENODEV;
  const { iopt } = vfioIoas;
  const total = fillChain(iopt, argument, room);
  if (total < 0) return total;
  INFO.encode(view, 0, {
    argsz: total,
    flags: PGSIZES | CAPS,
    iova_pgsizes: pageSizes(iopt),
    cap_offset: room >= total ? INFO.size : 0,
  });
  return argument.copyOut(0, bytes.subarray(0, Math.min(room, INFO.size))) ? 0 : -ERRNO.EFAULT;
}
