// A guest's tables as an IOMMU reads them: words of 64 bits at intermediate physical addresses, which stage 2 translates.
import type { Translation } from '../kernel/driver.js';
import { PAGE_SIZE } from '../memory/backing.js';
import type { PhysicalMemory } from '../memory/physical.js';

/** What became of a load. */
export const FETCH = {
  done: 0,
  /** Stage 2 has nothing readable there. */
  stage2Fault: 1,
  /** Stage 2 leads to where no memory is: an external abort. */
  abort: 2,
} as const;

/** Pages whose place is remembered: a power of two. */
const KEPT = 64;
/** Equal to no page, itself included. */
const NO_PAGE = Number.NaN;
/** Behind the pages of all addresses that hardware has. */
const END_PAGE = 2 ** 40;
/** Offsets of words within a page. */
const WORDS = PAGE_SIZE - 8;

/**
 * Where pages lie is remembered, as hardware's walk caches do; what is in them is not. It is stale when stage 2 changes: who
 * hears of that from the kernel (`PagingDomain.unmapped`) calls `forget()`, and once more before it listens no longer.
 * Stage 2 has pages of 4 KiB at least.
 */
export class TableMemory {
  /** The word that was loaded last, in two halves of 32 bits, each with a sign: such numbers V8 never allocates. */
  low = 0;
  high = 0;
  readonly #physical: PhysicalMemory;
  #stage2: Translation | undefined;
  /** Pages, and the memory that they are; a page's place is its lower bits. */
  readonly #pages = new Float64Array(KEPT).fill(NO_PAGE);
  readonly #words: (Int32Array | undefined)[] = new Array(KEPT).fill(undefined);

  constructor(physical: PhysicalMemory) {
    this.#physical = physical;
  }

  /** The nesting parent's map from the guest's physical addresses to memory; without one every load faults. */
  get stage2(): Translation | undefined {
    return this.#stage2;
  }
  set stage2(stage2: Translation | undefined) {
    if (stage2 === this.#stage2) return;
    this.#stage2 = stage2;
    this.forget();
  }

  /** Stage 2 changed. */
  forget(): void {
    this.#pages.fill(NO_PAGE);
    this.#words.fill(undefined);
  }

  /**
   * Loads the word at an address, which may be any number; its lowest 3 bits count as 0.
   * @returns one of FETCH; `low` and `high` are as before where it is not done
   */
  load(ipa: number): number {
    return this.loadFrom(Math.floor(ipa / PAGE_SIZE), ipa & WORDS);
  }
  /** The same, told as page number and offset within the page, a multiple of 8: numbers that V8 hands over without a copy. */
  loadFrom(page: number, offset: number): number {
    const place = page & (KEPT - 1);
    const words = this.#pages[place] === page ? this.#words[place] : undefined;
    // Memory whose windows were detached is found anew.
    return words === undefined || words.length === 0 ? this.#find(page, offset) : this.#take(words, offset);
  }
  #take(words: Int32Array, offset: number): number {
    const at = offset >>> 2;
    this.low = words[at] ?? 0;
    this.high = words[at + 1] ?? 0;
    return FETCH.done;
  }
  #find(page: number, offset: number): number {
    const stage2 = this.#stage2;
    // Written so that NaN is refused too.
    if (stage2 === undefined || !(page >= 0 && page < END_PAGE)) return FETCH.stage2Fault;
    const frame = stage2.frame(page, false);
    if (frame < 0) return FETCH.stage2Fault;
    const backing = this.#physical.find(frame);
    if (backing === undefined) return FETCH.abort;
    const words = backing.words(backing.pageOf(frame));
    if (words === undefined) return this.#copy(frame, offset);
    const place = page & (KEPT - 1);
    this.#pages[place] = page;
    this.#words[place] = words;
    return this.#take(words, offset);
  }
  /** Of memory that is not at hand there is nothing to remember. */
  #copy(frame: number, offset: number): number {
    if (!this.#physical.loadFrom(frame, offset)) return FETCH.abort;
    this.low = this.#physical.low | 0;
    this.high = this.#physical.high | 0;
    return FETCH.done;
  }
}
