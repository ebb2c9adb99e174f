// A TLB: leaves that walks found, whatever their sizes, which stay until they are invalidated, however page tables change.
// Numbers in one array, found by a hash table; the entries of a tag are chained besides, so that a tag goes without a look
// at those of others. Nothing is allocated but for inspection.

/** What an entry permits: bits. */
export const PERMIT = { read: 1, write: 2 } as const;

export interface TlbEntry {
  readonly tag: number;
  /** The first page, and how many. */
  readonly page: number;
  readonly pages: number;
  readonly outPage: number;
  readonly permissions: number;
}

/** How many there are at most: with more, those that were made first go, in turn. A power of two. */
const CAPACITY = 4096;
/** Places of the hash table, and of the one of tags: powers of two. */
const BUCKETS = 2 * CAPACITY;
const TAG_BUCKETS = 1024;
/** No entry. */
const NONE = -1;

// An entry is so many numbers of 32 bits, half a cache line, and is told by where they start.
const STRIDE = 8;
const TAG = 0;
/** The first page, of 52 bits: the lower 32, and the others above log2Pages. */
const LOW = 1;
const HIGH = 2;
const OUT_LOW = 3;
/** The upper bits above the permissions. */
const OUT_HIGH = 4;
/** Chains: of the hash table (and of free entries), and of the tag. */
const NEXT_IN_BUCKET = 5;
const NEXT_OF_TAG = 6;
const PREVIOUS_OF_TAG = 7;

const SIZE_BITS = 5;
const SIZE_MASK = 2 ** SIZE_BITS - 1;
const PERMISSION_BITS = 8;
const PERMISSION_MASK = 2 ** PERMISSION_BITS - 1;
const WORD = 2 ** 32;
/** A range of so few pages is removed page by page. */
const FEW_PAGES = 16;

/** Where an entry's chain starts, by all that tells it from others: `high` is as in the entry. */
function bucketOf(tag: number, low: number, high: number): number {
  const hash = Math.imul(low ^ Math.imul(high, 0x85eb_ca6b) ^ Math.imul(tag, 0xc2b2_ae35), 0x9e37_79b1);
  return (hash ^ (hash >>> 15)) & (BUCKETS - 1);
}

/** Tags tell address spaces apart: integers of 32 bits, chosen by the owner. Pages are of 4 KiB. */
export class Tlb {
  // What the last `find` that answered true found.

  /** The page behind the very page that was sought. No small integer at first, so that it is kept as a double. */
  outPage = 0.5;
  /** Bits of PERMIT, or others of the owner's: 8 of them. */
  permissions = 0;
  /** How large the leaf is. */
  log2Pages = 0;

  readonly #entries = new Int32Array(CAPACITY * STRIDE);
  readonly #buckets = new Int32Array(BUCKETS).fill(NONE);
  readonly #tagBuckets = new Int32Array(TAG_BUCKETS).fill(NONE);
  /** The chain of entries that are free; from `#made` on none was ever used. */
  #free = NONE;
  #made = 0;
  /** The one to go next where all are taken. */
  #victim = 0;
  /** How many entries there are of each size; the sizes there are, as bits. */
  readonly #counts = new Int32Array(2 ** SIZE_BITS);
  #sizes = 0;

