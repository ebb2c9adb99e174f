// Physical pages one after another, wherever their bytes are: in the machine's own memory (`Backing`), or outside of it.

export interface Frames {
  /** The first physical page. */
  readonly base: number;
  /** The physical page behind the last one. */
  readonly end: number;
  /** Whether it consists of huge pages: one piece to whoever counts references. */
  readonly compound: boolean;

  /** The physical page number of a page of this memory. */
  frame(page: number): number;
  /** The page of this memory that lies in a physical page. */
  pageOf(frame: number): number;
  /** How many physical pages from one on lie one behind the other here too. */
  adjacent(frame: number): number;

  /** Copies bytes out; the caller has checked the range. */
  read(offset: number, into: Uint8Array): void;
  /** Copies bytes in; the caller has checked the range. */
  write(offset: number, from: Uint8Array): void;
  /** The 32 bits at an offset, a multiple of 4 within the memory. */
  word(offset: number): number;
  /** A page's bytes where they lie; undefined where they can only be copied. */
  view(page: number): Uint8Array<ArrayBuffer> | undefined;
  /** The same as numbers of 32 bits with a sign. */
  words(page: number): Int32Array<ArrayBuffer> | undefined;
  /** All of it, where it lies in one piece, in the order of its physical pages; nothing where it does not. */
  readonly inOnePiece: Uint8Array<ArrayBuffer>;

  /** Counts pins of pages: a pinned page stays, whatever is unmapped, and holds the memory. */
  pin(page: number, count: number): void;
  /** Takes back pins, in the same pieces or in others. */
  unpin(page: number, count: number): void;
  /** How often a page is pinned. */
  pinsOf(page: number): number;
}

/** One page of it. */
export interface FramePage {
  readonly backing: Frames;
  readonly page: number;
}
