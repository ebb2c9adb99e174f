// Pages of memory, wherever they are mapped. The bytes lie in WebAssembly memories: nobody but us can detach their
// ArrayBuffers, and `grow(0)` detaches one while the bytes stay where they are, which is what munmap means for windows.

import type { Frames } from './frames.js';

/** Bytes of a page of the emulated machine. */
export const PAGE_SIZE = 4096;

/** Bytes behind one ArrayBuffer at most: WebAssembly has no larger memory. */
const SEGMENT_SHIFT = 32;
const SEGMENT_SIZE = 2 ** SEGMENT_SHIFT;
/** WebAssembly counts memory in units of this. */
const WASM_PAGE = 65536;

interface WasmMemory {
  readonly buffer: ArrayBuffer;
  grow(delta: number): number;
}
declare const WebAssembly: { readonly Memory: new (limits: { initial: number; maximum: number }) => WasmMemory };

const NOTHING = new Uint8Array(0);

/** What a backing needs of the physical memory it was cut from. */
export interface FrameOwner {
  release(backing: Backing): void;
}

export class Backing implements Frames {
  /** The physical page behind its last one. */
  readonly end: number;
  readonly #segments: readonly WasmMemory[];
  #views: Uint8Array<ArrayBuffer>[];
  /** The same, for who reads numbers. */
  #numbers: DataView<ArrayBuffer>[];
  #references = 1;
  #pins: Uint32Array | undefined;
  /** The sum of them. */
  #allPins = 0;
  readonly #owner: FrameOwner;
  /** Who has windows. */
  readonly #viewers = new Set<object>();

  /** Not for callers: `PhysicalMemory.allocate` makes them. Throws RangeError where there is no memory. */
  constructor(
    owner: FrameOwner,
    /** Bytes, a multiple of the page size. */
    readonly size: number,
    /** The number of its first physical page. */
    readonly base: number,
    /** Whether neighbouring pages lie apart: page i then lies where page i ^ 1 would. */
    readonly scattered: boolean,
    /** Whether it consists of huge pages: one piece to whoever counts references. */
    readonly compound = false,
  ) {
    this.#owner = owner;
    this.end = base + size / PAGE_SIZE;
    const segments: WasmMemory[] = [];
    for (let at = 0; at < size; at += SEGMENT_SIZE) {
      const units = Math.ceil(Math.min(SEGMENT_SIZE, size - at) / WASM_PAGE);
      segments.push(new WebAssembly.Memory({ initial: units, maximum: units }));
    }
    this.#segments = segments;
    this.#views = segments.map(({ buffer }) => new Uint8Array(buffer));
    this.#numbers = segments.map(({ buffer }) => new DataView(buffer));
  }

  get pages(): number {
    return this.size / PAGE_SIZE;
  }

