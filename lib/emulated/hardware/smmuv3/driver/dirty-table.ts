// What the hardware notes in the kernel's stage-1 table of a domain that tracks dirty pages. It always does: a writable entry is
// dirty from its making on, until its state is read and cleared (ARM_LPAE_PTE_DBM and visit_dirty, io-pgtable-arm.c).
import { ERRNO } from '../../../../uapi/errno.js';
import type { DirtyTracker } from '../../../kernel/driver.js';
import { IoPagetable } from '../../../kernel/io-pagetable.js';
import { DirtyPages } from '../../dirty-pages.js';
import { leafAround } from '../../leaf.js';
import { Stage1Table } from './stage1-table.js';

type Report = (start: bigint, length: bigint) => void;

const PAGE = 4096n;
/** The last page that there could be. */
const LAST_PAGE = 2 ** 52 - 1;

export class DirtyTable extends Stage1Table implements DirtyTracker {
  readonly enabled = true;
  readonly readsWhileOff = true;
  /** Pages of 4 KiB; an entry is dirty where one of its pages is. */
  readonly #dirty = new DirtyPages();
  /** Whether anything was ever read: before that, all that is writable is dirty. */
  #wasRead = false;

  override translate(page: number, offset: number, write: boolean): number {
    const address = super.translate(page, offset, write);
    if (write && address >= 0 && this.#wasRead) this.#dirty.add(page, page);
    return address;
  }
  override frame(page: number, write: boolean): number {
    const frame = super.frame(page, write);
    if (write && frame >= 0 && this.#wasRead) this.#dirty.add(page, page);
    return frame;
  }

  /**
   * There is nothing to switch, but that everything was read and cleared first: that fails where memory of a device was
   * mapped and is gone.
   */
  setTracking(enable: boolean): number {
    const { translation } = this.domain;
    const isHoled = translation instanceof IoPagetable && firstHole(translation, 0, LAST_PAGE) <= LAST_PAGE;
    return enable && isHoled ? -ERRNO.EINVAL : 0;
  }

  mapped(iova: bigint, length: bigint): void {
    if (this.#wasRead && super.translate(pageOf(iova), 0, true) >= 0) this.#add(iova, length);
  }
  unmapped(iova: bigint, length: bigint): void {
    this.#dirty.remove(pageOf(iova), pageOf(iova + length - 1n));
  }
  #add(iova: bigint, length: bigint): void {
    this.#dirty.add(pageOf(iova), pageOf(iova + length - 1n));
  }

  /**
   * As the kernel walks: from `iova` on in steps of whole entries, also where it begins within one, which it then takes to
   * begin there; and no further than to a hole.
   */
  read(iova: bigint, last: bigint, clear: boolean, report: Report): void {
    const { translation } = this.domain;
    if (!(translation instanceof IoPagetable)) return;
    this.#begin(translation);
    const runs = new Runs(report);
    let page = pageOf(iova);
    const end = Math.min(pageOf(last), firstHole(translation, page, pageOf(last)) - 1);
    while (page <= end) {
      const { start, pages } = leafAround(translation, page);
      const next = start + pages;
      if (this.#dirty.next(start, next - 1) >= 0) {
        runs.add(page, pages);
        if (clear) this.#dirty.remove(start, next - 1);
      }
      page += pages;
      if (page === next) page = this.#nextEntry(translation, page, end);
    }
    runs.flush();
  }
  /** The first entry from a page on that is dirty; behind `end` where there is none. */
  #nextEntry(map: IoPagetable, page: number, end: number): number {
    if (page > end) return page;
    const { start, pages } = leafAround(map, end);
    const written = this.#dirty.next(page, start + pages - 1);
    return written < 0 ? end + 1 : leafAround(map, written).start;
  }
  #begin(map: IoPagetable): void {
    if (this.#wasRead) return;
    this.#wasRead = true;
    for (const { iova, length, writable } of map.areas()) if (writable) this.#add(iova, length);
  }
}

function pageOf(iova: bigint): number {
  return Number(iova / PAGE);
}

/** The first page of a range that is mapped to a device's memory which is gone; behind `last` where there is none. */
function firstHole(map: IoPagetable, first: number, last: number): number {
  const { areaTable } = map;
  for (let slot = areaTable.from(first, 0); slot >= 0; slot = areaTable.next(slot)) {
    const start = Math.max(first, areaTable.startPage[slot] ?? 0);
    if (start > last) break;
    if (map.translateAny(start, 0) < 0) return start;
  }
  return last + 1;
}

/** Joins entries side by side. */
class Runs {
  readonly #report: Report;
  #start = 0;
  #pages = 0;

  constructor(report: Report) {
    this.#report = report;
  }
  add(page: number, pages: number): void {
    if (this.#pages > 0 && this.#start + this.#pages === page) {
      this.#pages += pages;
      return;
    }
    this.flush();
    this.#start = page;
    this.#pages = pages;
  }
  flush(): void {
    if (this.#pages > 0) this.#report(BigInt(this.#start) * PAGE, BigInt(this.#pages) * PAGE);
    this.#pages = 0;
  }
}
