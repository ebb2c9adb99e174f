// Pages outside of the machine's memory that have physical page numbers: a stretch of one process's addresses, or of a file.
// What is pinned stays: a page that goes from there is taken over, and lies here from then on.
import { PAGE_SIZE } from '../memory/backing.js';
import type { Frames } from '../memory/frames.js';

/** Pages of a chunk: as many as a huge page has, so that what is large can be mapped as such. */
export const CHUNK_PAGES = 512;
export const CHUNK_SIZE = CHUNK_PAGES * PAGE_SIZE;
const NOTHING = new Uint8Array(0);
const WORD = 8;
const HALF = 4;

/** Whose pages they are. */
export interface ChunkOwner {
  /** Copies a page's bytes, which lie at their usual place; what is not there reads as zeros. */
  readPart(page: number, offset: number, into: Uint8Array): void;
  writePart(page: number, offset: number, from: Uint8Array): void;
  /** The first page of a chunk was pinned, or its last one unpinned. */
  used(chunk: Chunk): void;
  unused(chunk: Chunk): void;
}

/** Where a page lies now that is not where it was: here, or at another page of the same memory. */
type Elsewhere = Uint8Array | number;

export class Chunk implements Frames {
  readonly end: number;
  readonly inOnePiece = NOTHING;
  readonly #owner: ChunkOwner;
  readonly #pins = new Uint32Array(CHUNK_PAGES);
  #allPins = 0;
  readonly #elsewhere = new Map<number, Elsewhere>();
  /** The upper half of the word that was loaded last, for who asks for it next. */
  readonly #word = new DataView(new ArrayBuffer(WORD));
  #wordAt = -1;

  constructor(
    owner: ChunkOwner,
    /** The page of the owner's that is the first one. */
    readonly first: number,
    readonly base: number,
    readonly scattered: boolean,
    readonly compound: boolean,
  ) {
    this.#owner = owner;
    this.end = base + CHUNK_PAGES;
  }

  frame(page: number): number {
    return this.base + (this.scattered ? page ^ 1 : page);
  }
  pageOf(frame: number): number {
    return this.scattered ? (frame - this.base) ^ 1 : frame - this.base;
  }
  adjacent(frame: number): number {
    return this.scattered ? 1 : this.end - frame;
  }

  read(offset: number, into: Uint8Array): void {
    this.#each(offset, into, (page, within, part) => {
      const place = this.#elsewhere.get(page);
      if (place instanceof Uint8Array) part.set(place.subarray(within, within + part.length));
      else this.#owner.readPart(place ?? this.first + page, within, part);
    });
  }
  write(offset: number, from: Uint8Array): void {
    this.#each(offset, from, (page, within, part) => {
      const place = this.#elsewhere.get(page);
      if (place instanceof Uint8Array) place.set(part, within);
      else this.#owner.writePart(place ?? this.first + page, within, part);
    });
  }
  /** All at once where nothing went elsewhere. */
  #each(offset: number, data: Uint8Array, work: (page: number, within: number, part: Uint8Array) => void): void {
    for (let done = 0; done < data.length; ) {
      const page = Math.floor((offset + done) / PAGE_SIZE);
      const within = offset + done - page * PAGE_SIZE;
      const count = this.#elsewhere.size === 0 ? data.length : PAGE_SIZE - within;
      const part = data.subarray(done, done + count);
      work(page, within, part);
      done += part.length;
    }
  }
  word(offset: number): number {
    const at = offset & ~(WORD - 1);
    // The second half of 64 bits: both were loaded at once.
    if (offset === at + HALF && this.#wordAt === at) {
      this.#wordAt = -1;
      return this.#word.getUint32(HALF, true);
    }
    this.read(at, new Uint8Array(this.#word.buffer));
    this.#wordAt = offset === at ? at : -1;
    return this.#word.getUint32(offset - at, true);
  }
  view(): undefined {
    return undefined;
  }
  words(): undefined {
    return undefined;
  }

  pin(page: number, count: number): void {
    for (let i = page; i < page + count; i++) this.#pins[i] = (this.#pins[i] ?? 0) + 1;
    const before = this.#allPins;
    this.#allPins += count;
    if (before === 0) this.#owner.used(this);
  }
  unpin(page: number, count: number): void {
    for (let i = page; i < page + count; i++) this.#pins[i] = (this.#pins[i] ?? 0) - 1;
    this.#allPins -= count;
    if (this.#allPins === 0) this.#owner.unused(this);
  }
  pinsOf(page: number): number {
    return this.#pins[page] ?? 0;
  }
  get isPinned(): boolean {
    return this.#allPins > 0;
  }

  /** Whether the page is still the one at its usual place. */
  has(page: number): boolean {
    return !this.#elsewhere.has(page);
  }
  /** Whether all are. */
  get isWhole(): boolean {
    return this.#elsewhere.size === 0;
  }
  /** The page of the owner's where it lies now; undefined for one that lies here. */
  placeOf(page: number): number | undefined {
    const place = this.#elsewhere.get(page) ?? this.first + page;
    return place instanceof Uint8Array ? undefined : place;
  }
  /** A page's bytes are about to go from where they are. */
  takeOver(page: number): void {
    const bytes = new Uint8Array(PAGE_SIZE);
    this.read(page * PAGE_SIZE, bytes);
    this.#elsewhere.set(page, bytes);
  }
  /** A page lies at another one's place of the owner's now. */
  move(page: number, to: number): void {
    this.#elsewhere.set(page, to);
  }
}
