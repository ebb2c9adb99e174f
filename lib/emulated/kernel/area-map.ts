// What is mapped in an IOAS, and the memory behind it: areas are put in and taken out, pinned, and found by IOVA.
import { ERRNO } from '../../uapi/errno.js';
import { PAGE_SIZE } from '../memory/backing.js';
import { Areas, READ, WRITE } from './areas.js';
import type { Translation } from './driver.js';
import type { IommufdContext } from './iommufd-file.js';
import type { PageStore } from './pages.js';

const PAGE = BigInt(PAGE_SIZE);

export interface AreaInfo {
  readonly iova: bigint;
  readonly length: bigint;
  readonly readable: boolean;
  readonly writable: boolean;
}

export class AreaMap implements Translation {
  readonly areaTable = new Areas();
  protected readonly context: IommufdContext;

  constructor(context: IommufdContext) {
    this.context = context;
  }

  get pages(): PageStore {
    return this.context.pages;
  }
  /** The slot of a new area, or -errno. `mask`: bits that its offset within a page must not have. */
  protected insertArea(
    page: number,
    offset: number,
    lastPage: number,
    lastOffset: number,
    rights: number,
    pages: number,
    index: number,
    pageOffset: number,
    mask: number,
  ): number {
    if ((rights & WRITE) !== 0 && !this.pages.isWritable(pages)) return -ERRNO.EPERM;
    if ((pageOffset & mask) !== 0) return -ERRNO.EINVAL;
    const { areaTable } = this;
    const slot = areaTable.take();
    areaTable.startPage[slot] = page;
    areaTable.startOffset[slot] = offset;
    areaTable.lastPage[slot] = lastPage;
    areaTable.lastOffset[slot] = lastOffset;
    areaTable.rights[slot] = rights;
    areaTable.pages[slot] = pages;
    areaTable.firstIndex[slot] = index;
    areaTable.pageOffset[slot] = pageOffset;
    areaTable.insert(slot);
    return slot;
  }
  /** Makes two areas of one; the second starts at an IOVA within it, and at this byte of its pages. */
  splitArea(slot: number, start: bigint, byte: bigint): void {
    const { areaTable } = this;
    const second = areaTable.take();
    areaTable.startPage[second] = Number(start / PAGE);
    areaTable.startOffset[second] = Number(start % PAGE);
    areaTable.lastPage[second] = areaTable.lastPage[slot] ?? 0;
    areaTable.lastOffset[second] = areaTable.lastOffset[slot] ?? 0;
    areaTable.rights[second] = areaTable.rights[slot] ?? 0;
    areaTable.pages[second] = areaTable.pages[slot] ?? 0;
    areaTable.firstIndex[second] = Number(byte / PAGE);
    areaTable.pageOffset[second] = Number(byte % PAGE);
    areaTable.lastPage[slot] = Number((start - 1n) / PAGE);
    areaTable.lastOffset[slot] = Number((start - 1n) % PAGE);
    areaTable.insert(second);
  }
  /** The last of an area's pages, in numbers alone. */
  #lastIndex(slot: number): number {
    const { startPage, startOffset, lastPage, lastOffset, firstIndex, pageOffset } = this.areaTable;
    const bytes = (pageOffset[slot] ?? 0) + (lastOffset[slot] ?? 0) - (startOffset[slot] ?? 0);
    return (firstIndex[slot] ?? 0) + (lastPage[slot] ?? 0) - (startPage[slot] ?? 0) + Math.floor(bytes / PAGE_SIZE);
  }
  /** A page table that follows has no entries that cannot be written. */
  protected needsWritable = false;

  protected pinArea(slot: number): number {
    if (!this.context.kernel.allocates()) return -ERRNO.ENOMEM;
    const { pages, firstIndex } = this.areaTable;
    const rc = this.pages.pin(pages[slot] ?? 0, firstIndex[slot] ?? 0, this.#lastIndex(slot));
    if (rc < 0 || this.#canBeFilled(slot)) return rc;
    this.unpinArea(slot);
    return -ERRNO.EINVAL;
  }
  /** No page table takes a mapping without any rights, which VFIO's old calls make (generic_pt/iommu_pt.h). */
  #canBeFilled(slot: number): boolean {
    return this.needsWritable ? this.isWritable(slot) : (this.areaTable.rights[slot] ?? 0) !== 0;
  }
  protected isWritable(slot: number): boolean {
    return ((this.areaTable.rights[slot] ?? 0) & WRITE) !== 0;
  }
  protected unpinArea(slot: number): void {
    const { pages, firstIndex } = this.areaTable;
    this.pages.unpin(pages[slot] ?? 0, firstIndex[slot] ?? 0, this.#lastIndex(slot));
  }
  /** Pins all areas, or none. */
  protected pinAreas(): number {
    const { areaTable } = this;
    for (let slot = areaTable.first(); slot >= 0; slot = areaTable.next(slot)) {
      const rc = this.pinArea(slot);
      if (rc === 0) continue;
      this.unpinAreas(slot);
      return rc;
    }
    return 0;
  }
  /** Unpins all areas, or those before one. */
  protected unpinAreas(end = -1): void {
    const { areaTable } = this;
    for (let slot = areaTable.first(); slot >= 0 && slot !== end; slot = areaTable.next(slot)) this.unpinArea(slot);
  }
  /** Whether every area would do for page tables of this alignment. */
  protected suits(alignment: number): boolean {
    const mask = alignment - 1;
    const { areaTable } = this;
    for (let slot = areaTable.first(); slot >= 0; slot = areaTable.next(slot)) {
      const start = areaTable.startOffset[slot] ?? 0;
      const end = (areaTable.lastOffset[slot] ?? 0) + 1;
      if ((start & mask) !== 0 || (end & mask) !== 0 || ((areaTable.pageOffset[slot] ?? 0) & mask) !== 0) return false;
    }
    return true;
  }

  translate(page: number, offset: number, write: boolean): number {
    return this.#translate(page, offset, write ? WRITE : READ);
  }
  frame(page: number, write: boolean): number {
    const { areaTable } = this;
    const slot = areaTable.at(page, 0);
    if (slot < 0 || ((areaTable.rights[slot] ?? 0) & (write ? WRITE : READ)) === 0) return -1;
    // Such a domain lets no area begin within a page.
    const index = (areaTable.firstIndex[slot] ?? 0) + page - (areaTable.startPage[slot] ?? 0);
    return this.pages.frame(areaTable.pages[slot] ?? 0, index);
  }
  /** The physical address behind an IOVA, whatever may be done there; -1 where nothing is mapped. */
  translateAny(page: number, offset: number): number {
    return this.#translate(page, offset, READ | WRITE);
  }
  #translate(page: number, offset: number, rights: number): number {
    const { areaTable } = this;
    const slot = areaTable.at(page, offset);
    if (slot < 0 || ((areaTable.rights[slot] ?? 0) & rights) === 0) return -1;
    const pages = page - (areaTable.startPage[slot] ?? 0);
    const bytes = (areaTable.pageOffset[slot] ?? 0) + offset - (areaTable.startOffset[slot] ?? 0);
    const index = (areaTable.firstIndex[slot] ?? 0) + pages + Math.floor(bytes / PAGE_SIZE);
    const frame = this.pages.frame(areaTable.pages[slot] ?? 0, index);
    return frame < 0 ? -1 : frame * PAGE_SIZE + (bytes & (PAGE_SIZE - 1));
  }

  /** Visits the areas of a range, as long as each begins where the one before ends; a visitor's number ends it. */
  eachArea<T>(
    iova: bigint,
    last: bigint,
    visit: (slot: number, start: bigint, last: bigint) => T | undefined,
  ): T | 'gap' | 'done' {
    const { areaTable } = this;
    let next = iova;
    for (;;) {
      const slot = areaTable.at(Number(next / PAGE), Number(next % PAGE));
      if (slot < 0) return 'gap';
      const areaLast = areaTable.lastOf(slot);
      const answer = visit(slot, next, areaLast < last ? areaLast : last);
      if (answer !== undefined) return answer;
      if (areaLast >= last) return 'done';
      next = areaLast + 1n;
    }
  }
  contiguous(
    iova: bigint,
    last: bigint,
    visit: (start: bigint, last: bigint) => number | undefined,
  ): number | 'gap' | 'done' {
    return this.eachArea(iova, last, (_slot, start, end) => visit(start, end));
  }

  /** Everything that is mapped, for inspection. */
  *areas(): Generator<AreaInfo> {
    const { areaTable } = this;
    for (let slot = areaTable.first(); slot >= 0; slot = areaTable.next(slot)) {
      const rights = areaTable.rights[slot] ?? 0;
      const iova = areaTable.startOf(slot);
      yield {
        iova,
        length: areaTable.lastOf(slot) - iova + 1n,
        readable: (rights & READ) !== 0,
        writable: (rights & WRITE) !== 0,
      };
    }
  }
}
