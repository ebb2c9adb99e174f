// What a page table of the mock knows of writes. As in hardware the bits belong to the table's entries, and an entry is
// as large as the memory and the IOVAs allow: one written page makes the whole entry dirty (generic_pt/iommu_pt.h).
import type { DirtyTracker } from '../../kernel/driver.js';
import { DirtyPages } from '../dirty-pages.js';
import { type Entry, entryAround } from './page-table-entry.js';
import type { SelftestPagingDomain } from './paging-domain.js';

/** Bytes that one bit stands for: the smallest page of the mock's page tables. */
export const GRANULE = 2048;

type Report = (start: bigint, length: bigint) => void;

export class MockDirtyTracker implements DirtyTracker {
  readonly #pages = new DirtyPages();
  readonly #domain: SelftestPagingDomain;
  #enabled = false;

  constructor(
    domain: SelftestPagingDomain,
    readonly readsWhileOff: boolean,
  ) {
    this.#domain = domain;
  }

  get enabled(): boolean {
    return this.#enabled;
  }
  setTracking(enable: boolean): number {
    this.#enabled = enable;
    return 0;
  }

  /** Bytes from an IOVA on were written by a device. */
  written(iova: number, length: number): void {
    if (this.#enabled) this.#pages.add(Math.floor(iova / GRANULE), Math.floor((iova + length - 1) / GRANULE));
  }
  /** IOVAs are mapped anew, or not at all any more. */
  forget(iova: number, length: number): void {
    if (this.#pages.empty) return;
    this.#pages.remove(Math.floor(iova / GRANULE), Math.floor((iova + length - 1) / GRANULE));
  }

  read(iova: bigint, last: bigint, clear: boolean, report: Report): void {
    if (this.#pages.empty) return;
    const start = Number(iova);
    const runs = new Runs(start, report);
    // Entries that reach into the range count as a whole, whichever part of them was written.
    const end = endOf(entryAround(this.#domain, Number(last))) / GRANULE - 1;
    let page = this.#pages.next(entryAround(this.#domain, start).start / GRANULE, end);
    while (page >= 0) {
      const entry = entryAround(this.#domain, page * GRANULE);
      const next = endOf(entry) / GRANULE;
      if (clear) this.#pages.remove(entry.start / GRANULE, next - 1);
      runs.add(entry);
      page = next <= end ? this.#pages.next(next, end) : -1;
    }
    runs.flush();
  }
}

function endOf({ start, length }: Entry): number {
  return start + length;
}

/** Joins entries side by side. */
class Runs {
  readonly #from: number;
  readonly #report: Report;
  #start = 0;
  #length = 0;

  /** `from`: what starts before it is told by itself. */
  constructor(from: number, report: Report) {
    this.#from = from;
    this.#report = report;
  }

  add({ start, length }: Entry): void {
    if (this.#length > 0 && this.#start + this.#length === start && this.#start >= this.#from) {
      this.#length += length;
      return;
    }
    this.flush();
    this.#start = start;
    this.#length = length;
  }
  flush(): void {
    if (this.#length > 0) this.#report(BigInt(this.#start), BigInt(this.#length));
    this.#length = 0;
  }
}
