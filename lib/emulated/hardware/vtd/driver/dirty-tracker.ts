// What a second-stage table knows of writes: the dirty flags of its entries, which hardware sets while tracking is on (SSADE
// of PASID table entries).
import type { DirtyTracker } from '../../../kernel/driver.js';
import { PAGE_SIZE } from '../../../memory/backing.js';
import { DirtyPages } from '../../dirty-pages.js';
import { leafAround } from '../../leaf.js';
import type { VtdPagingDomain } from './paging-domain.js';

export class VtdDirtyTracker implements DirtyTracker {
  readonly #pages = new DirtyPages();
  readonly #domain: VtdPagingDomain;
  #enabled = false;

  constructor(
    domain: VtdPagingDomain,
    readonly readsWhileOff: boolean,
  ) {
    this.#domain = domain;
  }

  get enabled(): boolean {
    return this.#enabled;
  }
  setTracking(enable: boolean): number {
    if (this.#enabled === enable) return 0;
    this.#enabled = enable;
    // Entries of PASID tables change: nothing of what was cached holds.
    this.#domain.core.flushAll();
    return 0;
  }

  written(page: number): void {
    if (this.#enabled) this.#pages.add(page, page);
  }
  /** Entries go. */
  forget(iova: bigint, length: bigint): void {
    if (!this.#pages.empty) this.#pages.remove(pageOf(iova), pageOf(iova + length - 1n));
  }

  read(iova: bigint, last: bigint, clear: boolean, report: (start: bigint, length: bigint) => void): void {
    if (!this.#pages.empty) this.#report(pageOf(iova), pageOf(last), clear, report);
    // Linux has everything forgotten then, also where nothing was dirty (iommu_read_and_clear_dirty): so a later write is noted.
    if (clear) this.#domain.core.flushAll();
  }
  #report(first: number, last: number, clear: boolean, report: (start: bigint, length: bigint) => void): void {
    const { translation } = this.#domain;
    // Entries that reach into the range count as a whole.
    const { start } = leafAround(translation, first);
    const tail = leafAround(translation, last);
    const end = tail.start + tail.pages - 1;
    for (let page = this.#pages.next(start, end); page >= 0; ) {
      const leaf = leafAround(translation, page);
      const next = leaf.start + leaf.pages;
      if (clear) this.#pages.remove(leaf.start, next - 1);
      report(BigInt(leaf.start) * BigInt(PAGE_SIZE), BigInt(leaf.pages) * BigInt(PAGE_SIZE));
      page = next <= end ? this.#pages.next(next, end) : -1;
    }
  }
}

function pageOf(iova: bigint): number {
  return Number(iova / BigInt(PAGE_SIZE));
}
