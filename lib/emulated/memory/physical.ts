// The machine's memory by physical address: what IOMMU hardware and devices see.
import { Backing, type FrameOwner, PAGE_SIZE } from './backing.js';

/** The first physical page that is handed out: below 4 GiB a real machine has other things. */
const FIRST_FRAME = 2 ** 20;
/** Larger allocations start at a multiple of this many pages (2 MiB), as a kernel with huge pages would place them. */
const LARGE_PAGES = 512;

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
  readonly #backings: Backing[] = [];
  #next = FIRST_FRAME;
  #used = 0;
  /** By first page, in order. */
  readonly #windows: { readonly base: number; readonly window: MmioWindow }[] = [];
  #nextWindow = FIRST_WINDOW;

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

  release(backing: Backing): void {
    this.#used -= backing.size;
    this.#backings.splice(this.#indexOf(backing.base), 1);
  }

  /** What a physical page belongs to. */
  find(frame: number): Backing | undefined {
    const backing = this.#backings[this.#indexOf(frame)];
    return backing !== undefined && frame < backing.base + backing.pages ? backing : undefined;
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

  /** Copies bytes at a physical address; false (with part of it copied) where there is neither memory nor registers. */
  read(address: number, into: Uint8Array): boolean {
    return this.#each(address, into, false);
  }
  write(address: number, from: Uint8Array): boolean {
    return this.#each(address, from, true);
  }
  #each(address: number, data: Uint8Array, write: boolean): boolean {
    for (let done = 0; done < data.length; ) {
      const frame = Math.floor((address + done) / PAGE_SIZE);
      const offset = (address + done) % PAGE_SIZE;
      const part = data.subarray(done, done + Math.min(PAGE_SIZE - offset, data.length - done));
      const backing = this.find(frame);
      if (backing === undefined) {
        if (!this.#registers(frame, offset, part, write)) return false;
      } else {
        const bytes = backing.bytes(backing.pageOf(frame) * PAGE_SIZE + offset, part.length);
        if (write) bytes.set(part);
        else part.set(bytes);
      }
      done += part.length;
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
