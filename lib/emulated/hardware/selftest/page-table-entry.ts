// How large the entries of the mock's page tables are. No table is kept: its entries follow from the mappings, as
// iommufd and generic_pt would have made them. An entry is a power of two long, its IOVAs and its memory are aligned to
// that, and it lies within one mapping; without large pages it is no longer than a page of memory.
import { IoPagetable } from '../../kernel/io-pagetable.js';
import { PAGE_SIZE } from '../../memory/backing.js';
import type { SelftestPagingDomain } from './paging-domain.js';

export interface Entry {
  readonly start: number;
  readonly length: number;
}

/** The entry that maps an IOVA; the smallest one there can be where nothing is mapped. */
export function entryAround(domain: SelftestPagingDomain, iova: number): Entry {
  const smallest = Number(domain.pageSizes & -domain.pageSizes);
  let entry: Entry = { start: iova - (iova % smallest), length: smallest };
  const physical = domain.physical(entry.start);
  if (physical < 0) return entry;
  const distance = physical - entry.start;
  const longest = longestEntry(domain);
  let { start } = entry;
  for (let length = 2 * smallest; length <= longest; length *= 2) {
    const whole = iova - (iova % length);
    const other = whole === start ? whole + length / 2 : whole;
    if (distance % length !== 0 || !isOnePiece(domain, whole, length)) break;
    if (!leadsTo(domain, other, length / 2, distance)) break;
    start = whole;
    if ((domain.pageSizes & BigInt(length)) !== 0n) entry = { start, length };
  }
  return entry;
}

function longestEntry({ pageSizes, translation }: SelftestPagingDomain): number {
  if (translation instanceof IoPagetable && translation.largePages) return Number(pageSizes);
  return PAGE_SIZE;
}

/** Whether IOVAs belong to one mapping. */
function isOnePiece({ translation }: SelftestPagingDomain, start: number, length: number): boolean {
  // Those of a page of memory that lead to one such page do, or nobody can tell.
  if (length <= PAGE_SIZE || !(translation instanceof IoPagetable)) return true;
  const last = BigInt(start + length - 1);
  return translation.contiguous(BigInt(start), last, (_start, end) => Number(end === last)) === 1;
}

/** Whether IOVAs lead to memory in one piece, at this distance from them. */
function leadsTo(domain: SelftestPagingDomain, start: number, length: number, distance: number): boolean {
  for (let iova = start; iova < start + length; iova += PAGE_SIZE) {
    if (domain.physical(iova) !== iova + distance) return false;
  }
  return true;
}
