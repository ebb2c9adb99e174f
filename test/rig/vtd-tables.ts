// First-stage page tables of VT-d in a guest's memory: x86-64's format, of four or five levels (VT-d manual, 9.7).
import type { DmaMemory } from '../../lib/index.js';

const PAGE = 4096;
const WORD = 8;
/** Address bits that one level takes, and those below the lowest. */
const LEVEL_BITS = 9n;
const PAGE_BITS = 12n;
const INDEX = 511n;

/** Bits of an entry. */
export const ENTRY = {
  present: 1n << 0n,
  writable: 1n << 1n,
  user: 1n << 2n,
  accessed: 1n << 5n,
  dirty: 1n << 6n,
  large: 1n << 7n,
  extendedAccessed: 1n << 10n,
  noExecute: 1n << 63n,
} as const;
const ADDRESS = 0x000f_ffff_ffff_f000n;

/** What leads further down: it restricts nothing. */
const TABLE = ENTRY.present | ENTRY.writable | ENTRY.user;

/** Levels of leaves, by their size in bytes. */
const LEAF_LEVELS = { 4096: 0, 2097152: 1, 1073741824: 2 } as const;
export type LeafSize = keyof typeof LEAF_LEVELS;

export interface MapOptions {
  readonly size?: LeafSize;
  readonly writable?: boolean;
  /** Whether others than supervisors may use it. */
  readonly user?: boolean;
}

/** Where the memory lies for the guest, and where in it the tables may be. */
export interface TablePlace {
  /** The guest physical address of the memory's start. */
  readonly base: bigint;
  /** Offset of the first page that is free for tables. */
  readonly from: number;
  readonly levels?: 4 | 5;
}

export class VtdTables {
  readonly levels: 4 | 5;
  /** Where the root lies for the guest: the table to hand to the IOMMU. */
  readonly root: bigint;
  readonly #ram: DmaMemory;
  readonly #base: bigint;
  readonly #root: number;
  #free: number;

  constructor(ram: DmaMemory, { base, from, levels = 4 }: TablePlace) {
    this.#ram = ram;
    this.#base = base;
    this.#free = from;
    this.levels = levels;
    this.#root = this.#newTable();
    this.root = base + BigInt(this.#root);
  }

  /** The data of a nested page table with this root. */
  get vtd(): { readonly pageTable: bigint; readonly addressWidth: 48 | 57 } {
    return { pageTable: this.root, addressWidth: this.levels === 5 ? 57 : 48 };
  }

  /** Leads an address to a guest physical one; tables in between are made where there are none. */
  map(address: bigint, to: bigint, { size = 4096, writable = true, user = true }: MapOptions = {}): void {
    const level = LEAF_LEVELS[size];
    const large = level > 0 ? ENTRY.large : 0n;
    const rights = (writable ? ENTRY.writable : 0n) | (user ? ENTRY.user : 0n);
    this.put(this.entryAt(address, level), to | ENTRY.present | rights | large);
  }
  unmap(address: bigint, size: LeafSize = 4096): void {
    this.put(this.entryAt(address, LEAF_LEVELS[size]), 0n);
  }

  /** The offset in memory of the entry for an address at a level: 0 is the lowest one. Tables above it are made. */
  entryAt(address: bigint, level: number): number {
    let table = this.#root;
    for (let above = this.levels - 1; above > level; above--) {
      const entry = table + indexOf(address, above) * WORD;
      let value = this.get(entry);
      if ((value & ENTRY.present) === 0n) {
        value = (this.#base + BigInt(this.#newTable())) | TABLE;
        this.put(entry, value);
      }
      table = Number((value & ADDRESS) - this.#base);
    }
    return table + indexOf(address, level) * WORD;
  }
  /** The entry itself. */
  entry(address: bigint, level = 0): bigint {
    return this.get(this.entryAt(address, level));
  }

  get(offset: number): bigint {
    const bytes = this.#ram.read(offset, WORD);
    return new DataView(bytes.buffer, bytes.byteOffset, WORD).getBigUint64(0, true);
  }
  put(offset: number, value: bigint): void {
    const bytes = new Uint8Array(WORD);
    new DataView(bytes.buffer).setBigUint64(0, value, true);
    this.#ram.write(offset, bytes);
  }

  #newTable(): number {
    const table = this.#free;
    this.#free += PAGE;
    this.#ram.write(table, new Uint8Array(PAGE));
    return table;
  }
}

function indexOf(address: bigint, level: number): number {
  return Number((address >> (PAGE_BITS + LEVEL_BITS * BigInt(level))) & INDEX);
}
