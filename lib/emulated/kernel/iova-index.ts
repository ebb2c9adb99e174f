// Slots of areas sorted by the IOVA they start at, for millions of them: blocks of sorted entries, and a sorted list of the
// blocks. A search is two binary searches in typed arrays; the place it ends at is remembered, so that looking and then
// inserting or removing there is one search. All blocks lie in two arrays: with a million entries it is the number of places
// in memory to look at that counts.
import { grown } from './slots.js';

const BLOCK = 32;
/** A block this empty joins the one before it, where there is room. */
const SPARSE = BLOCK / 4;

/** Where areas start, by slot: an IOVA as its page number and the offset within the page. */
export interface Starts {
  startPage: Float64Array;
  startOffset: Uint16Array;
}

export class IovaIndex {
  readonly #starts: Starts;
  /** Entries of block b from b * BLOCK on: the pages of the starts, beside the slots. Most searches need no more. */
  #pages = new Float64Array(0);
  #slots = new Int32Array(0);
  /** By block: how many entries it has. */
  #counts = new Uint8Array(0);
  /** Blocks that are not in use. */
  readonly #free: number[] = [];
  #made = 0;
  /** The blocks in the order of their entries, and the page of each one's first entry. */
  #order = new Int32Array(8);
  #firsts = new Float64Array(8);
  #blocks = 0;
  #size = 0;
  /** What was sought last; its block's place in the order, and its entry; nothing was after a change. */
  #soughtPage = -1;
  #soughtOffset = 0;
  #rank = -1;
  #entry = -1;

  constructor(starts: Starts) {
    this.#starts = starts;
  }

  get size(): number {
    return this.#size;
  }

