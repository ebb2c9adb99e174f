// The mappings of an IOAS (struct iopt_area): columns by slot, found by IOVA. IOVAs are 64 bits and, while no page table
// exists, need no alignment: they are kept as a page number, which a double holds, and an offset within that page.
import { IovaIndex } from './iova-index.js';
import { grown, Slots } from './slots.js';

/** May be read, may be written: as the map ioctls' flags have it. */
export const READ = 1;
export const WRITE = 2;

const PAGE = 4096n;

/** Hints where areas are found again, by the IOVAs' 2 MiB: a power of two. */
const HINTS = 256;
const HINT_PAGES = 512;

export class Areas {
  startPage = new Float64Array(0);
  startOffset = new Uint16Array(0);
  lastPage = new Float64Array(0);
  lastOffset = new Uint16Array(0);
  /** Its pages, by their slot; which of them it starts with, and how many bytes into that. */
  pages = new Int32Array(0);
  firstIndex = new Float64Array(0);
  pageOffset = new Uint16Array(0);
  rights = new Uint8Array(0);
  /** Pins through accesses; those of them that unmapping must not disturb. */
  accesses = new Int32Array(0);
  locks = new Int32Array(0);
  /** Being unmapped: accesses must let go. */
  refusing = new Uint8Array(0);
  readonly #slots = new Slots();
  readonly #index = new IovaIndex(this);
  /** Slots that were found: an area is still there where its columns say so. */
  readonly #hints = new Int32Array(HINTS).fill(-1);

  get size(): number {
    return this.#index.size;
  }

  /** A slot whose columns are to be set before `insert`. */
  take(): number {
    if (this.#slots.isFull) this.#grow(this.#slots.grow());
    const slot = this.#slots.take();
    this.accesses[slot] = 0;
    this.locks[slot] = 0;
    this.refusing[slot] = 0;
    return slot;
  }
  give(slot: number): void {
    this.#slots.give(slot);
  }
  insert(slot: number): void {
    this.#index.insert(slot);
  }
  /** Takes an area out, and gives its slot back. */
  remove(slot: number): void {
    this.#index.remove(slot);
    // Nothing lies in it: hints to it lead nowhere.
    this.lastPage[slot] = -1;
    this.#slots.give(slot);
  }

  /** The area that an IOVA lies in; -1 for none. */
  at(page: number, offset: number): number {
    const at = (page / HINT_PAGES) & (HINTS - 1);
    const hint = this.#hints[at] ?? -1;
    if (hint >= 0 && !this.startsAfter(hint, page, offset) && !this.endsBefore(hint, page, offset)) return hint;
    const slot = this.#index.atOrBefore(page, offset);
    if (slot < 0 || this.endsBefore(slot, page, offset)) return -1;
    this.#hints[at] = slot;
    return slot;
  }
  /** The first area that reaches an IOVA or lies behind it; -1 for none. */
  from(page: number, offset: number): number {
    const slot = this.at(page, offset);
    return slot >= 0 ? slot : this.#index.after(page, offset);
  }
  /** The last area that starts at or before an IOVA; -1 for none. */
  before(page: number, offset: number): number {
    return this.#index.atOrBefore(page, offset);
  }
  /** Whether any area lies in a range. */
  touches(page: number, offset: number, lastPage: number, lastOffset: number): boolean {
    if (this.at(page, offset) >= 0) return true;
    const next = this.#index.pageAfter(page, offset);
    return (
      next < lastPage || (next === lastPage && !this.startsAfter(this.#index.after(page, offset), lastPage, lastOffset))
    );
  }
  /** The area behind another one; -1 for none. */
  next(slot: number): number {
    return this.#index.after(this.startPage[slot] ?? 0, this.startOffset[slot] ?? 0);
  }
  first(): number {
    return this.from(0, 0);
  }

  endsBefore(slot: number, page: number, offset: number): boolean {
    const last = this.lastPage[slot] ?? 0;
    return last < page || (last === page && (this.lastOffset[slot] ?? 0) < offset);
  }
  startsAfter(slot: number, page: number, offset: number): boolean {
    const start = this.startPage[slot] ?? 0;
    return start > page || (start === page && (this.startOffset[slot] ?? 0) > offset);
  }

  /** The first and last IOVA, for what is not hot. */
  startOf(slot: number): bigint {
    return BigInt(this.startPage[slot] ?? 0) * PAGE + BigInt(this.startOffset[slot] ?? 0);
  }
  lastOf(slot: number): bigint {
    return BigInt(this.lastPage[slot] ?? 0) * PAGE + BigInt(this.lastOffset[slot] ?? 0);
  }
  /** How many bytes into its pages an IOVA of an area lies. */
  byteOf(slot: number, iova: bigint): bigint {
    const start = BigInt(this.firstIndex[slot] ?? 0) * PAGE + BigInt(this.pageOffset[slot] ?? 0);
    return start + iova - this.startOf(slot);
  }
  /** The last of its pages. */
  lastIndex(slot: number): number {
    return Number(this.byteOf(slot, this.lastOf(slot)) / PAGE);
  }

  #grow(capacity: number): void {
    this.startPage = grown(this.startPage, capacity);
    this.startOffset = grown(this.startOffset, capacity);
    this.lastPage = grown(this.lastPage, capacity);
    this.lastOffset = grown(this.lastOffset, capacity);
    this.pages = grown(this.pages, capacity);
    this.firstIndex = grown(this.firstIndex, capacity);
    this.pageOffset = grown(this.pageOffset, capacity);
    this.rights = grown(this.rights, capacity);
    this.accesses = grown(this.accesses, capacity);
    this.locks = grown(this.locks, capacity);
    this.refusing = grown(this.refusing, capacity);
  }
}
