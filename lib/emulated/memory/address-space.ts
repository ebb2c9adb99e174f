// A process's memory by address: where the emulated kernel reads and writes what pointers point at, and finds the pages
// it pins. One interface, so that the memory can be another process's.
import { type Backing, PAGE_SIZE } from './backing.js';
import type { ForeignMemory } from './foreign.js';

/** A stretch of addresses, in whole pages. */
export interface Placement {
  readonly start: number;
  /** Bytes. */
  readonly length: number;
  /** The memory that lies there; undefined for MMIO, which can be neither pinned nor copied. */
  readonly backing: Backing | undefined;
  /** Where in the memory the stretch starts, in bytes. */
  readonly offset: number;
}

/** Addresses are numbers: those of a process lie below 2^53, where a number is exact. Nothing lies at any other. */
export interface AddressSpace {
  /** Where its pages are asked for, if they are not the machine's own: `find` finds none of them then. */
  readonly foreign: ForeignMemory | undefined;
  find(address: number): Placement | undefined;
  /** Copies out of memory; false (with part of it copied) where some of it is not there. */
  read(address: number, into: Uint8Array): boolean;
  /** Copies into memory; false (with part of it copied) where some of it is not there. */
  write(address: number, from: Uint8Array): boolean;
}

/** Made-up addresses start here: no process has anything there, so that mixing them up with real ones is EFAULT. */
export const FIRST_ADDRESS = 2 ** 52;
const LAST_ADDRESS = 2 ** 53;
/** Large memory starts at a multiple of this, as mmap(2) places it where there are huge pages. */
const LARGE = 2 * 1024 * 1024;

/** The address space of this process on the emulated machine. Addresses are never used again. */
export class LocalAddressSpace implements AddressSpace {
  readonly foreign = undefined;
  /** Sorted by start. */
  readonly #placements: Placement[] = [];
  #next = FIRST_ADDRESS;

  /** Places pages of memory (or MMIO) somewhere, with a page of nothing in front of it; undefined where that is full. */
  map(backing: Backing | undefined, offset: number, length: number): Placement | undefined {
    const align = length >= LARGE ? LARGE : PAGE_SIZE;
    const start = Math.ceil((this.#next + PAGE_SIZE) / align) * align;
    if (start + length > LAST_ADDRESS) return undefined;
    this.#next = start + length;
    backing?.hold();
    const placement = { start, length, backing, offset };
    this.#placements.push(placement);
    return placement;
  }

  unmap(placement: Placement): void {
    const index = this.#indexOf(placement.start);
    if (this.#placements[index] !== placement) throw new Error('this is not mapped');
    this.#placements.splice(index, 1);
    placement.backing?.drop();
  }

  find(address: number): Placement | undefined {
    const placement = this.#placements[this.#indexOf(address)];
    return placement !== undefined && address < placement.start + placement.length ? placement : undefined;
  }
  /** The last placement that starts at or before an address. */
  #indexOf(address: number): number {
    let low = 0;
    let high = this.#placements.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#placements[middle]?.start ?? 0) <= address) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  read(address: number, into: Uint8Array): boolean {
    for (let done = 0; done < into.length; ) {
      const part = this.#part(address + done, into.length - done);
      if (part === undefined) return false;
      into.set(part, done);
      done += part.length;
    }
    return true;
  }
  write(address: number, from: Uint8Array): boolean {
    for (let done = 0; done < from.length; ) {
      const part = this.#part(address + done, from.length - done);
      if (part === undefined) return false;
      part.set(from.subarray(done, done + part.length));
      done += part.length;
    }
    return true;
  }
  #part(address: number, length: number): Uint8Array | undefined {
    const placement = this.find(address);
    if (placement?.backing === undefined) return undefined;
    const at = address - placement.start;
    return placement.backing.bytes(placement.offset + at, Math.min(length, placement.length - at));
  }
}
