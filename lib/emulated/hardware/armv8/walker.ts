// The walk through Armv8-A's stage-1 page tables, as an SMMUv3 makes it (Arm DDI 0487, D8; SMMUv3 manual, IHI 0070, 3.4). The
// tables are a guest's: whatever they hold, a walk loads four words at most, each through `TableMemory`.
import { FETCH, type TableMemory } from '../table-memory.js';
import { PERMIT } from '../tlb.js';
import {
  ACCESSED,
  DESCRIPTOR_BYTES,
  hasBlocks,
  LAST_LEVEL,
  LEAF_ATTRIBUTES,
  NOT_GLOBAL,
  PAGE_BITS,
  pageIn,
  READ_ONLY,
  TABLE_OR_PAGE,
  TABLE_PRIVILEGED,
  TABLE_READ_ONLY,
  tableIndexBits,
  UNPRIVILEGED,
  VALID,
} from './descriptor.js';
import { alignDown, power } from './power.js';
import { firstLevel, isTranslated, type Regime } from './regime.js';

/** How a walk ended. */
export const WALK = {
  done: 0,
  /** Nothing is there, or the address is none that the regime translates. */
  translation: 1,
  /** An address is longer than the regime's output addresses: a table's, or the one translated to. */
  addressSize: 2,
  /** The leaf was never accessed, and that is to be told. */
  access: 3,
  /** Never a walk's own answer: for who compares an access with `permissions`. */
  permission: 4,
  /** Stage 2 does not let a table be read, at `fetchAddress`. */
  fetch: 5,
  /** There is no memory where a table should be, at `fetchAddress`. */
  abort: 6,
} as const;

/** A step's answer: the walk goes on in another table. */
const NEXT_TABLE = -1;
const PAGE_SIZE = 2 ** PAGE_BITS;
const READ_WRITE = PERMIT.read | PERMIT.write;

export class Stage1Walker {
  // What a walk that is done has found.

  /** The first page behind the leaf, and how many there are: page numbers are of 4 KiB, and aligned to the leaf's size. */
  outPage = 0;
  log2Pages = 0;
  /** What unprivileged accesses may do: bits of PERMIT. Not 0: pages that CD.PAN keeps from privileged ones. */
  permissions = 0;
  /** What privileged accesses may do. */
  privilegedPermissions = 0;
  /** The leaf holds for all ASIDs. */
  global = false;

  // Of any walk.

  /** The level of the leaf, or of the descriptor that the fault is about; 0 where it comes before the first one. */
  level = 0;
  /** The descriptor that could not be read (WALK.fetch, abort): its intermediate physical address. */
  fetchAddress = 0;

  readonly #memory: TableMemory;
  /** The table that is looked into: its page, and the offset within that of a first table smaller than a page. */
  #tablePage = 0;
  #tableOffset = 0;
  /** Upper halves of the table descriptors on the way: a bit that any of them has. */
  #fromTables = 0;

  constructor(memory: TableMemory) {
    this.#memory = memory;
  }

  /**
   * Looks an address up. Privileges, CD.E0PD and writes to what is read-only are the caller's to check, from the results.
   * @param page the address's bits 63 to 12
   * @param high it is of the upper half (`inUpperHalf`), and `regime` that half's
   * @returns one of WALK
   */
  walk(regime: Regime, page: number, high: boolean): number {
    this.level = 0;
    if (!isTranslated(regime, page, high)) return WALK.translation;
    if (regime.table >= power(regime.outputBits)) return WALK.addressSize;
    const perLevel = tableIndexBits(regime.granule);
    let level = firstLevel(regime);
    /** Bits of the page number below the level's index. */
    let shift = regime.granule - PAGE_BITS + (LAST_LEVEL - level) * perLevel;
    let entries = power(regime.inputBits - PAGE_BITS - shift);
    this.#start(regime, entries * DESCRIPTOR_BYTES);
    for (; level <= LAST_LEVEL; level++) {
      const index = (page / power(shift)) & (entries - 1);
      const ended = this.#step(regime, level, index, shift);
      if (ended !== NEXT_TABLE) return ended;
      shift -= perLevel;
      entries = power(perLevel);
    }
    return WALK.translation;
  }
  #start({ table }: Regime, size: number): void {
    const start = alignDown(table, size);
    this.#tablePage = Math.floor(start / PAGE_SIZE);
    this.#tableOffset = start - this.#tablePage * PAGE_SIZE;
    this.#fromTables = 0;
  }

  /** Follows one descriptor. What is wrong is found in the architecture's order: its form, the address, the access flag. */
  #step(regime: Regime, level: number, index: number, shift: number): number {
    this.level = level;
    const fetched = this.#fetch(this.#tableOffset + index * DESCRIPTOR_BYTES);
    if (fetched !== FETCH.done) return fetched === FETCH.abort ? WALK.abort : WALK.fetch;
    const { low, high } = this.#memory;
    if ((low & VALID) === 0) return WALK.translation;
    const leadsOn = (low & TABLE_OR_PAGE) !== 0;
    if (!leadsOn && !hasBlocks(regime, level)) return WALK.translation;
    const page = pageIn(low, high, regime);
    if (page >= power(regime.outputBits - PAGE_BITS)) return WALK.addressSize;
    if (leadsOn && level < LAST_LEVEL) {
      this.#tablePage = page;
      this.#tableOffset = 0;
      this.#fromTables |= high;
      return NEXT_TABLE;
    }
    this.log2Pages = shift;
    this.outPage = alignDown(page, power(shift));
    return this.#allow(regime, low & LEAF_ATTRIBUTES);
  }
  #fetch(at: number): number {
    const page = this.#tablePage + (at >>> PAGE_BITS);
    const offset = at & (PAGE_SIZE - 1);
    const fetched = this.#memory.loadFrom(page, offset);
    if (fetched !== FETCH.done) this.fetchAddress = page * PAGE_SIZE + offset;
    return fetched;
  }

  #allow(regime: Regime, attributes: number): number {
    if (regime.accessFlagFaults && (attributes & ACCESSED) === 0) return WALK.access;
    const fromTables = regime.hierarchical ? this.#fromTables : 0;
    const readOnly = (attributes & READ_ONLY) !== 0 || (fromTables & TABLE_READ_ONLY) !== 0;
    const unprivileged = (attributes & UNPRIVILEGED) !== 0 && (fromTables & TABLE_PRIVILEGED) === 0;
    this.privilegedPermissions = readOnly ? PERMIT.read : READ_WRITE;
    this.permissions = unprivileged ? this.privilegedPermissions : 0;
    this.global = (attributes & NOT_GLOBAL) === 0;
    return WALK.done;
  }
}
