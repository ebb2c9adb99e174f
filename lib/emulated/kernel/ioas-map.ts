// IOMMU_IOAS_MAP, IOMMU_IOAS_MAP_FILE and IOMMU_IOAS_UNMAP (iommufd/ioas.c): the hot calls. A mapping at a given IOVA is made
// without a bigint and without an allocation; one that leaves the IOVA to the kernel searches with bigints.
import { ERRNO } from '../../uapi/errno.js';
import { iommufd_ioas_map_flags } from '../../uapi/iommufd-constants.js';
import { iommu_ioas_map, iommu_ioas_map_file, iommu_ioas_unmap } from '../../uapi/iommufd-structs.js';
import { PAGE_SIZE } from '../memory/backing.js';
import { READ, WRITE } from './areas.js';
import type { Command } from './command.js';
import { DmaBufFile } from './dma-buf.js';
import type { OpenFile } from './file.js';
import type { IoPagetable } from './io-pagetable.js';
import { Ioas } from './ioas.js';
import { isHighest, isZero, offsetAt, PAGES, pageAt, setPageAt } from './words.js';

const FLAGS = iommufd_ioas_map_flags.values;
const FIXED = FLAGS.IOMMU_IOAS_MAP_FIXED_IOVA;
const WRITEABLE = FLAGS.IOMMU_IOAS_MAP_WRITEABLE;
const READABLE = FLAGS.IOMMU_IOAS_MAP_READABLE;
const KNOWN = FIXED | WRITEABLE | READABLE;

const MAP = iommu_ioas_map.at;
const MAP_SIZE = iommu_ioas_map.size;
const FILE = iommu_ioas_map_file.at;
const FILE_SIZE = iommu_ioas_map_file.size;
const UNMAP = iommu_ioas_unmap.at;
const UNMAP_SIZE = iommu_ioas_unmap.size;

/** Bits of `READ` and `WRITE`. */
export function rightsOf(flags: number): number {
  return ((flags & READABLE) !== 0 ? READ : 0) | ((flags & WRITEABLE) !== 0 ? WRITE : 0);
}
export function isKnown(flags: number): boolean {
  return (flags & ~KNOWN) === 0;
}
export function isFixed(flags: number): boolean {
  return (flags & FIXED) !== 0;
}

/** What is wrong with a map call before its address space is looked up. */
function checkMap(command: Command, flags: number, iovaAt: number, lengthAt: number): number {
  if (isHighest(command, iovaAt) || isHighest(command, lengthAt)) return -ERRNO.EOVERFLOW;
  return (flags & (READABLE | WRITEABLE)) === 0 ? -ERRNO.EINVAL : 0;
}

/** Pages of a stretch of `length` bytes that starts `offset` bytes into one. */
function pagesOf(command: Command, lengthAt: number, offset: number): number {
  return pageAt(command, lengthAt) + ((offsetAt(command, lengthAt) + offset + PAGE_SIZE - 1) >> 12);
}
/** The kernel rounds lengths up to pages, and leaves room for that. */
function isTooLong(command: Command, lengthAt: number): boolean {
  return pageAt(command, lengthAt) >= PAGES - 1;
}
/** Whether start + length is beyond 64 bits: `extra` -1 for the last byte in its place. */
function overflows(command: Command, startAt: number, lengthAt: number, extra: number): boolean {
  const offsets = offsetAt(command, startAt) + offsetAt(command, lengthAt) + extra;
  return pageAt(command, startAt) + pageAt(command, lengthAt) + (offsets >> 12) >= PAGES;
}

export function ioasMap(command: Command): number {
  const flags = command.get(MAP.flags);
  if (!isKnown(flags) || command.get(MAP.__reserved) !== 0) return -ERRNO.EOPNOTSUPP;
  const wrong = checkMap(command, flags, MAP.iova, MAP.length);
  if (wrong < 0) return wrong;
  const { context } = command;
  const ioas = context.objects.get(command.get(MAP.ioas_id), Ioas);
  if (ioas === undefined) return -ERRNO.ENOENT;
  const isLength = !isZero(command, MAP.length) && !isTooLong(command, MAP.length);
  // Linux 6.12 looks at the length first.
  if (!isLength && context.kernel.linux === '6.12') return -ERRNO.EINVAL;
  if (overflows(command, MAP.user_va, MAP.length, 0)) return -ERRNO.EOVERFLOW;
  if (!isLength) return -ERRNO.EINVAL;
  const offset = offsetAt(command, MAP.user_va);
  const count = pagesOf(command, MAP.length, offset);
  if (!context.kernel.allocates()) return -ERRNO.ENOMEM;
  const pages = context.pages.fromAddress(
    pageAt(command, MAP.user_va),
    count,
    (flags & WRITEABLE) !== 0,
    context.accountMode,
  );
  const rc = place(command, ioas.iopt, flags, pages, offset, MAP.iova, MAP.length, MAP.user_va);
  // At a fixed IOVA the struct is as it came.
  if (rc === 0) return isFixed(flags) ? 0 : command.respond(MAP_SIZE);
  context.pages.drop(pages);
  return rc;
}

