// The two descriptors by which a guest says how its device's accesses are translated, as fields and as words: its stream
// table entry, of which Linux takes the first two words, and its context descriptor (SMMUv3 manual, IHI 0070, 5.2 and 5.4).

/** The virtual StreamID, which the guest usually knows its device by. */
export const STREAM = 7;

/** A number that goes into some bits of a 64-bit word. */
type Field = number | bigint | boolean;
/** Where it goes: which word, the lowest bit, and how many. */
type Place = readonly [word: number, low: number, width: number];

function pack<F extends string>(places: Readonly<Record<F, Place>>, fields: Readonly<Record<F, Field>>, words: number) {
  const packed = Array.from({ length: words }, () => 0n);
  for (const [name, [word, low, width]] of Object.entries<Place>(places)) {
    const value = BigInt(fields[name as F]);
    packed[word] = (packed[word] ?? 0n) | ((value & ((1n << BigInt(width)) - 1n)) << BigInt(low));
  }
  return packed;
}

const STE = {
  valid: [0, 0, 1],
  config: [0, 1, 3],
  /** How its context descriptors are laid out: 0 in a row, 1 two levels with leaves of 4 KiB, 2 of 64 KiB. */
  format: [0, 4, 2],
  /** Bits 51 to 6 of where they are. */
  contexts: [0, 6, 46],
  /** How many there are: 2 to this power. */
  contextsLog2: [0, 59, 5],
  /** What becomes of accesses without a SubstreamID where there are several: 0 refused, 1 let through, 2 as those with 0. */
  withoutSubstream: [1, 0, 2],
  innerCache: [1, 2, 2],
  outerCache: [1, 4, 2],
  shareability: [1, 6, 2],
  stallDisabled: [1, 27, 1],
  ats: [1, 28, 2],
} as const satisfies Record<string, Place>;

export type SteFields = Readonly<Record<keyof typeof STE, Field>>;

/** STE.Config: what a guest may say. */
export const CONFIG = { abort: 0, bypass: 4, translate: 5 } as const;

const NO_STE = Object.fromEntries(Object.keys(STE).map((name) => [name, 0])) as SteFields;

/** The first two words of a stream table entry. */
export function steWords(fields: Partial<SteFields>): readonly [bigint, bigint] {
  const contexts = BigInt(fields.contexts ?? 0) >> 6n;
  const [first = 0n, second = 0n] = pack(STE, { ...NO_STE, valid: 1, ...fields, contexts }, 2);
  return [first, second];
}

const CONTEXT = {
  t0sz: [0, 0, 6],
  tg0: [0, 6, 2],
  ir0: [0, 8, 2],
  or0: [0, 10, 2],
  sh0: [0, 12, 2],
  /** No walks through TTB0. */
  epd0: [0, 14, 1],
  bigEndian: [0, 15, 1],
  t1sz: [0, 16, 6],
  tg1: [0, 22, 2],
  ir1: [0, 24, 2],
  or1: [0, 26, 2],
  sh1: [0, 28, 2],
  epd1: [0, 30, 1],
  valid: [0, 31, 1],
  /** How large addresses that tables give may be: 0 for 32 bits, 2 for 40, 5 for 48. */
  ips: [0, 32, 3],
  /** Descriptors whose access flag is clear are taken all the same. */
  affd: [0, 35, 1],
  tbi0: [0, 38, 1],
  tbi1: [0, 39, 1],
  aarch64: [0, 41, 1],
  setsDirty: [0, 42, 1],
  setsAccessed: [0, 43, 1],
  stall: [0, 44, 1],
  /** Faults are told. */
  record: [0, 45, 1],
  /** What faults is answered with an abort. */
  abort: [0, 46, 1],
  asidSet: [0, 47, 1],
  asid: [0, 48, 16],
  /** What tables say of those below them is not heeded. */
  had0: [1, 1, 1],
  ttb0: [1, 4, 48],
  had1: [2, 1, 1],
  ttb1: [2, 4, 48],
  mair: [3, 0, 64],
} as const satisfies Record<string, Place>;

export type ContextFields = Readonly<Record<keyof typeof CONTEXT, Field>>;

/** Bytes of a context descriptor. */
export const CONTEXT_SIZE = 64;

const NO_CONTEXT = Object.fromEntries(Object.keys(CONTEXT).map((name) => [name, 0])) as ContextFields;
/** Tables through cached, shared memory; one of them, since the other half is off; 40-bit addresses; faults are told. */
const USUAL_CONTEXT: ContextFields = {
  ...NO_CONTEXT,
  ...{ ir0: 1, or0: 1, sh0: 3, ir1: 1, or1: 1, sh1: 3, epd1: 1 },
  ...{ valid: 1, ips: 2, aarch64: 1, record: 1, abort: 1, asidSet: 1, asid: 1, mair: 0xff },
};

/** The words of a context descriptor: a usual one, but for these fields. */
export function contextWords(fields: Partial<ContextFields>): readonly bigint[] {
  const [ttb0, ttb1] = [BigInt(fields.ttb0 ?? 0) >> 4n, BigInt(fields.ttb1 ?? 0) >> 4n];
  return pack(CONTEXT, { ...USUAL_CONTEXT, ...fields, ttb0, ttb1 }, CONTEXT_SIZE / 8);
}
