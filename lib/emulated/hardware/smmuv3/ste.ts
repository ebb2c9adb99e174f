// A stream table entry of a guest's, as the driver installs it: what stage 1 does with a stream (SMMUv3 manual, IHI 0070, 5.2).
// Of its eight words of 64 bits these are the first two; stage 2 is the kernel's.
import { SSID_BITS } from './identification.js';

/** S1DSS: what is done with accesses without a SubstreamID where the stream has substreams. */
export const WITHOUT_SUBSTREAM = { terminate: 0, bypass: 1, substream0: 2 } as const;

// Word 0, its lower and its upper half.
const FORMAT_SHIFT = 4;
const FORMAT_MASK = 3;
const CONTEXT_POINTER_LOW = ~63;
const CONTEXT_POINTER_HIGH = 0xf_ffff;
const SUBSTREAMS_SHIFT = 27;
// Word 1, its lower half.
const DEFAULT_MASK = 3;
const STALL_DISABLED = 1 << 27;
const ATS_SHIFT = 28;
const ATS_MASK = 3;
/** EATS: translation requests are answered with what both stages make of them. */
const ATS_FULL = 1;

const HIGH = 2 ** 32;
/** S1Fmt: bits of a SubstreamID that the second level of a table has; 0 for a table of one level. Fmt 3 is as 0. */
const LEAF_BITS = [0, 6, 10, 0] as const;

export interface Ste {
  /** What it says is not possible here: C_BAD_STE. */
  readonly illegal: boolean;
  /** Where the context descriptor or the table of them lies: an intermediate physical address. */
  readonly contextPointer: number;
  /** There are two to this many context descriptors; 0 for a stream without substreams. */
  readonly substreamBits: number;
  /** Two to this many are in one second-level table; 0 where there is one level. */
  readonly leafBits: number;
  /** One of WITHOUT_SUBSTREAM. */
  readonly withoutSubstream: number;
  /** Contexts must not let faults stall. */
  readonly stallDisabled: boolean;
  readonly ats: boolean;
}

/** @param words the first two words of 64 bits, as four of 32 */
export function decodeSte(words: Uint32Array): Ste {
  const [low0 = 0, high0 = 0, low1 = 0] = words;
  const substreamBits = high0 >>> SUBSTREAMS_SHIFT;
  const format = (low0 >>> FORMAT_SHIFT) & FORMAT_MASK;
  return {
    illegal: substreamBits > SSID_BITS,
    contextPointer: (high0 & CONTEXT_POINTER_HIGH) * HIGH + ((low0 & CONTEXT_POINTER_LOW) >>> 0),
    substreamBits,
    leafBits: substreamBits === 0 ? 0 : (LEAF_BITS[format] ?? 0),
    withoutSubstream: low1 & DEFAULT_MASK,
    stallDisabled: (low1 & STALL_DISABLED) !== 0,
    ats: ((low1 >>> ATS_SHIFT) & ATS_MASK) === ATS_FULL,
  };
}
