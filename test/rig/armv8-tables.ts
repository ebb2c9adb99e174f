// Makes stage-1 page tables of Armv8-A as a guest would (Arm DDI 0487, D8.3), with any granule, for the SMMUv3's tests. It
// knows nothing of what walks them.

/** log2 of the smallest page: 4, 16 or 64 KiB. */
export type Granule = 12 | 14 | 16;

/** Where tables are put: a guest's memory, by intermediate physical address. */
export interface TableStore {
  /** Zeroed memory for a table, at a multiple of its size: 64 bytes to 64 KiB, a power of two. */
  allocate(bytes: number): number;
  /** Writes a descriptor in two halves of 32 bits (unsigned). */
  put(ipa: number, low: number, high: number): void;
}

export interface TableOptions {
  readonly granule: Granule;
  /** Bits of an address that are translated: 64 - TxSZ. */
  readonly inputBits: number;
}

/** What a leaf allows. Left out: unprivileged reading and writing, accessed, and of one ASID. */
export interface LeafAttributes {
  readonly writable?: boolean;
  readonly unprivileged?: boolean;
  readonly accessed?: boolean;
  readonly global?: boolean;
  /** Other bits, such as hints. */
  readonly extra?: bigint;
}

/** What a table takes from all that lies below. */
export interface TableAttributes {
  readonly readOnly?: boolean;
  readonly privileged?: boolean;
  readonly extra?: bigint;
}

const LAST_LEVEL = 3;
const LEAF = 1n;
const TABLE_OR_PAGE = 3n;
/** Inner shareable: to an SMMU a hint. */
const SHAREABLE = 3n << 8n;
/** The first table of a walk may be smaller than a page, but not aligned to less. */
const SMALLEST_TABLE = 64;

function bits(flags: readonly (readonly [boolean | undefined, number])[]): bigint {
  return flags.reduce((sum, [set, bit]) => (set === true ? sum | (1n << BigInt(bit)) : sum), 0n);
}

/** The address's field: bits 47 to 12, and with 64 KiB pages bits 51 to 48 of it at 15 to 12. */
function addressField(ipa: number, granule: Granule): bigint {
  const address = BigInt(ipa);
  if ((address >> BigInt(granule)) << BigInt(granule) !== address) throw new Error(`${ipa} is no multiple of a page`);
  const top = address >> 48n;
  if (top !== 0n && (granule !== 16 || top > 15n)) throw new Error(`${ipa} has no place in a descriptor`);
  return (address & (2n ** 48n - 1n)) | (top << 12n);
}

/** The descriptor of a page or of a block. */
export function leafDescriptor(ipa: number, granule: Granule, level: number, attributes: LeafAttributes = {}): bigint {
  const { writable = true, unprivileged = true, accessed = true, global = false, extra = 0n } = attributes;
  const kind = level === LAST_LEVEL ? TABLE_OR_PAGE : LEAF;
  const flags = bits([
    [unprivileged, 6],
    [!writable, 7],
    [accessed, 10],
    [!global, 11],
  ]);
  return addressField(ipa, granule) | kind | SHAREABLE | flags | extra;
}

/** The descriptor of a table. */
export function tableDescriptor(ipa: number, granule: Granule, attributes: TableAttributes = {}): bigint {
  const flags = bits([
    [attributes.privileged, 61],
    [attributes.readOnly, 62],
  ]);
  return addressField(ipa, granule) | TABLE_OR_PAGE | flags | (attributes.extra ?? 0n);
}

/** The tables of one TTB. */
export class Armv8Tables {
  /** The table that walks start with: TTB. */
  readonly root: number;
  /** The level of that table. */
  readonly firstLevel: number;
  readonly #store: TableStore;
  readonly #options: TableOptions;
  /** By address of a table's descriptor. */
  readonly #tables = new Map<number, number>();
  /** Addresses of the descriptors that are leaves. */
  readonly #leaves = new Set<number>();

