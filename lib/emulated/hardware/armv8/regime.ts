// One half of a context's addresses, and how it is translated: what a TTBR and its part of a TCR are to a CPU, and TTB0 or
// TTB1 with its fields to a context descriptor (Arm DDI 0487, D8; SMMUv3 manual, IHI 0070, 5.4).
import { LAST_LEVEL, PAGE_BITS, tableIndexBits } from './descriptor.js';
import { power } from './power.js';

/** Plain data, made when a context descriptor is read. Values that there are not make walks fault, and do no harm. */
export interface Regime {
  /** The smallest page, as log2 of bytes: CD.TG0, TG1. */
  readonly granule: 12 | 14 | 16;
  /** Bits of an address that are translated, 64 - CD.T0SZ, T1SZ: 16 to 48, and to 52 with the granule of 64 KiB. */
  readonly inputBits: number;
  /** The table that walks start with, an intermediate physical address: CD.TTB0, TTB1. Bits below its own size count as 0. */
  readonly table: number;
  /**
   * Bits of the addresses that are translated to, and of the tables' own: the effective CD.IPS, 32 to 52. With 52, the
   * granule of 64 KiB has addresses of 52 bits and blocks of 4 TiB; with less, its descriptors' bits 15 to 12 mean nothing.
   * Other granules have addresses of 48 bits at most.
   */
  readonly outputBits: number;
  /**
   * A leaf that was never accessed faults: CD.AFFD is 0. Tables are not written: an SMMU with such walks tells IDR0.HTTU 0,
   * with which CD.HA and HD, and the descriptors' DBM, mean nothing.
   */
  readonly accessFlagFaults: boolean;
  /** Descriptors of tables restrict what lies below them: CD.HAD0, HAD1 is 0. */
  readonly hierarchical: boolean;
  /** Bits 63 to 56 are no part of the address: this half's bit of CD.TBI. */
  readonly topByteIgnored: boolean;
}

const MIN_INPUT_BITS = 16;
const MAX_INPUT_BITS = 48;
const MAX_LARGE_INPUT_BITS = 52;
const ADDRESS_BITS = 64;
const BITS_BELOW_TOP_BYTE = 56;
/** Bit 55 of an address, in its page number. */
const HALF = 2 ** (55 - PAGE_BITS);

/** Which half an address belongs to: bit 55 tells, whether the top byte counts or not. */
export function inUpperHalf(page: number): boolean {
  return Math.floor(page / HALF) % 2 === 1;
}

/** Whether an address is one that is translated: the bits above are all 0 in the lower half, and all 1 in the upper one. */
export function isTranslated(regime: Regime, page: number, high: boolean): boolean {
  const { inputBits } = regime;
  const most = regime.granule === 16 ? MAX_LARGE_INPUT_BITS : MAX_INPUT_BITS;
  if (inputBits < MIN_INPUT_BITS || inputBits > most) return false;
  const end = power((regime.topByteIgnored ? BITS_BELOW_TOP_BYTE : ADDRESS_BITS) - PAGE_BITS);
  const place = page - Math.floor(page / end) * end;
  const pages = power(inputBits - PAGE_BITS);
  return high ? place >= end - pages : place < pages;
}

/** Where walks start: with as many levels as the bits need, and one at least. */
export function firstLevel({ inputBits, granule }: Regime): number {
  return LAST_LEVEL + 1 - Math.max(1, Math.ceil((inputBits - granule) / tableIndexBits(granule)));
}