export function ioasMapFile(command: Command): number {
  const flags = command.get(FILE.flags);
  if (!isKnown(flags)) return -ERRNO.EOPNOTSUPP;
  const wrong = checkMap(command, flags, FILE.iova, FILE.length);
  if (wrong < 0) return wrong;
  const { context } = command;
  const ioas = context.objects.get(command.get(FILE.ioas_id), Ioas);
  if (ioas === undefined) return -ERRNO.ENOENT;
  if (isZero(command, FILE.length)) return -ERRNO.EINVAL;
  if (overflows(command, FILE.start, FILE.length, -1)) return -ERRNO.EOVERFLOW;
  const file = context.process.files.get(command.s32(FILE.fd));
  if (file === undefined) return -ERRNO.EBADF;
  if (isTooLong(command, FILE.length)) return -ERRNO.EINVAL;
  if (file instanceof DmaBufFile && !endsWithin(command, file.size)) return -ERRNO.EINVAL;
  if (!context.kernel.allocates()) return -ERRNO.ENOMEM;
  const offset = offsetAt(command, FILE.start);
  const pages = pagesOfFile(command, file, offset);
  if (pages < 0) return pages;
  const rc = place(command, ioas.iopt, flags, pages, offset, FILE.iova, FILE.length, FILE.start);
  if (rc === 0) return isFixed(flags) ? 0 : command.respond(FILE_SIZE);
  context.pages.drop(pages);
  return rc;
}

/** Whether what is asked for lies in a file of that many bytes. */
function endsWithin(command: Command, size: number): boolean {
  return command.get64(FILE.start) + command.get64(FILE.length) <= BigInt(size);
}
function pagesOfFile(command: Command, file: OpenFile, offset: number): number {
  const { pages, accountMode } = command.context;
  const first = pageAt(command, FILE.start);
  const count = pagesOf(command, FILE.length, offset);
  const writable = (command.get(FILE.flags) & WRITEABLE) !== 0;
  if (file instanceof DmaBufFile) return pages.fromDmaBuf(file, first, count, writable);
  return pages.fromFile(file, first, count, writable, accountMode);
}

/** Maps pages at the IOVA that the call names, or at one that it is told. */
function place(
  command: Command,
  iopt: IoPagetable,
  flags: number,
  pages: number,
  offset: number,
  iovaAt: number,
  lengthAt: number,
  startAt: number,
): number {
  if (!command.context.kernel.allocates()) return -ERRNO.ENOMEM;
  if (!iopt.isAligned(command.get(lengthAt))) return -ERRNO.EINVAL;
  if (!isFixed(flags)) {
    const found = iopt.findIova(command.get64(startAt), command.get64(lengthAt));
    if (found < 0n) return Number(found);
    command.set64(iovaAt, found);
  } else if (!iopt.isAligned(command.get(iovaAt))) return -ERRNO.EINVAL;
  if (overflows(command, iovaAt, lengthAt, -1)) return -ERRNO.EOVERFLOW;
  const page = pageAt(command, iovaAt);
  const within = offsetAt(command, iovaAt);
  const last = within + offsetAt(command, lengthAt) - 1;
  const lastPage = page + pageAt(command, lengthAt) + (last >> 12);
  return iopt.mapAt(page, within, lastPage, last & (PAGE_SIZE - 1), rightsOf(flags), pages, 0, offset);
}

export function ioasUnmap(command: Command): number {
  const ioas = command.context.objects.get(command.get(UNMAP.ioas_id), Ioas);
  if (ioas === undefined) return -ERRNO.ENOENT;
  const { iopt } = ioas;
  const isEverything = isZero(command, UNMAP.iova) && isHighest(command, UNMAP.length);
  const rc = isEverything ? iopt.unmapAll() : unmapRange(command, iopt);
  if (rc < 0) return rc;
  if (!isEverything && iopt.unmappedPages === 0 && iopt.unmappedBytes === 0) return -ERRNO.ENOENT;
  setPageAt(command, UNMAP.length, iopt.unmappedPages, iopt.unmappedBytes);
  return command.respond(UNMAP_SIZE);
}

function unmapRange(command: Command, iopt: IoPagetable): number {
  if (isHighest(command, UNMAP.iova) || isHighest(command, UNMAP.length)) return -ERRNO.EOVERFLOW;
  if (isZero(command, UNMAP.length)) return -ERRNO.EINVAL;
  if (overflows(command, UNMAP.iova, UNMAP.length, -1)) return -ERRNO.EOVERFLOW;
  const page = pageAt(command, UNMAP.iova);
  const offset = offsetAt(command, UNMAP.iova);
  const last = offset + offsetAt(command, UNMAP.length) - 1;
  const lastPage = page + pageAt(command, UNMAP.length) + (last >> 12);
  return iopt.unmap(page, offset, lastPage, last & (PAGE_SIZE - 1));
}
