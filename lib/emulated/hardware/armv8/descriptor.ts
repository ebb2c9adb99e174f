// Descriptors in Armv8-A's stage-1 tables: words of 64 bits, as two halves (Arm DDI 0487, D8.3). Bits that are not here mean
// nothing to DMA, or are hints: caching, execution, contiguous pages, software's own.
import type { Regime } from './regime.js';

/** Page numbers are of 4 KiB, whatever the granule: bits of an address within a page. */
export const PAGE_BITS = 12;

// Bits of the lower half.

export const VALID = 1 << 0;
/** It leads to a table, or at the last level to a page; without it, to a block. */
export const TABLE_OR_PAGE = 1 << 1;
/** AP[1]: unprivileged accesses may do what privileged ones may. */
export const UNPRIVILEGED = 1 << 6;
/** AP[2] */
export const READ_ONLY = 1 << 7;
export const ACCESSED = 1 << 10;
export const NOT_GLOBAL = 1 << 11;
/** Where the attributes of a leaf are: below its address. */
export const LEAF_ATTRIBUTES = 0xffc;

// Bits of the upper half in descriptors of tables, for all that lies below: bits 61 and 62 of the word.

/** APTable[0] */
export const TABLE_PRIVILEGED = 1 << 29;
/** APTable[1] */
export const TABLE_READ_ONLY = 1 << 30;

export const DESCRIPTOR_BYTES = 8;
const DESCRIPTOR_BITS = 3;
/** Levels are counted towards the pages: the last one has these alone. */
export const LAST_LEVEL = 3;

const SMALL_GRANULE = 12;
const LARGE_GRANULE = 16;
const LARGE_OUTPUT_BITS = 52;
/** Bits 47 to 32 of an address, in the upper half; and what the lowest of them counts in pages. */
const UPPER_ADDRESS = 0xffff;
const UPPER_PAGES = 2 ** (32 - PAGE_BITS);
/** Bits 51 to 48 of an address, where there are any: bits 15 to 12 of the descriptor. */
const TOP_ADDRESS_BIT = 12;
const TOP_ADDRESS = 15;
const TOP_PAGES = 2 ** (48 - PAGE_BITS);

/** Bits of an address that choose a descriptor in a table, which is as large as the smallest page. */
export function tableIndexBits(granule: number): number {
  return granule - DESCRIPTOR_BITS;
}

function hasLargeAddresses({ granule, outputBits }: Regime): boolean {
  return granule === LARGE_GRANULE && outputBits === LARGE_OUTPUT_BITS;
}

/** Whether descriptors of this level may lead to blocks: of 2 MiB, 32 MiB, 512 MiB; of 1 GiB, and of 4 TiB. */
export function hasBlocks(regime: Regime, level: number): boolean {
  return level === 2 || (level === 1 && (regime.granule === SMALL_GRANULE || hasLargeAddresses(regime)));
}

/** The page number that a descriptor holds: of a table, of a page, or of anything in a block. */
export function pageIn(low: number, high: number, regime: Regime): number {
  const page = (high & UPPER_ADDRESS) * UPPER_PAGES + ((low & (-1 << regime.granule)) >>> PAGE_BITS);
  return hasLargeAddresses(regime) ? page + ((low >>> TOP_ADDRESS_BIT) & TOP_ADDRESS) * TOP_PAGES : page;
}
