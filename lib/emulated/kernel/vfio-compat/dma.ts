// VFIO_IOMMU_MAP_DMA and VFIO_IOMMU_UNMAP_DMA on /dev/iommu (iommufd/vfio_compat.c). In bigints: nobody calls these in a
// hurry.
import { ERRNO } from '../../../uapi/errno.js';
import { vfio_dma_map_flags, vfio_dma_unmap_flags } from '../../../uapi/vfio-constants.js';
import { vfio_iommu_type1_dma_map, vfio_iommu_type1_dma_unmap } from '../../../uapi/vfio-type1.js';
import { PAGE_SIZE } from '../../memory/backing.js';
import { cutArea } from '../area-cut.js';
import { READ, WRITE } from '../areas.js';
import type { IoPagetable } from '../io-pagetable.js';
import type { IommufdContext } from '../iommufd-file.js';
import { U64_MAX } from '../iova-ranges.js';
import type { UserBuffer } from '../vfio/driver.js';

const MAP = vfio_iommu_type1_dma_map;
const MAP_SIZE = MAP.end('size');
const UNMAP = vfio_iommu_type1_dma_unmap;
const UNMAP_SIZE = UNMAP.end('size');
const { VFIO_DMA_MAP_FLAG_READ: MAP_READ, VFIO_DMA_MAP_FLAG_WRITE: MAP_WRITE } = vfio_dma_map_flags.values;
const { VFIO_DMA_UNMAP_FLAG_ALL: UNMAP_ALL } = vfio_dma_unmap_flags.values;
const PAGE = BigInt(PAGE_SIZE);

/** The fixed fields, as the caller's struct has them; -EFAULT, or -EINVAL for too few of them and for unknown flags. */
function copyIn(argument: UserBuffer, size: number, flags: number): DataView<ArrayBuffer> | number {
  const bytes = new Uint8Array(size);
  if (!argument.copyIn(0, bytes)) return -ERRNO.EFAULT;
  const view = new DataView(bytes.buffer);
  const isKnown = (view.getUint32(MAP.at.flags, true) & ~flags) === 0;
  return view.getUint32(MAP.at.argsz, true) >= size && isKnown ? view : -ERRNO.EINVAL;
}

export function mapDma(context: IommufdContext, argument: UserBuffer): number {
  const view = copyIn(argument, MAP_SIZE, MAP_READ | MAP_WRITE);
  if (typeof view === 'number') return view;
  const { vfioIoas, pages, kernel } = context;
  if (vfioIoas === undefined) return -ERRNO.ENODEV;
  const flags = view.getUint32(MAP.at.flags, true);
  const address = view.getBigUint64(MAP.at.vaddr, true);
  const length = view.getBigUint64(MAP.at.size, true);
  const isLength = length !== 0n && length <= U64_MAX - PAGE;
  // Linux 6.12 looks at the length first.
  if (!isLength && kernel.linux === '6.12') return -ERRNO.EINVAL;
  if (address + length > U64_MAX) return -ERRNO.EOVERFLOW;
  if (!isLength) return -ERRNO.EINVAL;
  if (!kernel.allocates()) return -ERRNO.ENOMEM;
  const pageOffset = Number(address % PAGE);
  const count = Number((BigInt(pageOffset) + length + PAGE - 1n) / PAGE);
  const writable = (flags & MAP_WRITE) !== 0;
  const slot = pages.fromAddress(Number(address / PAGE), count, writable, context.accountMode);
  const rights = ((flags & MAP_READ) !== 0 ? READ : 0) | (writable ? WRITE : 0);
  const piece = { pages: slot, firstIndex: 0, pageOffset, length };
  const iova = vfioIoas.iopt.mapPieces([piece], length, view.getBigUint64(MAP.at.iova, true), address, rights);
  if (iova >= 0n) return 0;
  pages.drop(slot);
  return Number(iova);
}

export function unmapDma(context: IommufdContext, argument: UserBuffer): number {
  const view = copyIn(argument, UNMAP_SIZE, UNMAP_ALL);
  if (typeof view === 'number') return view;
  const { vfioIoas } = context;
  if (vfioIoas === undefined) return -ERRNO.ENODEV;
  const { iopt } = vfioIoas;
  const iova = view.getBigUint64(UNMAP.at.iova, true);
  const length = view.getBigUint64(UNMAP.at.size, true);
  let unmapped = { rc: 0, bytes: 0n };
  if ((view.getUint32(UNMAP.at.flags, true) & UNMAP_ALL) !== 0) {
    if (iova !== 0n || length !== 0n) return -ERRNO.EINVAL;
    unmapped = told(iopt, iopt.unmapAll());
  } else {
    const rc = cutEnds(context, iopt, iova, length);
    if (rc < 0) return rc;
    unmapped = unmapRange(iopt, iova, length);
  }
  // Told also where only a part could be unmapped.
  view.setBigUint64(UNMAP.at.size, BigInt.asUintN(64, unmapped.bytes), true);
  return argument.copyOut(0, new Uint8Array(view.buffer)) ? unmapped.rc : -ERRNO.EFAULT;
}

/** Where page tables have small pages only, a range may begin and end within mappings. */
function cutEnds(context: IommufdContext, iopt: IoPagetable, iova: bigint, length: bigint): number {
  if (iopt.largePages) return 0;
  const rc = cutArea(context, iopt, BigInt.asUintN(64, iova + length - 1n));
  return rc < 0 || iova === 0n ? rc : cutArea(context, iopt, iova - 1n);
}

function unmapRange(iopt: IoPagetable, iova: bigint, length: bigint): { rc: number; bytes: bigint } {
  const last = iova + length - 1n;
  if (length === 0n) return { rc: -ERRNO.EINVAL, bytes: 0n };
  if (last > U64_MAX) return { rc: -ERRNO.EOVERFLOW, bytes: 0n };
  return told(iopt, iopt.unmap(Number(iova / PAGE), Number(iova % PAGE), Number(last / PAGE), Number(last % PAGE)));
}
function told({ unmappedPages, unmappedBytes }: IoPagetable, rc: number): { rc: number; bytes: bigint } {
  return { rc, bytes: BigInt(unmappedPages) * PAGE + BigInt(unmappedBytes) };
}