  /** The slot of the last area that starts at or before an IOVA; -1 where none does. */
  atOrBefore(page: number, offset: number): number {
    this.#seek(page, offset);
    return this.#entry < 0 ? -1 : (this.#slots[this.#entry] ?? -1);
  }
  /** The slot of the first area that starts behind an IOVA; -1 where none does. */
  after(page: number, offset: number): number {
    this.#seek(page, offset);
    const entry = this.#entryAfter();
    return entry < 0 ? -1 : (this.#slots[entry] ?? -1);
  }
  /** The page that the first area behind an IOVA starts in; infinity where none does. */
  pageAfter(page: number, offset: number): number {
    this.#seek(page, offset);
    const entry = this.#entryAfter();
    return entry < 0 ? Number.POSITIVE_INFINITY : (this.#pages[entry] ?? 0);
  }
  #entryAfter(): number {
    const rank = this.#rank;
    if (rank >= 0) {
      const block = this.#order[rank] ?? 0;
      const next = this.#entry + 1;
      if (next < block * BLOCK + (this.#counts[block] ?? 0)) return next;
    }
    return rank + 1 < this.#blocks ? (this.#order[rank + 1] ?? 0) * BLOCK : -1;
  }

  /** Adds an area; its start is that of its slot. */
  insert(slot: number): void {
    const page = this.#starts.startPage[slot] ?? 0;
    this.#seek(page, this.#starts.startOffset[slot] ?? 0);
    this.#soughtPage = -1;
    this.#size++;
    if (this.#blocks === 0) this.#addBlock(0);
    const rank = Math.max(0, this.#rank);
    const block = this.#order[rank] ?? 0;
    const place = this.#rank < 0 ? 0 : this.#entry + 1 - block * BLOCK;
    if ((this.#counts[block] ?? 0) < BLOCK) this.#put(rank, place, page, slot);
    else this.#putInFull(rank, place, page, slot);
  }
  /** Into a block with room. */
  #put(rank: number, place: number, page: number, slot: number): void {
    const block = this.#order[rank] ?? 0;
    const at = block * BLOCK + place;
    const pages = this.#pages;
    const slots = this.#slots;
    const count = this.#counts[block] ?? 0;
    // A loop, since for so few entries copyWithin takes longer.
    for (let i = block * BLOCK + count; i > at; i--) {
      pages[i] = pages[i - 1] ?? 0;
      slots[i] = slots[i - 1] ?? 0;
    }
    pages[at] = page;
    slots[at] = slot;
    this.#counts[block] = count + 1;
    if (place === 0) this.#firsts[rank] = page;
  }
  /** Filled from low to high, blocks stay full; elsewhere a full one is split in the middle. */
  #putInFull(rank: number, place: number, page: number, slot: number): void {
    this.#addBlock(rank + 1);
    if (place === BLOCK) {
      this.#put(rank + 1, 0, page, slot);
      return;
    }
    this.#move(rank, rank + 1, BLOCK / 2);
    this.#firsts[rank + 1] = this.#pages[(this.#order[rank + 1] ?? 0) * BLOCK] ?? 0;
    if (place <= BLOCK / 2) this.#put(rank, place, page, slot);
    else this.#put(rank + 1, place - BLOCK / 2, page, slot);
  }

  remove(slot: number): void {
    this.#seek(this.#starts.startPage[slot] ?? 0, this.#starts.startOffset[slot] ?? 0);
    if (this.#entry < 0) throw new Error('this area is not in the index');
    this.#soughtPage = -1;
    this.#size--;
    const rank = this.#rank;
    const block = this.#order[rank] ?? 0;
    const pages = this.#pages;
    const slots = this.#slots;
    const count = (this.#counts[block] ?? 0) - 1;
    const last = block * BLOCK + count;
    for (let i = this.#entry; i < last; i++) {
      pages[i] = pages[i + 1] ?? 0;
      slots[i] = slots[i + 1] ?? 0;
    }
    this.#counts[block] = count;
    this.#firsts[rank] = pages[block * BLOCK] ?? 0;
    if (count < SPARSE) this.#shrink(rank, block, count);
  }
  #shrink(rank: number, block: number, count: number): void {
    const before = rank > 0 ? (this.#counts[this.#order[rank - 1] ?? 0] ?? 0) : BLOCK;
    if (before + count <= BLOCK - SPARSE) this.#move(rank, rank - 1, 0);
    if ((this.#counts[block] ?? 0) > 0) return;
    this.#free.push(block);
    this.#order.copyWithin(rank, rank + 1, this.#blocks);
    this.#firsts.copyWithin(rank, rank + 1, this.#blocks);
    this.#blocks--;
  }
  /** Moves the entries of a block from a place on behind those of another one. */
  #move(rank: number, toRank: number, place: number): void {
    const from = this.#order[rank] ?? 0;
    const to = this.#order[toRank] ?? 0;
    const count = this.#counts[from] ?? 0;
    const room = this.#counts[to] ?? 0;
    this.#pages.copyWithin(to * BLOCK + room, from * BLOCK + place, from * BLOCK + count);
    this.#slots.copyWithin(to * BLOCK + room, from * BLOCK + place, from * BLOCK + count);
    this.#counts[to] = room + count - place;
    this.#counts[from] = place;
  }
  #addBlock(rank: number): void {
    const block = this.#free.pop() ?? this.#makeBlock();
    this.#counts[block] = 0;
    if (this.#blocks === this.#order.length) {
      const capacity = Math.ceil(this.#blocks * 1.5);
      this.#order = grown(this.#order, capacity);
      this.#firsts = grown(this.#firsts, capacity);
    }
    this.#order.copyWithin(rank + 1, rank, this.#blocks);
    this.#firsts.copyWithin(rank + 1, rank, this.#blocks);
    this.#order[rank] = block;
    this.#blocks++;
  }
  #makeBlock(): number {
    if (this.#made === this.#counts.length) {
      const capacity = Math.max(2, Math.ceil(this.#made * 1.25));
      this.#pages = grown(this.#pages, capacity * BLOCK);
      this.#slots = grown(this.#slots, capacity * BLOCK);
      this.#counts = grown(this.#counts, capacity);
    }
    return this.#made++;
  }

  /** Finds the last entry at or before an IOVA; rank and entry are -1 where all lie behind it. */
  #seek(page: number, offset: number): void {
    if (page === this.#soughtPage && offset === this.#soughtOffset) return;
    this.#soughtPage = page;
    this.#soughtOffset = offset;
    const rank = this.#rankOf(page, offset);
    this.#rank = rank;
    this.#entry = rank < 0 ? -1 : this.#entryIn(this.#order[rank] ?? 0, page, offset);
  }
  /** The last block whose first entry is at or before an IOVA; -1 where none is. */
  #rankOf(page: number, offset: number): number {
    const firsts = this.#firsts;
    let low = 0;
    let high = this.#blocks;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const first = firsts[middle] ?? 0;
      const isBefore = first < page || (first === page && this.#offsetOf((this.#order[middle] ?? 0) * BLOCK) <= offset);
      if (isBefore) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }
  /** The last entry of a block at or before an IOVA; there is one. */
  #entryIn(block: number, page: number, offset: number): number {
    const pages = this.#pages;
    let low = block * BLOCK;
    let high = low + (this.#counts[block] ?? 0);
    while (low < high) {
      const middle = (low + high) >>> 1;
      const entry = pages[middle] ?? 0;
      if (entry < page || (entry === page && this.#offsetOf(middle) <= offset)) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }
  #offsetOf(entry: number): number {
    return this.#starts.startOffset[this.#slots[entry] ?? 0] ?? 0;
  }
}
