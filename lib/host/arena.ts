// The memory that ioctl arguments are written into: outside V8's heap, at a fixed address, with guard pages around it.
// A mark-and-release stack: a call takes what it needs and releases it all at its end. Nothing of the user's runs
// between, so one arena serves a whole host.

export class Arena {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** Indexed by `at >>> 2`. */
  readonly u32: Uint32Array;
  /** Indexed by `at >>> 3`. */
  readonly u64: BigUint64Array;
  #top = 0;

  /** `size`: bytes to use, a multiple of 8; the host may keep what is behind them for itself. */
  constructor(
    buffer: ArrayBuffer,
    /** The address of byte 0, as the kernel sees it. */
    readonly address: bigint,
    size = buffer.byteLength,
  ) {
    this.bytes = new Uint8Array(buffer, 0, size);
    this.view = new DataView(buffer, 0, size);
    this.u32 = new Uint32Array(buffer, 0, size / 4);
    this.u64 = new BigUint64Array(buffer, 0, size / 8);
  }

  get size(): number {
    return this.bytes.length;
  }

  /** Where the next `take` begins: give it to `release` to undo all that was taken since. */
  mark(): number {
    return this.#top;
  }

  release(mark: number): void {
    this.#top = mark;
  }

  /** The offset of `length` fresh bytes, 8-byte aligned. Their content is what was there before. */
  take(length: number): number {
    const at = this.#top;
    const top = at + ((length + 7) & ~7);
    if (length > this.bytes.length || top > this.bytes.length) {
      throw new RangeError(`the argument arena holds ${this.bytes.length} bytes, ${length} more do not fit`);
    }
    this.#top = top;
    return at;
  }

  /** Whether `length` more bytes fit. */
  fits(length: number): boolean {
    return this.#top + length + 8 <= this.bytes.length;
  }

  addressOf(at: number): bigint {
    return this.address + BigInt(at);
  }
}
