// Which pages devices wrote. The kernel only sets bits, and a hole in the mappings ends its walk with success: so the
// buffer is zeroed first, and every stretch that is mapped from end to end gets a call of its own, or a migration would
// lose pages (drivers/iommu/iommufd/io_pagetable.c, iommu_read_and_clear_dirty).
import { checkOptions, toBoolean, toSize, toU64, type U64, U64_MAX } from '../host/arguments.js';
import { destroyed, outOfRange, show, UsageError } from '../host/errors.js';
import type { Region } from '../host/seam.js';
import * as uapi from '../uapi/iommufd.js';
import { type BitRun, bitRuns } from './bit-runs.js';
import { allocateBlock, call, freeBlock } from './call.js';
import type { Context } from './context.js';
import { checkAlive, idOf, type KernelObject } from './kernel-object.js';
import type { MappedRun, MappingTable } from './mappings.js';

export interface DirtyBitmapOptions {
  /** The first IOVA, a multiple of the page size. */
  readonly iova: U64;
  /** Bytes, a multiple of the page size. */
  readonly length: U64;
  /** Bytes each bit stands for, a power of two; 4096 if left out. */
  readonly pageSize?: U64;
}

export interface DirtyReadOptions {
  /** Whether reading forgets what was noted, so that the next read tells what is new; true if left out. */
  readonly clear?: boolean;
}

/** A stretch of pages that were written. */
export interface DirtyRange {
  readonly iova: bigint;
  /** Bytes. */
  readonly length: bigint;
}

/** A mapped stretch and where its bits lie: bit 0 of word `word` is its first page. */
interface Stretch {
  readonly iova: bigint;
  readonly length: bigint;
  readonly pages: number;
  readonly word: number;
}

const collected = new FinalizationRegistry<Region>((block) => block.drop());

/** Made by `hwpt.dirtyBitmap`. It keeps its buffer between reads: nothing is allocated while mappings stay the same. */
export class DirtyBitmap {
  /** The first IOVA of its range. */
  readonly iova: bigint;
  /** Bytes of its range. */
  readonly length: bigint;
  /** Bytes each bit stands for. */
  readonly pageSize: bigint;
  readonly #hwpt: KernelObject;
  readonly #context: Context;
  readonly #table: MappingTable;
  #stretches: Stretch[] = [];
  #generation = -1;
  #block: Region | undefined;
  #words = new Uint32Array(0);
  /** The last read was refused half-way: what it found is forgotten by the kernel, so the next read adds to it. */
  #unfinished = false;
  #reading = false;
  #freed = false;

  /** Not for callers: use `hwpt.dirtyBitmap`. */
  constructor(hwpt: KernelObject, ctx: Context, table: MappingTable, options: DirtyBitmapOptions) {
    checkOptions(options, ['iova', 'length', 'pageSize']);
    const pageSize = toSize(options.pageSize ?? 4096, 'pageSize');
    if (!Number.isInteger(Math.log2(pageSize))) throw outOfRange('pageSize', 'a power of two', options.pageSize);
    this.pageSize = BigInt(pageSize);
    this.iova = toU64(options.iova, 'iova');
    this.length = toU64(options.length, 'length');
    const unit = `a multiple of the page size ${pageSize}`;
    if (this.iova % this.pageSize !== 0n) throw outOfRange('iova', unit, this.iova);
    if (this.length === 0n || this.length % this.pageSize !== 0n)
      throw outOfRange('length', `positive, ${unit}`, this.length);
    if (this.length > U64_MAX - this.iova + 1n) throw outOfRange('length', 'within 2^64 from iova on', this.length);
    this.#hwpt = hwpt;
    this.#context = ctx;
    this.#table = table;
  }

