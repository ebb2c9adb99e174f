// A context descriptor: a guest's address space, with the tables of its two halves (SMMUv3 manual, IHI 0070, 5.4).
import type { Regime } from '../armv8/regime.js';
import { ADDRESS_BITS } from './identification.js';

/** Of a descriptor's 64 bytes the words that matter to DMA: what each half of three words of 64 bits holds. */
export interface ContextWords {
  readonly low0: number;
  readonly high0: number;
  readonly low1: number;
  readonly high1: number;
  readonly low2: number;
  readonly high2: number;
}

export interface ContextDescriptor {
  readonly asid: number;
  /** Of the two halves of addresses; undefined where the half is switched off. */
  readonly lower: Regime | undefined;
  readonly upper: Regime | undefined;
  /** Faults stall the access (CD.S). */
  readonly stalls: boolean;
  /** Faults are recorded (CD.R). */
  readonly records: boolean;
}

// Word 0, its lower half: two halves of 16 bits, of which each is about one half of addresses.
const UPPER_SHIFT = 16;
const SIZE_MASK = 63;
const GRANULE_SHIFT = 6;
const GRANULE_MASK = 3;
const WALKS_DISABLED = 1 << 14;
const BIG_ENDIAN = 1 << 15;
const VALID = 1 << 31;
// Word 0, its upper half.
const OUTPUT_MASK = 7;
const NO_ACCESS_FAULTS = 1 << 3;
const TOP_BYTE_SHIFT = 6;
const AARCH64 = 1 << 9;
const WRITES_DIRTY = 1 << 10;
const WRITES_ACCESSED = 1 << 11;
const STALLS = 1 << 12;
const RECORDS = 1 << 13;
const ABORTS = 1 << 14;
const ASID_SHIFT = 16;
// Words 1 and 2: their lower halves, and the upper ones.
const HIERARCHY_DISABLED = 1 << 1;
const TABLE_LOW = ~15;
const TABLE_HIGH = 0xf_ffff;

const HIGH = 2 ** 32;
const INPUT_BITS = 64;
/** T0SZ and T1SZ, without small tables (IDR3.STT) and long addresses (IDR5.VAX). */
const MIN_SIZE = 16;
const MAX_SIZE = 39;
/** By TG0 and by TG1, which differ; undefined is reserved. */
const LOWER_GRANULES = [12, 16, 14, undefined] as const;
const UPPER_GRANULES = [undefined, 14, 12, 16] as const;
/** By IPS; the last one is reserved, and as much as there is. */
const OUTPUT_BITS = [32, 36, 40, 42, 44, 48, 52, 52] as const;

/**
 * Reads a descriptor; undefined where it is invalid or asks for what there is not: C_BAD_CD.
 * @param stallDisabled the stream's STE.S1STALLD
 */
export function decodeContext(words: ContextWords, stallDisabled: boolean): ContextDescriptor | undefined {
  const { low0, high0 } = words;
  if (!isPossible(low0, high0, stallDisabled)) return undefined;
  const lower = decodeHalf(words, false);
  const upper = decodeHalf(words, true);
  if (lower === null || upper === null) return undefined;
  return {
    asid: high0 >>> ASID_SHIFT,
    lower,
    upper,
    stalls: (high0 & STALLS) !== 0,
    records: (high0 & RECORDS) !== 0,
  };
}

function isPossible(low0: number, high0: number, stallDisabled: boolean): boolean {
  if ((low0 & VALID) === 0 || (high0 & AARCH64) === 0) return false;
  // IDR0.TERM_MODEL says that what is terminated is aborted: to read zeros and ignore writes is not to be had (A = 0).
  if ((high0 & ABORTS) === 0) return false;
  if (stallDisabled && (high0 & STALLS) !== 0) return false;
  // IDR0.HTTU is 0.
  return (high0 & (WRITES_DIRTY | WRITES_ACCESSED)) === 0;
}

/** The half's tables; undefined where it is switched off (EPD0, EPD1), null where it cannot be. */
function decodeHalf(words: ContextWords, high: boolean): Regime | undefined | null {
  const fields = high ? words.low0 >>> UPPER_SHIFT : words.low0;
  if ((fields & WALKS_DISABLED) !== 0) return undefined;
  // IDR0.TTENDIAN: there are no other tables.
  if ((words.low0 & BIG_ENDIAN) !== 0) return null;
  const size = fields & SIZE_MASK;
  const granule = (high ? UPPER_GRANULES : LOWER_GRANULES)[(fields >>> GRANULE_SHIFT) & GRANULE_MASK];
  const outputBits = Math.min(OUTPUT_BITS[words.high0 & OUTPUT_MASK] ?? 0, ADDRESS_BITS);
  const low = high ? words.low2 : words.low1;
  const table = ((high ? words.high2 : words.high1) & TABLE_HIGH) * HIGH + ((low & TABLE_LOW) >>> 0);
  if (size < MIN_SIZE || size > MAX_SIZE || granule === undefined || table >= 2 ** outputBits) return null;
  return {
    granule,
    inputBits: INPUT_BITS - size,
    table,
    outputBits,
    accessFlagFaults: (words.high0 & NO_ACCESS_FAULTS) === 0,
    hierarchical: (low & HIERARCHY_DISABLED) === 0,
    topByteIgnored: ((words.high0 >>> TOP_BYTE_SHIFT) & (high ? 2 : 1)) !== 0,
  };
}
