// Slots of areas sorted by the IOVA they start at, for millions of them: blocks of sorted entries, and a sorted list of the
// blocks. A search is two binary searches in typed arrays; the place it ends at is remembered, so that looking and then
// inserting or removing there is one search.
import { grown } from './slots.js';

const BLOCK = 64;
/** A block this empty joins the one before it, where there is room. */
const SPARSE = BLOCK / 4;

/** Where areas start, by slot: an IOVA as its page number and the offset within the page. */
export interface Starts {
  startPage: Float64Array;
  startOffset: Uint16Array;
}

class Block {
  count = 0;
  /** The pages of the starts, beside the slots: most searches need no more. */
  readonly pages = new Float64Array(BLOCK);
  readonly slots = new Int32Array(BLOCK);

  insert(at: number, page: number, slot: number): void {
    const { pages, slots } = this;
    // A loop, since for so few entries copyWithin takes longer.
    for (let i = this.count; i > at; i--) {
      pages[i] = pages[i - 1] ?? 0;
      slots[i] = slots[i - 1] ?? 0;
    }
    pages[at] = page;
    slots[at] = slot;
    this.count++;
  }
  remove(at: number): void {
    const { pages, slots } = this;
    const last = --this.count;
    for (let i = at; i < last; i++) {
      pages[i] = pages[i + 1] ?? 0;
      slots[i] = slots[i + 1] ?? 0;
    }
  }
  /** Moves the entries from `at` on behind those of another block. */
  moveTo(other: Block, at: number): void {
    other.pages.set(this.pages.subarray(at, this.count), other.count);
    other.slots.set(this.slots.subarray(at, this.count), other.count);
    other.count += this.count - at;
    this.count = at;
  }
}

export class IovaIndex {
  readonly #starts: Starts;
  readonly #blocks: Block[] = [];
  /** The page of each block's first entry. */
  #firsts = new Float64Array(8);
  #size = 0;
  /** What was sought last, and the block and the entry that were found; nothing was after a change. */
  #soughtPage = -1;
  #soughtOffset = 0;
  #block = -1;
  #place = -1;

  constructor(starts: Starts) {
    this.#starts = starts;
  }

  get size(): number {
    return this.#size;
  }

  /** The slot of the last area that starts at or before an IOVA; -1 where none does. */
  atOrBefore(page: number, offset: number): number {
    this.#seek(page, offset);
    return this.#blocks[this.#block]?.slots[this.#place] ?? -1;
  }
  /** The slot of the first area that starts behind an IOVA; -1 where none does. */
  after(page: number, offset: number): number {
    this.#seek(page, offset);
    const block = this.#blocks[this.#block];
    const place = this.#place + 1;
    if (block !== undefined && place < block.count) return block.slots[place] ?? -1;
    return this.#blocks[this.#block + 1]?.slots[0] ?? -1;
  }

  /** Adds an area; its start is that of its slot. */
  insert(slot: number): void {
    const page = this.#starts.startPage[slot] ?? 0;
    this.#seek(page, this.#starts.startOffset[slot] ?? 0);
    this.#soughtPage = -1;
    this.#size++;
    const index = Math.max(0, this.#block);
    const block = this.#blocks[index] ?? this.#addBlock(0);
    const place = this.#place + 1;
    if (block.count < BLOCK) {
      block.insert(place, page, slot);
      if (place === 0) this.#firsts[index] = page;
    } else this.#insertInFull(index, block, place, page, slot);
  }
  #insertInFull(index: number, block: Block, place: number, page: number, slot: number): void {
    const next = this.#addBlock(index + 1);
    // Filled from low to high, blocks stay full; elsewhere a full one is split in the middle.
    if (place < BLOCK) block.moveTo(next, BLOCK / 2);
    if (place > block.count || block.count === BLOCK) next.insert(place - block.count, page, slot);
    else block.insert(place, page, slot);
    this.#firsts[index] = block.pages[0] ?? 0;
    this.#firsts[index + 1] = next.pages[0] ?? 0;
  }

  remove(slot: number): void {
    this.#seek(this.#starts.startPage[slot] ?? 0, this.#starts.startOffset[slot] ?? 0);
    this.#soughtPage = -1;
    const index = this.#block;
    const block = this.#blocks[index];
    if (block === undefined) throw new Error('this area is not in the index');
    this.#size--;
    block.remove(this.#place);
    this.#firsts[index] = block.pages[0] ?? 0;
    if (block.count < SPARSE) this.#shrink(index, block);
  }
  #shrink(index: number, block: Block): void {
    const before = this.#blocks[index - 1];
    if (before !== undefined && before.count + block.count <= BLOCK - SPARSE) block.moveTo(before, 0);
    if (block.count > 0) return;
    this.#blocks.splice(index, 1);
    this.#firsts.copyWithin(index, index + 1, this.#blocks.length + 1);
  }
  #addBlock(index: number): Block {
    const block = new Block();
    if (this.#blocks.length === this.#firsts.length) {
      this.#firsts = grown(this.#firsts, Math.ceil(this.#firsts.length * 1.5));
    }
    this.#firsts.copyWithin(index + 1, index, this.#blocks.length);
    this.#blocks.splice(index, 0, block);
    return block;
  }

  /** Finds the last entry at or before an IOVA: its block and place, -1 and -1 where all lie behind it. */
  #seek(page: number, offset: number): void {
    if (page === this.#soughtPage && offset === this.#soughtOffset) return;
    this.#soughtPage = page;
    this.#soughtOffset = offset;
    const index = this.#blockOf(page, offset);
    this.#block = index;
    const block = this.#blocks[index];
    this.#place = block === undefined ? -1 : this.#placeIn(block, page, offset);
  }
  /** The last block whose first entry is at or before an IOVA; -1 where none is. */
  #blockOf(page: number, offset: number): number {
    const firsts = this.#firsts;
    let low = 0;
    let high = this.#blocks.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const first = firsts[middle] ?? 0;
      const isBefore = first < page || (first === page && this.#offsetOf(this.#blocks[middle]?.slots[0]) <= offset);
      if (isBefore) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }
  /** The last entry of a block at or before an IOVA; -1 where none is. */
  #placeIn(block: Block, page: number, offset: number): number {
    const { pages, slots } = block;
    let low = 0;
    let high = block.count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const entry = pages[middle] ?? 0;
      if (entry < page || (entry === page && this.#offsetOf(slots[middle]) <= offset)) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }
  #offsetOf(slot: number | undefined): number {
    return this.#starts.startOffset[slot ?? 0] ?? 0;
  }
}