  /** Looks for the leaf around a page: the smallest one where several are. */
  find(tag: number, page: number): boolean {
    const low = page | 0;
    const high = Math.floor(page / WORD) << SIZE_BITS;
    for (let sizes = this.#sizes; sizes !== 0; sizes &= sizes - 1) {
      const size = 31 - Math.clz32(sizes & -sizes);
      const first = low & (-1 << size);
      const entry = this.#entryIn(bucketOf(tag, first, high | size), tag, first, high | size);
      if (entry < 0) continue;
      const outHigh = this.#get(entry + OUT_HIGH);
      this.outPage = (outHigh >>> PERMISSION_BITS) * WORD + (this.#get(entry + OUT_LOW) >>> 0) + (low - first);
      this.permissions = outHigh & PERMISSION_MASK;
      this.log2Pages = size;
      return true;
    }
    return false;
  }

  /**
   * Keeps a leaf, in place of one that starts there and is as large. Others that it overlaps stay: nobody invalidated them.
   * @param page the leaf's first one, as `outPage` is behind it: multiples of the leaf's size
   * @param log2Pages 0 to 30
   */
  insert(tag: number, page: number, log2Pages: number, outPage: number, permissions: number): void {
    const low = page | 0;
    const high = (Math.floor(page / WORD) << SIZE_BITS) | log2Pages;
    const bucket = bucketOf(tag, low, high);
    const known = this.#entryIn(bucket, tag, low, high);
    const entry = known < 0 ? this.#take() : known;
    const entries = this.#entries;
    entries[entry + OUT_LOW] = outPage;
    entries[entry + OUT_HIGH] = (Math.floor(outPage / WORD) << PERMISSION_BITS) | permissions;
    if (known >= 0) return;
    entries[entry + TAG] = tag;
    entries[entry + LOW] = low;
    entries[entry + HIGH] = high;
    this.#link(entry, bucket, tag, log2Pages);
  }

  /** Removes the leaves around a page, whatever their sizes. */
  removePage(tag: number, page: number): void {
    const low = page | 0;
    const high = Math.floor(page / WORD) << SIZE_BITS;
    for (let sizes = this.#sizes; sizes !== 0; sizes &= sizes - 1) {
      const size = 31 - Math.clz32(sizes & -sizes);
      const first = low & (-1 << size);
      const bucket = bucketOf(tag, first, high | size);
      const entry = this.#entryIn(bucket, tag, first, high | size);
      if (entry >= 0) this.#unlink(entry, bucket, tag, size);
    }
  }

  /** Removes all leaves that have any page from `first` to `last`. */
  removeRange(tag: number, first: number, last: number): void {
    if (last - first < FEW_PAGES) {
      for (let page = first; page <= last; page++) this.removePage(tag, page);
      return;
    }
    for (let entry = this.#firstOf(tag); entry >= 0; ) {
      const next = this.#get(entry + NEXT_OF_TAG);
      const start = this.#pageOf(entry);
      if (this.#get(entry + TAG) === tag && start <= last && start + this.#pagesOf(entry) > first) this.#remove(entry);
      entry = next;
    }
  }

  removeTag(tag: number): void {
    for (let entry = this.#firstOf(tag); entry >= 0; ) {
      const next = this.#get(entry + NEXT_OF_TAG);
      if (this.#get(entry + TAG) === tag) this.#remove(entry);
      entry = next;
    }
  }

  clear(): void {
    this.#buckets.fill(NONE);
    this.#tagBuckets.fill(NONE);
    this.#counts.fill(0);
    this.#sizes = 0;
    this.#free = NONE;
    this.#made = 0;
    this.#victim = 0;
  }

  /** All that is kept, for inspection: in no order. */
  *entries(): Generator<TlbEntry> {
    for (const head of this.#tagBuckets) {
      for (let entry = head; entry >= 0; entry = this.#get(entry + NEXT_OF_TAG)) {
        const outHigh = this.#get(entry + OUT_HIGH);
        yield {
          tag: this.#get(entry + TAG),
          page: this.#pageOf(entry),
          pages: this.#pagesOf(entry),
          outPage: (outHigh >>> PERMISSION_BITS) * WORD + (this.#get(entry + OUT_LOW) >>> 0),
          permissions: outHigh & PERMISSION_MASK,
        };
      }
    }
  }

  #get(at: number): number {
    return this.#entries[at] ?? NONE;
  }
  #pageOf(entry: number): number {
    return (this.#get(entry + HIGH) >>> SIZE_BITS) * WORD + (this.#get(entry + LOW) >>> 0);
  }
  #pagesOf(entry: number): number {
    return 2 ** (this.#get(entry + HIGH) & SIZE_MASK);
  }
  /** The first entry of a tag's chain, which it shares with other tags. */
  #firstOf(tag: number): number {
    return this.#tagBuckets[tag & (TAG_BUCKETS - 1)] ?? NONE;
  }

  #entryIn(bucket: number, tag: number, low: number, high: number): number {
    const entries = this.#entries;
    let entry = this.#buckets[bucket] ?? NONE;
    while (entry >= 0) {
      if (entries[entry + LOW] === low && entries[entry + HIGH] === high && entries[entry + TAG] === tag) return entry;
      entry = entries[entry + NEXT_IN_BUCKET] ?? NONE;
    }
    return NONE;
  }

  /** An entry that is free, if need be by taking one from where it is. */
  #take(): number {
    if (this.#free < 0 && this.#made < CAPACITY) return STRIDE * this.#made++;
    if (this.#free < 0) {
      this.#remove(this.#victim * STRIDE);
      this.#victim = (this.#victim + 1) & (CAPACITY - 1);
    }
    const entry = this.#free;
    this.#free = this.#get(entry + NEXT_IN_BUCKET);
    return entry;
  }
  #link(entry: number, bucket: number, tag: number, size: number): void {
    const entries = this.#entries;
    entries[entry + NEXT_IN_BUCKET] = this.#buckets[bucket] ?? NONE;
    this.#buckets[bucket] = entry;
    const next = this.#firstOf(tag);
    entries[entry + NEXT_OF_TAG] = next;
    entries[entry + PREVIOUS_OF_TAG] = NONE;
    if (next >= 0) entries[next + PREVIOUS_OF_TAG] = entry;
    this.#tagBuckets[tag & (TAG_BUCKETS - 1)] = entry;
    this.#counts[size] = (this.#counts[size] ?? 0) + 1;
    this.#sizes |= 1 << size;
  }
  #remove(entry: number): void {
    const tag = this.#get(entry + TAG);
    const high = this.#get(entry + HIGH);
    this.#unlink(entry, bucketOf(tag, this.#get(entry + LOW), high), tag, high & SIZE_MASK);
  }
  #unlink(entry: number, bucket: number, tag: number, size: number): void {
    const entries = this.#entries;
    this.#unlinkFromBucket(entry, bucket);
    const next = this.#get(entry + NEXT_OF_TAG);
    const previous = this.#get(entry + PREVIOUS_OF_TAG);
    if (next >= 0) entries[next + PREVIOUS_OF_TAG] = previous;
    if (previous >= 0) entries[previous + NEXT_OF_TAG] = next;
    else this.#tagBuckets[tag & (TAG_BUCKETS - 1)] = next;
    entries[entry + NEXT_IN_BUCKET] = this.#free;
    this.#free = entry;
    const left = (this.#counts[size] ?? 0) - 1;
    this.#counts[size] = left;
    if (left === 0) this.#sizes &= ~(1 << size);
  }
  #unlinkFromBucket(entry: number, bucket: number): void {
    const entries = this.#entries;
    const next = this.#get(entry + NEXT_IN_BUCKET);
    let before = this.#buckets[bucket] ?? NONE;
    if (before === entry) {
      this.#buckets[bucket] = next;
      return;
    }
    while (entries[before + NEXT_IN_BUCKET] !== entry) before = this.#get(before + NEXT_IN_BUCKET);
    entries[before + NEXT_IN_BUCKET] = next;
  }
}
