// A device's own buffer in parts of a page each, as views that are kept with it: a device that writes memory from the same
// buffer again needs no new ones. To make them takes a quarter of the time that copying does.
import { PAGE_SIZE } from '../memory/backing.js';

const PAGE_BITS = 12;
/** For less than this much nothing is kept, nor for buffers larger than that. */
const LEAST = 8 * PAGE_SIZE;
const MOST = 2 ** 24;

const kept = new WeakMap<ArrayBufferLike, PageParts>();

export class PageParts {
  readonly #views: (Uint8Array | undefined)[];

  private constructor(
    pages: number,
    /** Where in the buffer the first part starts, less than a page on. */
    readonly start: number,
  ) {
    this.#views = new Array(pages).fill(undefined);
  }

  static readonly #nothing = new PageParts(0, 0);

  /** The parts of data that one of them starts in at `at`. */
  static of({ buffer, byteOffset, length }: Uint8Array, at: number): PageParts {
    if (length < LEAST || buffer.byteLength > MOST) return PageParts.#nothing;
    const start = (byteOffset + at) & (PAGE_SIZE - 1);
    const before = kept.get(buffer);
    if (before?.start === start) return before;
    const parts = new PageParts(Math.ceil(buffer.byteLength / PAGE_SIZE), start);
    kept.set(buffer, parts);
    return parts;
  }

  /** The number of the part that starts at `at` in data; the next one has the next number. */
  indexOf({ byteOffset }: Uint8Array, at: number): number {
    return (byteOffset + at) >>> PAGE_BITS;
  }
  part(index: number, data: Uint8Array, at: number): Uint8Array {
    return this.#views[index] ?? this.#view(index, data, at);
  }
  #view(index: number, data: Uint8Array, at: number): Uint8Array {
    const view = data.subarray(at, at + PAGE_SIZE);
    if (index < this.#views.length) this.#views[index] = view;
    return view;
  }
}
