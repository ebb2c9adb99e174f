// First-stage page tables: x86-64's, of four or five levels, in a guest's memory (VT-d manual, 3.6 and 9.7). Their words are
// read through stage 2, and so are the flags written that the unit keeps in them. Requests are a user's: no device here asks
// as a supervisor, so that neither SRE nor WPE of a PASID table entry makes a difference.
import { PAGE_SIZE } from '../../memory/backing.js';
import type { PhysicalMemory } from '../../memory/physical.js';
import { FETCH, type TableMemory } from '../table-memory.js';
import { PERMIT } from '../tlb.js';
import type { GuestTable, HostTable } from './host-table.js';

/** How a walk ended. */
export const WALK = {
  done: 0,
  /** Somebody may mend it: an entry is not there, or does not allow it, or stage 2 has nothing there. A device with ATS is told so. */
  recoverable: 1,
  /** A table is not as it must be, or the address cannot be one. */
  final: 2,
} as const;

/** Of an entry in a TLB, beside PERMIT: the leaf's dirty flag is set, so that a write has nothing left to note. */
export const NOTED_DIRTY = 4;

/** Bits of an entry. */
const PRESENT = 1 << 0;
const WRITABLE = 1 << 1;
const USER = 1 << 2;
const ACCESSED = 1 << 5;
const DIRTY = 1 << 6;
const LARGE = 1 << 7;
const EXTENDED_ACCESSED = 1 << 10;

const LEVEL_BITS = 9;
const INDEX_MASK = 2 ** LEVEL_BITS - 1;
const ENTRY_SIZE = 8;
/** Pages of 2 MiB and 1 GiB are leaves of levels 1 and 2. */
const HIGHEST_LEAF = 2;
/** Indices of levels 3 and 4 lie above the 27 bits of a page number that those of the lower ones take. */
const UPPER_LEVEL = 3;
const UPPER = 2 ** -27;
const MOST_LEVELS = 5;
/** Bits that must be 0 in a leaf of each level: those of the address below its size; bit 12 is a memory type there. */
const LEAF_RESERVED = [0, 0x001f_e000, 0x3fff_e000] as const;
/** Bits 12 to 51 are an address; those above are ignored, the one that forbids to execute among them. */
const HIGH_ADDRESS = 0x000f_ffff;
const HIGH_UNIT = 2 ** 20;
/** Addresses have 52 bits. */
const ADDRESS_END = 2 ** 52;
const PAGE_NUMBERS = 2 ** 52;

/** Whether the bits above those that are translated repeat the highest of them: 47 or 56 bits are below it. */
function isCanonical(page: number, levels: 4 | 5): boolean {
  const half = levels === 5 ? 2 ** 44 : 2 ** 35;
  return page < half || page >= PAGE_NUMBERS - half;
}

/** Which entry of a table of this level leads to a page. */
function indexOf(page: number, level: number): number {
  const bits =
    level < UPPER_LEVEL
      ? page >>> (level * LEVEL_BITS)
      : Math.floor(page * UPPER) >>> ((level - UPPER_LEVEL) * LEVEL_BITS);
  return bits & INDEX_MASK;
}

export class FirstStageWalker {
  /** What the last walk that was done found: the leaf's first page behind the table, its size, and what it permits. */
  outPage = 0.5;
  log2Pages = 0;
  permissions = 0;

  readonly #memory: TableMemory;
  readonly #physical: PhysicalMemory;
  /** The entries of this walk by level: where they lie, and their lower halves. */
  readonly #addresses = new Float64Array(MOST_LEVELS);
  readonly #lows = new Int32Array(MOST_LEVELS);
  /** What is written of an entry: the half word with its flags. */
  readonly #flags = new Uint8Array(2);

  constructor(memory: TableMemory, physical: PhysicalMemory) {
    this.#memory = memory;
    this.#physical = physical;
  }

  /** Looks a page up, for a read or a write; one of WALK. */
  walk(table: GuestTable, host: HostTable, page: number, write: boolean): number {
    if (!isCanonical(page, table.levels) || table.root >= ADDRESS_END) return WALK.final;
    const memory = this.#memory;
    if (memory.stage2 !== host.translation) {
      memory.stage2 = host.translation;
      memory.forget();
    }
    let tablePage = Math.floor(table.root / PAGE_SIZE);
    // What all entries allow.
    let allowed = WRITABLE | USER;
    for (let level = table.levels - 1; level >= 0; level--) {
      const offset = indexOf(page, level) * ENTRY_SIZE;
      const fetched = memory.loadFrom(tablePage, offset);
      if (fetched !== FETCH.done) return fetched === FETCH.stage2Fault ? WALK.recoverable : WALK.final;
      const { low, high } = memory;
      if ((low & PRESENT) === 0) return WALK.recoverable;
      allowed &= low;
      this.#addresses[level] = tablePage * PAGE_SIZE + offset;
      this.#lows[level] = low;
      tablePage = (high & HIGH_ADDRESS) * HIGH_UNIT + (low >>> 12);
      if (level > 0 && (low & LARGE) === 0) continue;
      if (level > HIGHEST_LEAF || (low & (LEAF_RESERVED[level] ?? 0)) !== 0) return WALK.final;
      return this.#reachLeaf(table, host, level, tablePage, allowed, write);
    }
    return WALK.final;
  }

  #reachLeaf(
    table: GuestTable,
    host: HostTable,
    level: number,
    outPage: number,
    allowed: number,
    write: boolean,
  ): number {
    if ((allowed & USER) === 0 || (write && (allowed & WRITABLE) === 0)) return WALK.recoverable;
    const used = table.extendedAccessed ? ACCESSED | EXTENDED_ACCESSED : ACCESSED;
    for (let above = table.levels - 1; above > level; above--) {
      if (!this.#note(host, above, used)) return WALK.recoverable;
    }
    if (!this.#note(host, level, write ? used | DIRTY : used)) return WALK.recoverable;
    // The memory type of a large page lies where the lowest bit of its address would.
    this.log2Pages = level * LEVEL_BITS;
    this.outPage = outPage - (outPage & ((1 << this.log2Pages) - 1));
    const isDirty = write || ((this.#lows[level] ?? 0) & DIRTY) !== 0;
    this.permissions = PERMIT.read | ((allowed & WRITABLE) !== 0 ? PERMIT.write : 0) | (isDirty ? NOTED_DIRTY : 0);
    return WALK.done;
  }

  /** Sets flags of an entry, where they are not set; false where stage 2 does not let them be written. */
  #note(host: HostTable, level: number, flags: number): boolean {
    const low = this.#lows[level] ?? 0;
    if ((low & flags) === flags) return true;
    const address = this.#addresses[level] ?? 0;
    const page = Math.floor(address / PAGE_SIZE);
    const frame = host.frame(page, true);
    if (frame < 0) return false;
    host.written(page);
    const value = low | flags;
    this.#flags[0] = value;
    this.#flags[1] = value >>> 8;
    return this.#physical.write(frame * PAGE_SIZE + (address - page * PAGE_SIZE), this.#flags);
  }
}
