// Which pages were written: bits by page number, in chunks that exist only where something was written. The pages are
// of any size, the owner's smallest ones.

/** Bits of a chunk, in 4 KiB of memory. */
const CHUNK_SHIFT = 15;
const CHUNK_BITS = 2 ** CHUNK_SHIFT;
const WORD_SHIFT = 5;
const WORDS = CHUNK_BITS >>> WORD_SHIFT;

/** Sets or clears the bits first .. last of a chunk. */
function fill(words: Uint32Array, first: number, last: number, set: boolean): void {
  const firstWord = first >>> WORD_SHIFT;
  const lastWord = last >>> WORD_SHIFT;
  for (let word = firstWord; word <= lastWord; word++) {
    const from = word === firstWord ? 0xffff_ffff << (first & 31) : 0xffff_ffff;
    const to = word === lastWord ? 0xffff_ffff >>> (31 - (last & 31)) : 0xffff_ffff;
    const old = words[word] ?? 0;
    words[word] = set ? old | (from & to) : old & ~(from & to);
  }
}

/** The first bit that is set from `bit` on; -1 where there is none. */
function firstSet(words: Uint32Array, bit: number): number {
  let word = bit >>> WORD_SHIFT;
  let bits = (words[word] ?? 0) & (0xffff_ffff << (bit & 31));
  while (bits === 0) {
    if (++word === WORDS) return -1;
    bits = words[word] ?? 0;
  }
  return (word << WORD_SHIFT) + 31 - Math.clz32(bits & -bits);
}

export class DirtyPages {
  readonly #chunks = new Map<number, Uint32Array>();

  /** Nothing was written, or all of it is forgotten. */
  get empty(): boolean {
    return this.#chunks.size === 0;
  }

  /** Pages first .. last were written. */
  add(first: number, last: number): void {
    for (let page = first; page <= last; ) {
      const chunk = Math.floor(page / CHUNK_BITS);
      const end = Math.min(last, (chunk + 1) * CHUNK_BITS - 1);
      let words = this.#chunks.get(chunk);
      if (words === undefined) {
        words = new Uint32Array(WORDS);
        this.#chunks.set(chunk, words);
      }
      fill(words, page % CHUNK_BITS, end % CHUNK_BITS, true);
      page = end + 1;
    }
  }

  /** Forgets pages first .. last; what costs time is what was written, not the length of the range. */
  remove(first: number, last: number): void {
    for (const chunk of this.#between(first, last)) {
      const start = chunk * CHUNK_BITS;
      if (first <= start && start + CHUNK_BITS - 1 <= last) {
        this.#chunks.delete(chunk);
        continue;
      }
      const words = this.#chunks.get(chunk);
      const from = Math.max(first, start) - start;
      const to = Math.min(last, start + CHUNK_BITS - 1) - start;
      if (words !== undefined) fill(words, from, to, false);
    }
  }

  /** The first page from `first` to `last` that was written; -1 where there is none. */
  next(first: number, last: number): number {
    const near = Math.floor(first / CHUNK_BITS);
    let page = this.#nextIn(near, first);
    if (page < 0) {
      for (const chunk of this.#between((near + 1) * CHUNK_BITS, last)) {
        page = this.#nextIn(chunk, chunk * CHUNK_BITS);
        if (page >= 0) break;
      }
    }
    return page <= last ? page : -1;
  }
  #nextIn(chunk: number, first: number): number {
    const words = this.#chunks.get(chunk);
    const bit = words === undefined ? -1 : firstSet(words, first - chunk * CHUNK_BITS);
    return bit < 0 ? -1 : chunk * CHUNK_BITS + bit;
  }

  /** The chunks there are for a range, in order. */
  #between(first: number, last: number): number[] {
    const from = Math.floor(first / CHUNK_BITS);
    const to = Math.floor(last / CHUNK_BITS);
    if (from === to) return this.#chunks.has(from) ? [from] : [];
    return [...this.#chunks.keys()].filter((chunk) => from <= chunk && chunk <= to).sort((a, b) => a - b);
  }
}