  constructor(store: TableStore, options: TableOptions) {
    this.#store = store;
    this.#options = options;
    this.firstLevel = LAST_LEVEL;
    while (this.#shift(this.firstLevel - 1) < options.inputBits) this.firstLevel--;
    if (this.firstLevel < 0) throw new Error(`no tables translate ${options.inputBits} bits`);
    const entries = 2 ** Math.max(0, options.inputBits - this.#shift(this.firstLevel));
    this.root = store.allocate(Math.max(SMALLEST_TABLE, entries * 8));
  }

  /** Bytes that a leaf of a level maps. */
  leafSize(level: number): number {
    return 2 ** this.#shift(level);
  }
  /** The levels that have leaves, the one with the largest first. */
  get leafLevels(): readonly number[] {
    const levels = this.#options.granule === 12 ? [1, 2, 3] : [2, 3];
    return levels.filter((level) => level >= this.firstLevel);
  }

  /**
   * Maps addresses of the lower half (from 0 on) or of the upper one (up to 2^64 - 1), by leaves of one level, or by the
   * largest that alignment allows.
   */
  map(va: bigint, ipa: number, length: number, attributes: LeafAttributes = {}, level?: number): void {
    for (let done = 0; done < length; ) {
      const at = va + BigInt(done);
      const leaf = level ?? this.#largest(at, ipa + done, length - done);
      const size = this.leafSize(leaf);
      if (at % BigInt(size) !== 0n || length - done < size)
        throw new Error(`${at} is not to be mapped by ${size} bytes`);
      this.#putLeaf(at, leaf, leafDescriptor(ipa + done, this.#options.granule, leaf, attributes));
      done += size;
    }
  }
  #largest(va: bigint, ipa: number, length: number): number {
    const fits = (size: number) => va % BigInt(size) === 0n && ipa % size === 0 && size <= length;
    return this.leafLevels.find((level) => fits(this.leafSize(level))) ?? LAST_LEVEL;
  }
  #putLeaf(va: bigint, level: number, word: bigint): void {
    const at = this.descriptorAt(va, level);
    if (this.#tables.has(at)) throw new Error(`${va} is mapped by smaller leaves`);
    this.#leaves.add(at);
    this.#put(at, word);
  }

  /** Takes leaves away, whole ones; tables stay. */
  unmap(va: bigint, length: number): void {
    for (let done = 0; done < length; ) {
      const level = this.#leafLevelAt(va + BigInt(done));
      if (level === undefined) throw new Error(`nothing is mapped at ${va + BigInt(done)}`);
      const at = this.descriptorAt(va + BigInt(done), level);
      this.#leaves.delete(at);
      this.#put(at, 0n);
      done += this.leafSize(level);
    }
  }
  #leafLevelAt(va: bigint): number | undefined {
    return this.leafLevels.find((level) => {
      const at = this.#find(va, level);
      return at !== undefined && this.#leaves.has(at);
    });
  }

  /** Sets what the table takes away that the descriptor of `level` leads to. */
  restrict(va: bigint, level: number, attributes: TableAttributes): void {
    this.descriptorAt(va, level + 1);
    const at = this.descriptorAt(va, level);
    this.#put(at, tableDescriptor(this.#tables.get(at) ?? 0, this.#options.granule, attributes));
  }

  /** Where the descriptor of an address lies: tables are made on the way. For what no guest in its senses would write. */
  descriptorAt(va: bigint, level: number): number {
    for (let above = this.firstLevel; above < level; above++) this.#makeTable(va, above);
    const at = this.#find(va, level);
    if (at === undefined) throw new Error(`there is no level ${level}`);
    return at;
  }
  #makeTable(va: bigint, level: number): void {
    const at = this.#find(va, level) ?? 0;
    if (this.#tables.has(at)) return;
    if (this.#leaves.has(at)) throw new Error(`${va} is mapped by a larger leaf`);
    const { granule } = this.#options;
    const table = this.#store.allocate(2 ** granule);
    this.#tables.set(at, table);
    this.#put(at, tableDescriptor(table, granule));
  }
  #find(va: bigint, level: number): number | undefined {
    if (level < this.firstLevel || level > LAST_LEVEL) return undefined;
    let table = this.root;
    for (let above = this.firstLevel; above < level; above++) {
      const next = this.#tables.get(table + this.#index(va, above) * 8);
      if (next === undefined) return undefined;
      table = next;
    }
    return table + this.#index(va, level) * 8;
  }
  #index(va: bigint, level: number): number {
    const { granule, inputBits } = this.#options;
    const inTable = BigInt.asUintN(inputBits, va) >> BigInt(this.#shift(level));
    return Number(BigInt.asUintN(granule - 3, inTable));
  }
  /** Bits of an address below a level's index. */
  #shift(level: number): number {
    const { granule } = this.#options;
    return granule + (LAST_LEVEL - level) * (granule - 3);
  }

  #put(at: number, word: bigint): void {
    this.#store.put(at, Number(word & 0xffff_ffffn), Number(word >> 32n));
  }
}
