// The fast path in front of a TLB and of the page tables behind one another: whole translations, of single pages, from what a
// device says to physical memory. All of it is forgotten when anything is invalidated, so that it never knows more than the
// TLB behind it.
import { PERMIT } from './tlb.js';

/** A power of two. */
const ENTRIES = 1024;

// An entry is so many numbers, half a cache line.
const STRIDE = 4;
const PAGE = 0;
/** Whose it is, and since when: for another tag, or from before the last `forget`, it means nothing. */
const STAMP = 1;
/** The physical page, for reading and for writing; or NONE. */
const READ = 2;
const WRITE = 3;

const NONE = -1;
/** Stamps: tags are of 32 bits with a sign, generations of 20. */
const GENERATION = 2 ** 32;
const LAST_GENERATION = GENERATION * 2 ** 20;

export class MicroTlb {
  readonly #entries = new Float64Array(ENTRIES * STRIDE);
  #generation = GENERATION;

  /** The physical page behind a page, for this kind of access; -1 where it is not known. */
  find(tag: number, page: number, write: boolean): number {
    const entries = this.#entries;
    const at = ((page ^ tag) & (ENTRIES - 1)) * STRIDE;
    if (entries[at + PAGE] !== page || entries[at + STAMP] !== this.#generation + tag) return NONE;
    return entries[at + (write ? WRITE : READ)] ?? NONE;
  }

  /** Keeps a translation to a physical page; permissions are bits of PERMIT. */
  insert(tag: number, page: number, frame: number, permissions: number): void {
    const entries = this.#entries;
    const at = ((page ^ tag) & (ENTRIES - 1)) * STRIDE;
    const stamp = this.#generation + tag;
    if (entries[at + PAGE] !== page || entries[at + STAMP] !== stamp) {
      entries[at + PAGE] = page;
      entries[at + STAMP] = stamp;
      entries[at + READ] = NONE;
      entries[at + WRITE] = NONE;
    }
    if ((permissions & PERMIT.read) !== 0) entries[at + READ] = frame;
    if ((permissions & PERMIT.write) !== 0) entries[at + WRITE] = frame;
  }

  /** Forgets everything. */
  forget(): void {
    this.#generation += GENERATION;
    if (this.#generation < LAST_GENERATION) return;
    this.#generation = GENERATION;
    this.#entries.fill(0);
  }
}
