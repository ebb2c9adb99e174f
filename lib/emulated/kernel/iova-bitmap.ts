// The caller's bitmap of IOVAs, filled where it lies (iommufd/iova_bitmap.c).
import type { AddressSpace } from '../memory/address-space.js';
import { PAGE_SIZE } from '../memory/backing.js';

const BITS = 8;
/** Pages of the bitmap that the kernel has at hand at a time. */
const MOST_PAGES = 512;

export class IovaBitmap {
  readonly #memory: AddressSpace;
  readonly #address: number;
  readonly #iova: bigint;
  /** log2 of the bytes that a bit stands for. */
  readonly #shift: bigint;
  /** Bytes of the bitmap. */
  readonly #size: number;
  /** Part of the bitmap, the last that was used, and the address it lies at. */
  #part = new Uint8Array(0);
  #partAt = 0;

  constructor(
    memory: AddressSpace,
    address: number,
    { iova, length, pageSize }: { readonly iova: bigint; readonly length: bigint; readonly pageSize: bigint },
  ) {
    this.#memory = memory;
    this.#address = address;
    this.#iova = iova;
    this.#shift = BigInt((pageSize & -pageSize).toString(2).length - 1);
    this.#size = Math.floor(this.#bitOf(iova + length - 1n) / BITS) + 1;
  }

  #bitOf(iova: bigint): number {
    return Number((iova - this.#iova) >> this.#shift);
  }

  /**
   * Sets the bits of a run of IOVAs; where the caller's memory is missing, the rest of the run is lost, and nobody is told.
   * A run that starts before the bitmap is lost as a whole. One that ends behind it sets bits up to the end of the page
   * (if the bitmap does not start with a page, sometimes of the page after it), as the kernel does.
   */
  set(iova: bigint, length: bigint): void {
    if (iova < this.#iova) return;
    let bit = this.#bitOf(iova);
    const last = this.#bitOf(iova + length - 1n);
    while (bit <= last) {
      const index = Math.floor(bit / BITS);
      if (index >= this.#size) return;
      const stop = Math.min(last, this.#lastBitAfter(index));
      while (bit <= stop) {
        const address = this.#address + Math.floor(bit / BITS);
        if (!this.#reach(address)) return;
        // Bits of the part at hand, counted from its start.
        const from = (address - this.#partAt) * BITS + (bit % BITS);
        const to = Math.min(from + stop - bit, this.#part.length * BITS - 1);
        setBits(this.#part, from, to);
        if (this.#memory.foreign !== undefined && !this.#putBack(from, to)) return;
        bit += to - from + 1;
      }
    }
  }

  /** The kernel pins pages from a byte on, for all of the rest: the last bit of those pages. */
  #lastBitAfter(index: number): number {
    const offset = (this.#address + index) % PAGE_SIZE;
    const pages = Math.min(Math.ceil((this.#size - index) / PAGE_SIZE) + (offset === 0 ? 0 : 1), MOST_PAGES);
    return (index - offset + pages * PAGE_SIZE) * BITS - 1;
  }

  /** Makes the byte at an address part of what is at hand; false where nothing is there. */
  #reach(address: number): boolean {
    if (address >= this.#partAt && address < this.#partAt + this.#part.length) return true;
    if (this.#memory.foreign !== undefined) return this.#fetch(address);
    const place = this.#memory.find(address);
    if (place?.backing === undefined) return false;
    const at = address - place.start;
    this.#part = place.backing.bytes(place.offset + at, place.length - at);
    this.#partAt = address;
    return true;
  }
  /** The same where the bitmap is not at hand: a copy of the rest of a page. */
  #fetch(address: number): boolean {
    const part = new Uint8Array(PAGE_SIZE - (address % PAGE_SIZE));
    if (!this.#memory.read(address, part)) return false;
    this.#part = part;
    this.#partAt = address;
    return true;
  }
  #putBack(from: number, to: number): boolean {
    const first = Math.floor(from / BITS);
    return this.#memory.write(this.#partAt + first, this.#part.subarray(first, Math.floor(to / BITS) + 1));
  }
}

function setBits(bytes: Uint8Array, from: number, to: number): void {
  const first = Math.floor(from / BITS);
  const last = Math.floor(to / BITS);
  const firstMask = (0xff << (from % BITS)) & 0xff;
  const lastMask = 0xff >> (BITS - 1 - (to % BITS));
  if (first === last) {
    bytes[first] = (bytes[first] ?? 0) | (firstMask & lastMask);
    return;
  }
  bytes[first] = (bytes[first] ?? 0) | firstMask;
  bytes.fill(0xff, first + 1, last);
  bytes[last] = (bytes[last] ?? 0) | lastMask;
}
