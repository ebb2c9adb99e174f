// Slots of areas sorted by the IOVA they start at, for millions of them: blocks of sorted entries, and a sorted list of the
// blocks. A search is two binary searches in typed arrays; an insertion moves half a block.
import { grown } from './slots.js';

const BLOCK = 128;
/** Neighbours that are this empty together become one. */
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
    this.pages.copyWithin(at + 1, at, this.count);
    this.slots.copyWithin(at + 1, at, this.count);
    this.pages[at] = page;
    this.slots[at] = slot;
    this.count++;
  }
  remove(at: number): void {
    this.pages.copyWithin(at, at + 1, this.count);
    this.slots.copyWithin(at, at + 1, this.count);
    this.count--;
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

  constructor(starts: Starts) {
    this.#starts = starts;
  }

  get size(): number {
    return this.#size;
  }

  /** The slot of the last area that starts at or before an IOVA; -1 where none does. */
  atOrBefore(page: number, offset: number): number {
    const block = this.#blocks[this.#blockOf(page, offset)];
    return block === undefined ? -1 : (block.slots[this.#placeIn(block, page, offset)] ?? -1);
  }
  /** The slot of the first area that starts behind an IOVA; -1 where none does. */
  after(page: number, offset: number): number {
    const index = this.#blockOf(page, offset);
    const block = this.#blocks[index];
    if (block === undefined) return this.#blocks[0]?.slots[0] ?? -1;
    const place = this.#placeIn(block, page, offset) + 1;
    if (place < block.count) return block.slots[place] ?? -1;
    return this.#blocks[index + 1]?.slots[0] ?? -1;
  }

  /** Adds an area; its start is that of its slot. */
  insert(slot: number): void {
    const page = this.#starts.startPage[slot] ?? 0;
    const offset = this.#starts.startOffset[slot] ?? 0;
    this.#size++;
    const index = Math.max(0, this.#blockOf(page, offset));
    const block = this.#blocks[index] ?? this.#addBlock(0);
    const place = this.#placeIn(block, page, offset) + 1;
    if (block.count < BLOCK) {
      block.insert(place, page, slot);
      if (place === 0) this.#firsts[index] = page;
      return;
    }
    // Filled from low to high, blocks stay full; elsewhere a full one is split in the middle.
    const next = this.#addBlock(index + 1);
    if (place < BLOCK) block.moveTo(next, BLOCK / 2);
    if (place > block.count || block.count === BLOCK) next.insert(place - block.count, page, slot);
    else block.insert(place, page, slot);
    this.#firsts[index] = block.pages[0] ?? 0;
    this.#firsts[index + 1] = next.pages[0] ?? 0;
  }

  remove(slot: number): void {
    const page = this.#starts.startPage[slot] ?? 0;
    const offset = this.#starts.startOffset[slot] ?? 0;
    const index = this.#blockOf(page, offset);
    const block = this.#blocks[index];
    if (block === undefined) throw new Error('this area is not in the index');
    this.#size--;
    block.remove(this.#placeIn(block, page, offset));
    this.#firsts[index] = block.pages[0] ?? 0;
    if (block.count < SPARSE) this.#shrink(index, block);
  }
  #shrink(index: number, block: Block): void {
    const before = this.#blocks[index - 1];
    if (before !== undefined && before.count + block.count <= BLOCK - SPARSE) {
      block.moveTo(before, 0);
    }
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
