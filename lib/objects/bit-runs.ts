// Bitmaps as the kernel fills them: bit n of the whole is bit n % 32 of word n / 32.

/** Neighbouring bits that are set. */
export interface BitRun {
  readonly first: number;
  readonly count: number;
}

/** Runs of set bits among `bits` bits that start with bit 0 of word `word`, in order. */
export function* bitRuns(words: Uint32Array, word: number, bits: number): Generator<BitRun, void, undefined> {
  let first = -1;
  for (let bit = 0; bit < bits; bit++) {
    const value = words[word + (bit >>> 5)] ?? 0;
    if ((bit & 31) === 0 && value === (first < 0 ? 0 : 0xffff_ffff)) {
      bit += 31;
      continue;
    }
    const set = ((value >>> (bit & 31)) & 1) === 1;
    if (set && first < 0) first = bit;
    if (!set && first >= 0) {
      yield { first, count: bit - first };
      first = -1;
    }
  }
  if (first >= 0) yield { first, count: bits - first };
}
