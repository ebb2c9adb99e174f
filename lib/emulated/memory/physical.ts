// The machine's memory by physical address: what IOMMU hardware and devices see.
import { Backing, type FrameOwner, PAGE_SIZE } from './backing.js';
import type { Frames } from './frames.js';
import { PageViews } from './page-views.js';

/** The first physical page that is handed out: below 4 GiB a real machine has other things. */
const FIRST_FRAME = 2 ** 20;
/** Larger allocations start at a multiple of this many pages (2 MiB), as a kernel with huge pages would place them. */
const LARGE_PAGES = 512;

/** Bytes that `load64` loads. */
const WORD = 8;
const HALF = 4;
/** Nothing has such an address. */
const NOWHERE = 2 ** 60;

/** Registers of devices are found from this page on: behind all memory. */
const FIRST_WINDOW = 2 ** 38;

/** Registers by physical address: whoever accesses them reaches the device at once. Offsets are within `pages`. */
export interface MmioWindow {
  readonly pages: number;
  read(offset: number, into: Uint8Array): void;
  write(offset: number, from: Uint8Array): void;
}

export interface PhysicalOptions {
  /** Bytes of memory the machine has. */
  readonly size: number;
  /** No two pages that follow each other in an allocation do so physically. */
  readonly scatter: boolean;
}

export class PhysicalMemory implements FrameOwner {
  readonly #options: PhysicalOptions;
  /** Sorted by base: frames are never used again. */
  readonly #backings: Frames[] = [];
  #next = FIRST_FRAME;
  #used = 0;
  /** By first page, in order. */
  readonly #windows: { readonly base: number; readonly window: MmioWindow }[] = [];
  #nextWindow = FIRST_WINDOW;
  /** What was loaded last: the lower and the upper half, unsigned. */
  low = 0;
  high = 0;
  /** What `find` found last. */
  #found: Frames | undefined;
  /** The memory that a page was written to last, where it lies in one piece: its bytes, and where it starts. */
  #written: Uint8Array = new Uint8Array(0);
  #writtenAt = NOWHERE;
  readonly #views = new PageViews();

  constructor(options: PhysicalOptions) {
    this.#options = options;
  }

  /** Bytes in use. */
  get used(): number {
    return this.#used;
  }