  /** The physical page number of a page of this memory. */
  frame(page: number): number {
    return this.base + this.#place(page);
  }
  /** The page of this memory that lies in a physical page. */
  pageOf(frame: number): number {
    return this.#place(frame - this.base);
  }
  #place(page: number): number {
    if (!this.scattered) return page;
    const other = page % 2 === 0 ? page + 1 : page - 1;
    return other < this.pages ? other : page;
  }

  /** The bytes from an offset on: `length` of them, or fewer where the segment ends. Valid until `detachWindows`. */
  bytes(offset: number, length: number): Uint8Array<ArrayBuffer> {
    const segment = Math.floor(offset / SEGMENT_SIZE);
    const view = this.#views[segment];
    if (view === undefined) throw new RangeError(`offset ${offset} is outside of ${this.size} bytes`);
    const at = offset - segment * SEGMENT_SIZE;
    return view.subarray(at, Math.min(at + length, view.length, at + this.size - offset));
  }
  /** Bytes that lie in one ArrayBuffer, for a viewer to keep: RangeError where they do not. */
  window(viewer: object, offset: number, length: number): Uint8Array<ArrayBuffer> {
    if (length === 0) return new Uint8Array(0);
    const bytes = this.bytes(offset, length);
    if (bytes.length !== length) throw new RangeError(`${length} bytes at ${offset} do not lie in one piece`);
    this.#viewers.add(viewer);
    return bytes;
  }
  /** How many physical pages from one on lie one behind the other here too. */
  adjacent(frame: number): number {
    return this.scattered ? 1 : this.end - frame;
  }
  /** All of it, where it lies in one piece, in the order of its physical pages; nothing where it does not. */
  get inOnePiece(): Uint8Array<ArrayBuffer> {
    return this.scattered || this.size > SEGMENT_SIZE ? NOTHING : this.bytes(0, this.size);
  }
  /** A page, for as long as no windows are detached. */
  view(page: number): Uint8Array<ArrayBuffer> {
    return this.bytes(page * PAGE_SIZE, PAGE_SIZE);
  }
  /** A page as numbers of 32 bits with a sign, for as long as no windows are detached: then there are none. */
  words(page: number): Int32Array<ArrayBuffer> {
    const { buffer, byteOffset } = this.bytes(page * PAGE_SIZE, PAGE_SIZE);
    return new Int32Array(buffer, byteOffset, PAGE_SIZE / Int32Array.BYTES_PER_ELEMENT);
  }
  /** The 32 bits at an offset, a multiple of 4 within the memory. */
  word(offset: number): number {
    const segment = offset < SEGMENT_SIZE ? 0 : Math.floor(offset / SEGMENT_SIZE);
    return this.#numbers[segment]?.getUint32(offset - segment * SEGMENT_SIZE, true) ?? 0;
  }
  /** Copies bytes out; the caller has checked the range. */
  read(offset: number, into: Uint8Array): void {
    for (let done = 0; done < into.length; ) {
      const part = this.bytes(offset + done, into.length - done);
      into.set(part, done);
      done += part.length;
    }
  }
  /** Copies bytes in; the caller has checked the range. */
  write(offset: number, from: Uint8Array): void {
    for (let done = 0; done < from.length; ) {
      const segment = Math.floor((offset + done) / SEGMENT_SIZE);
      const at = offset + done - segment * SEGMENT_SIZE;
      const count = Math.min(from.length - done, SEGMENT_SIZE - at);
      this.#views[segment]?.set(count === from.length ? from : from.subarray(done, done + count), at);
      done += count;
    }
  }

  /**
   * A viewer has no use for its windows any more: they go to length 0, and the bytes stay. Viewers share ArrayBuffers, so
   * that this waits for the last of them.
   */
  detachWindows(viewer: object): void {
    if (!this.#viewers.delete(viewer) || this.#viewers.size > 0) return;
    for (const segment of this.#segments) segment.grow(0);
    this.#views = this.#segments.map(({ buffer }) => new Uint8Array(buffer));
    this.#numbers = this.#segments.map(({ buffer }) => new DataView(buffer));
  }

  /** A viewer's windows are gone by themselves. */
  forgetViewer(viewer: object): void {
    this.#viewers.delete(viewer);
  }

  /** A mapping, a file or a pin keeps the memory. */
  hold(): void {
    this.#references++;
  }
  drop(): void {
    if (--this.#references === 0) this.#owner.release(this);
  }

  /** Counts pins of pages: a pinned page stays, whatever is unmapped, and holds the memory. */
  pin(page: number, count: number): void {
    this.#pins ??= new Uint32Array(this.pages);
    for (let i = page; i < page + count; i++) this.#pins[i] = (this.#pins[i] ?? 0) + 1;
    if (this.#allPins === 0) this.hold();
    this.#allPins += count;
  }
  /** Takes back pins, in the same pieces or in others. */
  unpin(page: number, count: number): void {
    const pins = this.#pins;
    if (pins === undefined) throw new Error('nothing of this memory is pinned');
    for (let i = page; i < page + count; i++) pins[i] = (pins[i] ?? 0) - 1;
    this.#allPins -= count;
    if (this.#allPins === 0) this.drop();
  }
  /** How often a page is pinned. */
  pinsOf(page: number): number {
    return this.#pins?.[page] ?? 0;
  }
}
