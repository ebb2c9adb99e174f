// The BAR of MSI-X: a table of messages, each with a mask, and the bits of those that wait behind one. The messages
// themselves mean nothing on this machine: a vector reaches its driver by number.

/** Bytes of an entry: address (8), data (4), control (4). */
const ENTRY = 16;
const CONTROL = 12;
const MASKED = 1;

/** A table with its pending bits in the second half: bytes of the BAR, for so many vectors. */
export function messageBarSize(vectors: number): number {
  return Math.max(4096, 2 ** Math.ceil(Math.log2(2 * vectors * ENTRY)));
}

export class MessageTable {
  readonly size: number;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #waiting = 0;

  constructor(readonly vectors: number) {
    this.size = messageBarSize(vectors);
    this.#bytes = new Uint8Array(this.size);
    this.#view = new DataView(this.#bytes.buffer);
    this.reset();
  }
  get pendingOffset(): number {
    return this.size / 2;
  }

  read(offset: number, width: 1 | 2 | 4 | 8): number | bigint {
    if (width === 8) return this.#view.getBigUint64(offset, true);
    if (width === 4) return this.#view.getUint32(offset, true);
    return width === 2 ? this.#view.getUint16(offset, true) : this.#view.getUint8(offset);
  }
  /** Only entries can be written, 4 or 8 bytes at a time. */
  write(offset: number, width: 1 | 2 | 4 | 8, value: number | bigint): void {
    if (offset + width > this.vectors * ENTRY) return;
    if (width === 8) this.#view.setBigUint64(offset, BigInt(value), true);
    else if (width === 4) this.#view.setUint32(offset, Number(value), true);
  }

  isMasked(vector: number): boolean {
    return (this.#view.getUint32(vector * ENTRY + CONTROL, true) & MASKED) !== 0;
  }
  setMasked(vector: number, masked: boolean): void {
    this.#view.setUint32(vector * ENTRY + CONTROL, masked ? MASKED : 0, true);
  }
  /** The vectors that wait. */
  pending(): number[] {
    if (this.#waiting === 0) return [];
    return Array.from({ length: this.vectors }, (_, vector) => vector).filter((vector) => this.#isPending(vector));
  }
  #isPending(vector: number): boolean {
    return ((this.#bytes[this.#pendingByte(vector)] ?? 0) & (1 << (vector % 8))) !== 0;
  }
  setPending(vector: number, pending: boolean): void {
    if (pending === this.#isPending(vector)) return;
    this.#waiting += pending ? 1 : -1;
    const at = this.#pendingByte(vector);
    const bit = 1 << (vector % 8);
    this.#bytes[at] = pending ? (this.#bytes[at] ?? 0) | bit : (this.#bytes[at] ?? 0) & ~bit;
  }
  #pendingByte(vector: number): number {
    return this.pendingOffset + Math.floor(vector / 8);
  }

  /** All are masked after a reset. */
  reset(): void {
    this.#bytes.fill(0);
    this.#waiting = 0;
    for (let vector = 0; vector < this.vectors; vector++) this.setMasked(vector, true);
  }
}