  /**
   * Memory of `size` bytes, a multiple of the page size, zeroed; undefined where there is not as much. `contiguous`: in
   * one piece even where the machine scatters memory, aligned to its own size (a power of two).
   */
  allocate(size: number, contiguous = 0): Backing | undefined {
    if (this.#used + size > this.#options.size) return undefined;
    const align = Math.max(contiguous / PAGE_SIZE, size >= LARGE_PAGES * PAGE_SIZE ? LARGE_PAGES : 1);
    const base = Math.ceil(this.#next / align) * align;
    let backing: Backing;
    try {
      backing = new Backing(this, size, base, this.#options.scatter && contiguous === 0, contiguous > PAGE_SIZE);
    } catch (error) {
      // The machine that Node runs on has no more.
      if (error instanceof RangeError) return undefined;
      throw error;
    }
    this.#next = base + size / PAGE_SIZE;
    this.#used += size;
    this.#backings.push(backing);
    return backing;
  }

  /** Whether neighbouring pages lie apart. */
  get scattered(): boolean {
    return this.#options.scatter;
  }
  /** Gives pages that are not the machine's own memory physical numbers: so many in a row, a power of two. */
  adopt<T extends Frames>(pages: number, make: (base: number) => T): T {
    const base = Math.ceil(this.#next / pages) * pages;
    const frames = make(base);
    this.#next = base + pages;
    this.#backings.push(frames);
    return frames;
  }

  release(backing: Backing): void {
    this.#used -= backing.size;
    this.forget(backing);
  }
  /** Nothing has these pages' numbers any more. */
  forget(backing: Frames): void {
    this.#backings.splice(this.#indexOf(backing.base), 1);
    this.#found = undefined;
    this.#written = new Uint8Array(0);
    this.#views.forget(backing.base, backing.end);
  }

  /** What a physical page belongs to. */
  find(frame: number): Frames | undefined {
    const found = this.#found;
    if (found !== undefined && frame >= found.base && frame < found.end) return found;
    const backing = this.#backings[this.#indexOf(frame)];
    if (backing === undefined || !(frame < backing.end)) return undefined;
    this.#found = backing;
    return backing;
  }
  /** The last backing that starts at or before a frame. */
  #indexOf(frame: number): number {
    let low = 0;
    let high = this.#backings.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#backings[middle]?.base ?? 0) <= frame) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  /** Gives registers physical pages, which they keep; answers the first one. */
  addWindow(window: MmioWindow): number {
    const base = this.#nextWindow;
    this.#nextWindow += window.pages;
    this.#windows.push({ base, window });
    return base;
  }

  /** Loads the 8 bytes at a physical address, a multiple of 8, into `low` and `high`; false where there is no memory. */
  load64(address: number): boolean {
    return this.loadFrom(Math.floor(address / PAGE_SIZE), address & (PAGE_SIZE - WORD));
  }
  /** The same, told as page number and offset within the page: numbers that V8 hands over without allocating them. */
  loadFrom(frame: number, offset: number): boolean {
    const backing = this.find(frame);
    if (backing === undefined) return false;
    const at = backing.pageOf(frame) * PAGE_SIZE + offset;
    this.low = backing.word(at);
    this.high = backing.word(at + HALF);
    return true;
  }

  /** Copies a whole page, which starts at a physical address, into an array from a place on; answers as `read`. */
  readPage(address: number, into: Uint8Array, at: number): boolean {
    const frame = address / PAGE_SIZE;
    const kept = this.#views.find(frame);
    const view = kept?.length === PAGE_SIZE ? kept : this.#view(frame);
    if (view === undefined) return this.read(address, into.subarray(at, at + PAGE_SIZE));
    into.set(view, at);
    return true;
  }
  /** A view of a page of memory, which is kept. */
  #view(frame: number): Uint8Array | undefined {
    const backing = this.find(frame);
    if (backing === undefined) return undefined;
    const view = backing.view(backing.pageOf(frame));
    if (view !== undefined) this.#views.keep(frame, view);
    return view;
  }
  /** Copies a whole page in. */
  writePage(address: number, from: Uint8Array): boolean {
    const at = address - this.#writtenAt;
    if (!(at >= 0 && at < this.#written.length)) return this.#writeElsewhere(address, from);
    this.#written.set(from, at);
    return true;
  }
  #writeElsewhere(address: number, from: Uint8Array): boolean {
    const backing = this.find(address / PAGE_SIZE);
    if (backing !== undefined) {
      this.#written = backing.inOnePiece;
      this.#writtenAt = backing.base * PAGE_SIZE;
    }
    return this.write(address, from);
  }

  /** Copies bytes at a physical address; false (with part of it copied) where there is neither memory nor registers. */
  read(address: number, into: Uint8Array): boolean {
    return this.#each(address, into, false);
  }
  write(address: number, from: Uint8Array): boolean {
    return this.#each(address, from, true);
  }
  #each(address: number, data: Uint8Array, write: boolean): boolean {
    const { length } = data;
    for (let done = 0; done < length; ) {
      const frame = Math.floor((address + done) / PAGE_SIZE);
      const offset = address + done - frame * PAGE_SIZE;
      const backing = this.find(frame);
      const count = Math.min(length - done, (backing?.adjacent(frame) ?? 1) * PAGE_SIZE - offset);
      const part = count === length ? data : data.subarray(done, done + count);
      if (backing === undefined) {
        if (!this.#registers(frame, offset, part, write)) return false;
      } else {
        const at = backing.pageOf(frame) * PAGE_SIZE + offset;
        if (write) backing.write(at, part);
        else backing.read(at, part);
      }
      done += count;
    }
    return true;
  }
  #registers(frame: number, offset: number, part: Uint8Array, write: boolean): boolean {
    const found = this.#windows.find(({ base, window }) => frame >= base && frame < base + window.pages);
    if (found === undefined) return false;
    const at = (frame - found.base) * PAGE_SIZE + offset;
    if (write) found.window.write(at, part);
    else found.window.read(at, part);
    return true;
  }
}
