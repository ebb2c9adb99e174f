// A guest's memory, by the addresses that it knows: some taken piece by piece for tables, the rest for data.
import assert from 'node:assert/strict';
import type { DmaMemory } from '../../lib/index.js';

/** The largest page that a guest has. */
const LARGEST_PAGE = 1 << 16;
/** Bytes in front that tables are made in; the rest is data. */
const TABLES = 24 * LARGEST_PAGE;
const DATA = 8 * LARGEST_PAGE;

export class GuestRam {
  /** Bytes: a huge page. */
  static readonly size = TABLES + DATA;
  readonly memory: DmaMemory;
  /** Where it begins, for the guest: an intermediate physical address, which stage 2 translates. */
  readonly ipa: bigint;
  #taken = 0;

  constructor(memory: DmaMemory, ipa: bigint) {
    this.memory = memory;
    this.ipa = ipa;
  }

  /** Takes a piece for a table, aligned to its size (a power of two) and empty. */
  take(size: number): bigint {
    const at = Math.ceil(this.#taken / size) * size;
    assert(at + size <= TABLES, "the guest's memory for tables is used up");
    this.#taken = at + size;
    return this.ipa + BigInt(at);
  }

  /** Where data of this number begins, each `size` bytes long, for the guest. */
  data(index: number, size: number): bigint {
    assert((index + 1) * size <= DATA, `the guest has no page ${index} of ${size} bytes`);
    return this.ipa + BigInt(TABLES + index * size);
  }

  load(at: bigint): bigint {
    return new DataView(this.read(at, 8).buffer).getBigUint64(0, true);
  }
  store(at: bigint, value: bigint): void {
    const word = new Uint8Array(8);
    new DataView(word.buffer).setBigUint64(0, value, true);
    this.write(at, word);
  }
  read(at: bigint, length: number): Uint8Array {
    return this.memory.read(Number(at - this.ipa), length).slice();
  }
  write(at: bigint, bytes: Uint8Array): void {
    this.memory.write(Number(at - this.ipa), bytes);
  }
}
