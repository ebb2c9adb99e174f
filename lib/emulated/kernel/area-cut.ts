// Splitting a mapping where VFIO's first model unmaps a part of it (iopt_cut_iova in iommufd/io_pagetable.c).
import { ERRNO } from '../../uapi/errno.js';
import { PAGE_SIZE } from '../memory/backing.js';
import type { IoPagetable } from './io-pagetable.js';
import type { IommufdContext } from './iommufd-file.js';

const PAGE = BigInt(PAGE_SIZE);

/** Splits the area that an IOVA lies in behind it: 0 where there is none, or nothing to split; or -errno. */
export function cutArea({ kernel, pages }: IommufdContext, iopt: IoPagetable, iova: bigint): number {
  const { areaTable, alignment } = iopt;
  const slot = areaTable.at(Number(iova / PAGE), Number(iova % PAGE));
  if (slot < 0 || iova === areaTable.startOf(slot) || iova === areaTable.lastOf(slot)) return 0;
  if (areaTable.refusing[slot] === 1) return -ERRNO.EBUSY;
  const memory = areaTable.pages[slot] ?? 0;
  if (pages.isDmaBuf(memory)) return -ERRNO.EOPNOTSUPP;
  const start = iova + 1n;
  const byte = areaTable.byteOf(slot, start);
  if (start % alignment !== 0n || byte % alignment !== 0n) return -ERRNO.EINVAL;
  if (!kernel.allocates() || !kernel.allocates()) return -ERRNO.ENOMEM;
  // What accesses pinned cannot be told apart; nor can what a page table has in a large entry.
  if ((areaTable.accesses[slot] ?? 0) > 0) return -ERRNO.EINVAL;
  const isFilled = iopt.domains.length > 0;
  if (isFilled && iopt.largePages) return -ERRNO.EINVAL;
  pages.hold(memory);
  // The two halves are unpinned one by one.
  if (isFilled) pages.countParts(memory);
  iopt.splitArea(slot, start, byte);
  return 0;
}