  /**
   * Asks the kernel which mapped pages of the range were written (IOMMU_HWPT_GET_DIRTY_BITMAP, Linux 6.7) since the last
   * read that cleared. What this process did not map is not asked about.
   * @throws UsageError ERR_IOMMUFD_BUSY (from a listener to its own traces);
   * IommufdError EOPNOTSUPP (not allocated with dirtyTracking: true), EINVAL (the range does not fit the
   * alignment of the IOAS); RangeError (mappings are not made of pages of this size). What a refused read found stays, and
   * the next one adds to it
   */
  read(options: DirtyReadOptions = {}): this {
    checkOptions(options, ['clear']);
    const clear = toBoolean(options.clear, 'clear', true);
    this.#checkAlive();
    if (this.#reading) throw new UsageError('ERR_IOMMUFD_BUSY', 'this dirty bitmap is being read already');
    if (this.#generation !== this.#table.generation) this.#layOut();
    if (!this.#unfinished) this.#words.fill(0);
    this.#unfinished = true;
    this.#reading = true;
    try {
      this.#readStretches(clear);
    } finally {
      this.#reading = false;
    }
    this.#unfinished = false;
    return this;
  }

  #checkAlive(): void {
    if (this.#freed) throw destroyed('this dirty bitmap');
    checkAlive(this.#hwpt);
  }

  #readStretches(clear: boolean): void {
    const flags = clear ? 0 : uapi.iommufd_hwpt_get_dirty_bitmap_flags.values.IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR;
    for (const { iova, length, word } of this.#stretches) {
      // A listener to traces may have ended either.
      this.#checkAlive();
      call(this.#context, uapi.IOMMU_HWPT_GET_DIRTY_BITMAP, {
        hwpt_id: idOf(this.#hwpt),
        flags,
        iova,
        length,
        page_size: this.pageSize,
        data: (this.#block?.address ?? 0n) + BigInt(word * 4),
      });
    }
  }

  /** The written stretches of the last read, in order, neighbours joined. */
  *ranges(): Generator<DirtyRange, void, undefined> {
    let open: { iova: bigint; length: bigint } | undefined;
    for (const { first, count, stretch } of this.#bitRuns()) {
      const iova = stretch.iova + BigInt(first) * this.pageSize;
      const length = BigInt(count) * this.pageSize;
      if (open !== undefined && open.iova + open.length === iova) {
        open.length += length;
        continue;
      }
      if (open !== undefined) yield open;
      open = { iova, length };
    }
    if (open !== undefined) yield open;
  }

  /** How many pages the last read found written. */
  get dirtyPages(): number {
    let pages = 0;
    for (const { count } of this.#bitRuns()) pages += count;
    return pages;
  }

  /** Whether the last read found the page at this IOVA written. */
  isDirty(iova: U64): boolean {
    const at = toU64(iova, 'iova');
    const stretch = this.#stretches.find((one) => at >= one.iova && at < one.iova + one.length);
    if (stretch === undefined) return false;
    const page = Number((at - stretch.iova) / this.pageSize);
    return (((this.#words[stretch.word + (page >>> 5)] ?? 0) >>> (page & 31)) & 1) === 1;
  }

  /** Gives the buffer back. Twice is fine. */
  free(): void {
    if (this.#freed) return;
    this.#freed = true;
    this.#dropBlock();
    this.#stretches = [];
  }

  [Symbol.dispose](): void {
    this.free();
  }

  /** Runs of set bits, stretch by stretch. */
  *#bitRuns(): Generator<BitRun & { readonly stretch: Stretch }, void, undefined> {
    for (const stretch of this.#stretches) {
      for (const run of bitRuns(this.#words, stretch.word, stretch.pages)) yield { ...run, stretch };
    }
  }

  /** Finds the mapped stretches, and room for their bits. */
  #layOut(): void {
    const runs: MappedRun[] = this.#table.runs(this.iova, this.length);
    // The kernel would refuse this stretch after it has told, and forgotten, those before it.
    const misfit = runs.find(({ iova, length }) => ((iova | length) & (this.pageSize - 1n)) !== 0n);
    if (misfit !== undefined) {
      const stretch = `the mappings of ${show(misfit.length)} bytes from ${show(misfit.iova)} on`;
      throw outOfRange('pageSize', `a size of pages that ${stretch} are made of`, this.pageSize);
    }
    let word = 0;
    const stretches = runs.map(({ iova, length }) => {
      const pages = Number((length + this.pageSize - 1n) / this.pageSize);
      const stretch = { iova, length, pages, word };
      // The kernel writes whole 64-bit words.
      word += Math.ceil(pages / 64) * 2;
      return stretch;
    });
    // What a refused read found is in the old places, and the kernel has forgotten it.
    const found = this.#unfinished ? [...this.ranges()] : [];
    if (word > this.#words.length) this.#grow(word);
    this.#stretches = stretches;
    // Last of all: where there was no memory for the bits, the next read lays out again.
    this.#generation = this.#table.generation;
    if (!this.#unfinished) return;
    this.#words.fill(0);
    for (const range of found) this.#mark(range);
  }

  /** Sets the bits of pages that were found written, as far as they are mapped still. */
  #mark(range: DirtyRange): void {
    for (const { iova, pages, word } of this.#stretches) {
      const first = Number((range.iova - iova) / this.pageSize);
      const last = Number((range.iova + range.length - iova) / this.pageSize);
      for (let page = Math.max(0, first); page < Math.min(pages, last); page++) {
        const at = word + (page >>> 5);
        this.#words[at] = (this.#words[at] ?? 0) | (1 << (page & 31));
      }
    }
  }

  #grow(word: number): void {
    const block = allocateBlock(this.#context.seam, word * 4);
    this.#dropBlock();
    collected.register(this, block, this);
    this.#block = block;
    const { buffer, byteOffset } = block.window(0, block.length);
    this.#words = new Uint32Array(buffer, byteOffset, block.length / 4);
  }

  #dropBlock(): void {
    collected.unregister(this);
    if (this.#block !== undefined) freeBlock(this.#block);
    this.#block = undefined;
    this.#words = new Uint32Array(0);
  }
}
