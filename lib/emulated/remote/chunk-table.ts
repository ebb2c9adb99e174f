// The chunks of one process's addresses, or of one file: which page has which physical number. Where a pinned page was taken
// over, the page that lies there now is another one, of a later chunk for the same place.
import type { FramePage } from '../memory/frames.js';
import type { PhysicalMemory } from '../memory/physical.js';
import { CHUNK_PAGES, Chunk, type ChunkOwner } from './chunk.js';

function within(page: number): number {
  return page % CHUNK_PAGES;
}

/** Whether none of its pages is between two places. */
function isApart(chunk: Chunk, first: number, end: number): boolean {
  return chunk.isWhole && (chunk.first >= end || chunk.first + CHUNK_PAGES <= first);
}

export class ChunkTable {
  readonly #physical: PhysicalMemory;
  readonly #owner: ChunkOwner;
  /** By number of the chunk, the oldest first. */
  readonly #chunks = new Map<number, Chunk[]>();
  /** Pinned pages that were moved to where they are, by the place they have now. */
  readonly #moved = new Map<number, FramePage & { readonly backing: Chunk }>();

  constructor(physical: PhysicalMemory, owner: ChunkOwner) {
    this.#physical = physical;
    this.#owner = owner;
  }

  /** The page at a place; `compound` for one that belongs to a huge page. */
  at(page: number, compound: boolean): FramePage {
    const moved = this.#moved.get(page);
    if (moved !== undefined) return moved;
    const list = this.#list(page);
    let chunk = list.find((candidate) => candidate.has(within(page)) && candidate.compound === compound);
    if (chunk === undefined) {
      chunk = this.#make(page, compound);
      list.push(chunk);
    }
    return { backing: chunk, page: within(page) };
  }
  #list(page: number): Chunk[] {
    const number = Math.floor(page / CHUNK_PAGES);
    let list = this.#chunks.get(number);
    if (list === undefined) {
      list = [];
      this.#chunks.set(number, list);
    }
    return list;
  }
  #make(page: number, compound: boolean): Chunk {
    const { scattered } = this.#physical;
    const first = page - within(page);
    // Huge pages lie in one piece whatever the machine does.
    const make = (base: number): Chunk => new Chunk(this.#owner, first, base, scattered && !compound, compound);
    return this.#physical.adopt(CHUNK_PAGES, make);
  }

  /** Pinned pages whose place is from one to before another. */
  *#pinned(first: number, end: number): Generator<FramePage & { readonly backing: Chunk; readonly place: number }> {
    for (const list of this.#chunks.values()) {
      for (const backing of list) {
        if (!backing.isPinned || isApart(backing, first, end)) continue;
        for (let page = 0; page < CHUNK_PAGES; page++) {
          const place = backing.pinsOf(page) === 0 ? undefined : backing.placeOf(page);
          if (place !== undefined && place >= first && place < end) yield { backing, page, place };
        }
      }
    }
  }
  /** What is at these places is about to go: pinned pages are taken over. */
  takeOver(first: number, end: number): void {
    for (const { backing, page, place } of [...this.#pinned(first, end)]) {
      backing.takeOver(page);
      this.#moved.delete(place);
    }
  }
  /** What was at these places is now elsewhere. */
  move(first: number, end: number, to: number): void {
    const pages = [...this.#pinned(first, end)];
    for (const { place } of pages) this.#moved.delete(place);
    for (const { backing, page, place } of pages) {
      const now = place - first + to;
      backing.move(page, now);
      this.#moved.set(now, { backing, page });
    }
  }

  /** Nothing of a chunk is pinned any more: what is left of one that lost pages is of no use. */
  drop(chunk: Chunk): void {
    if (chunk.isWhole) return;
    this.#forget(chunk);
  }
  #forget(chunk: Chunk): void {
    const number = chunk.first / CHUNK_PAGES;
    const left = this.#chunks.get(number)?.filter((other) => other !== chunk) ?? [];
    if (left.length > 0) this.#chunks.set(number, left);
    else this.#chunks.delete(number);
    for (const [place, { backing }] of this.#moved) if (backing === chunk) this.#moved.delete(place);
    this.#physical.forget(chunk);
  }
  /** Forgets everything that is not pinned. */
  clear(): void {
    for (const chunk of [...this.#chunks.values()].flat()) if (!chunk.isPinned) this.#forget(chunk);
  }
}
