// A guest's page tables in the Armv8-A format (Arm DDI 0487, D8.3), in its own memory, of every granule and width of addresses.
import type { GuestRam } from './smmuv3-ram.js';

/** Bits of an address within a page: 4, 16 or 64 KiB. */
export type Granule = 12 | 14 | 16;

/** Bits of a descriptor. */
export const DESCRIPTOR = {
  valid: 1n,
  /** A table above level 3, a page at level 3; without it, above level 3, a block. */
  table: 2n,
  unprivileged: 1n << 6n,
  readOnly: 1n << 7n,
  accessed: 1n << 10n,
  notGlobal: 1n << 11n,
  /** One of a row that may be kept as one translation. */
  contiguous: 1n << 52n,
  /** Of a table: nothing below it is writable. */
  tableReadOnly: 1n << 62n,
} as const;

const SHARED = 3n << 8n;
const LAST_LEVEL = 3;

/** What a leaf usually has: accesses of any kind, by one address space. */
export const USUAL_LEAF =
  DESCRIPTOR.valid | SHARED | DESCRIPTOR.unprivileged | DESCRIPTOR.accessed | DESCRIPTOR.notGlobal;

export interface TableOptions {
  readonly granule?: Granule;
  /** Bits of the addresses that it translates: 64 less TxSZ. */
  readonly bits?: number;
}

export class GuestTables {
  readonly granule: Granule;
  readonly bits: number;
  /** The level of the table that the walk begins at. */
  readonly firstLevel: number;
  /** Where that one is, for the guest. */
  readonly root: bigint;
  readonly #ram: GuestRam;

  constructor(ram: GuestRam, { granule = 12, bits = 39 }: TableOptions = {}) {
    this.granule = granule;
    this.bits = bits;
    this.#ram = ram;
    this.firstLevel = LAST_LEVEL + 1 - Math.ceil((bits - granule) / (granule - 3));
    this.root = ram.take(1 << granule);
  }

  /** Bits of an address that one entry of this level covers. */
  shift(level: number): number {
    return this.granule + (LAST_LEVEL - level) * (this.granule - 3);
  }

  /** Where the descriptor of this level for an address is, for the guest; tables above it are made. */
  at(va: bigint, level: number = LAST_LEVEL): bigint {
    let table = this.root;
    for (let above = this.firstLevel; above < level; above++) {
      const at = this.#entry(table, va, above);
      const descriptor = this.#ram.load(at);
      if ((descriptor & DESCRIPTOR.valid) === 0n) {
        table = this.#ram.take(1 << this.granule);
        this.#ram.store(at, table | DESCRIPTOR.valid | DESCRIPTOR.table);
      } else table = descriptor & ((1n << 48n) - 1n) & ~((1n << BigInt(this.granule)) - 1n);
    }
    return this.#entry(table, va, level);
  }
  #entry(table: bigint, va: bigint, level: number): bigint {
    const shift = BigInt(this.shift(level));
    const above = level === this.firstLevel ? this.bits : this.shift(level - 1);
    const index = (va & ((1n << BigInt(above)) - 1n)) >> shift;
    return table + index * 8n;
  }

  load(va: bigint, level: number = LAST_LEVEL): bigint {
    return this.#ram.load(this.at(va, level));
  }
  /** Writes the descriptor of this level for an address, whatever it says. */
  store(va: bigint, level: number, descriptor: bigint): void {
    this.#ram.store(this.at(va, level), descriptor);
  }
  /** Adds bits to the descriptor of this level for an address. */
  mark(va: bigint, level: number, bits: bigint): void {
    this.store(va, level, this.load(va, level) | bits);
  }

  /** A page, or a block at a level above; both addresses are multiples of its size. */
  map(va: bigint, to: bigint, attributes = USUAL_LEAF, level: number = LAST_LEVEL): void {
    this.store(va, level, to | attributes | (level === LAST_LEVEL ? DESCRIPTOR.table : 0n));
  }
  unmap(va: bigint, level: number = LAST_LEVEL): void {
    this.store(va, level, 0n);
  }
}
