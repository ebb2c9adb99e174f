// Where a mapping goes for which the caller leaves that to the kernel: the lowest IOVAs that are free, allowed and aligned
// as the memory is (iopt_alloc_iova in iommufd/io_pagetable.c).
import { ERRNO } from '../../uapi/errno.js';
import { PAGE_SIZE } from '../memory/backing.js';
import type { AreaTable } from './area-table.js';
import type { IovaSet } from './iova-set.js';
import { ALL_PAGES, IovaSpan } from './iova-span.js';
import type { IovaTree } from './iova-tree.js';

/** No IOVA is aligned to more than a huge page. */
const MOST_ALIGNMENT = 2 * 1024 * 1024;
const MOST_PAGES = MOST_ALIGNMENT / PAGE_SIZE;
/** Kinds of requests whose place is remembered. */
const HINTS = 8;

/** What is looked for. */
class Request {
  pages = 0;
  bytes = 0;
  alignment = 1;
  /** The memory's offset in its page. */
  pageOffset = 0;
}

/** Requests of this length and alignment find nothing before this place. */
class Hint extends Request {
  page = 0;
  offset = 0;
}

/** All but the first and the last page, which is neither the best IOVA nor a safe one. */
const WHOLE: readonly IovaSpan[] = [IovaSpan.of(BigInt(PAGE_SIZE), 2n ** 64n - 1n - BigInt(PAGE_SIZE))];

export class IovaAllocator {
  readonly #areas: AreaTable;
  readonly #tree: IovaTree;
  readonly #reserved: IovaSet;
  readonly #request = new Request();
  readonly #hints: Hint[] = [];
  #nextHint = 0;

  constructor(areas: AreaTable, tree: IovaTree, reserved: IovaSet) {
    this.#areas = areas;
    this.#tree = tree;
    this.#reserved = reserved;
  }

  /**
   * Finds a place for a mapping of memory at `source`; `found` starts there then.
   * @param least the alignment that the IOAS wants
   * @returns 0, -EOVERFLOW (half of all addresses), -EINVAL (the memory is not aligned), -ENOSPC
   */
  find(allowed: IovaSet, least: number, source: IovaSpan, pages: number, bytes: number, found: IovaSpan): number {
    if (pages > ALL_PAGES / 2 - 1 || (pages === ALL_PAGES / 2 - 1 && bytes === PAGE_SIZE - 1)) return -ERRNO.EOVERFLOW;
    const request = this.#request;
    request.pages = pages;
    request.bytes = bytes;
    request.alignment = Math.min(roundUp(pages, bytes), alignmentOf(source.page, source.offset), MOST_ALIGNMENT);
    request.pageOffset = source.offset;
    if (request.alignment < least) return -ERRNO.EINVAL;
    const hint = this.#hintFor(request);
    const spans = allowed.isEmpty ? WHOLE : allowed.spans;
    for (const span of spans) {
      if (this.#searchAllowed(span, request, hint, found)) {
        if (hint !== undefined) {
          hint.page = found.page;
          hint.offset = found.offset;
        }
        return 0;
      }
    }
    return -ERRNO.ENOSPC;
  }

  /** Looks in one allowed stretch. */
  #searchAllowed(allowed: IovaSpan, request: Request, hint: Hint | undefined, found: IovaSpan): boolean {
    const [whole] = WHOLE;
    if (whole === undefined) return false;
    const { lastPage, lastOffset } = before(allowed.lastPage, allowed.lastOffset, whole.lastPage, whole.lastOffset)
      ? allowed
      : whole;
    const start = before(allowed.page, allowed.offset, whole.page, whole.offset) ? whole : allowed;
    if (!align(start.page, start.offset, lastPage, lastOffset, request, found)) return false;
    if (hint !== undefined && before(found.page, found.offset, hint.page, hint.offset)) {
      found.page = hint.page;
      found.offset = hint.offset;
    }
    return this.#searchHoles(found.page, found.offset, lastPage, lastOffset, request, found);
  }

  /** Walks over what is neither mapped nor reserved. */
  #searchHoles(
    page: number,
    offset: number,
    lastPage: number,
    lastOffset: number,
    request: Request,
    found: IovaSpan,
  ): boolean {
    const areas = this.#areas;
    const { spans } = this.#reserved;
    // The first of each that ends at or behind where we are.
    let area = this.#tree.floor(page, offset);
    if (area < 0 || areas.endsBefore(area, page, offset)) area = this.#tree.next();
    let index = this.#reserved.firstFrom(page, offset);
    while (!before(lastPage, lastOffset, page, offset)) {
      const span = spans[index];
      let endPage = lastPage;
      let endOffset = lastOffset;
      let usedPage = -1;
      let usedOffset = 0;
      if (area >= 0 && !before(lastPage, lastOffset, areas.page(area), areas.offset(area))) {
        endPage = areas.page(area);
        endOffset = areas.offset(area) - 1;
        usedPage = areas.lastPage(area);
        usedOffset = areas.lastOffset(area);
      }
      if (span !== undefined && !before(endPage, endOffset, span.page, span.offset)) {
        endPage = span.page;
        endOffset = span.offset - 1;
        usedPage = span.lastPage;
        usedOffset = span.lastOffset;
      }
      if (endOffset < 0) {
        endPage--;
        endOffset = PAGE_SIZE - 1;
      }
      if (align(page, offset, endPage, endOffset, request, found)) return true;
      if (usedPage < 0) return false;
      page = usedPage;
      offset = usedOffset + 1;
      if (offset === PAGE_SIZE) {
        page++;
        offset = 0;
      }
      while (area >= 0 && areas.endsBefore(area, page, offset)) area = this.#tree.next();
      while (index < spans.length && endsBefore(spans[index], page, offset)) index++;
    }
    return false;
  }

  /** Remembered places count no more: IOVAs became free somewhere. */
  forget(): void {
    this.#hints.length = 0;
  }
  /** Whether it matters that IOVAs from here on became free. */
  remembers(page: number, offset: number): boolean {
    for (const hint of this.#hints) if (before(page, offset, hint.page, hint.offset)) return true;
    return false;
  }
  /** A hole begins here that did not before, or is larger now. */
  freed(page: number, offset: number): void {
    for (const hint of this.#hints) {
      if (!before(page, offset, hint.page, hint.offset)) continue;
      hint.page = page;
      hint.offset = offset;
    }
  }
  /** With an offset in the page, an earlier hole does not always make an earlier place: there is no telling. */
  #hintFor({ pages, bytes, alignment, pageOffset }: Request): Hint | undefined {
    if (pageOffset !== 0) return undefined;
    for (const hint of this.#hints) {
      if (hint.pages === pages && hint.bytes === bytes && hint.alignment === alignment) return hint;
    }
    const hint = new Hint();
    hint.pages = pages;
    hint.bytes = bytes;
    hint.alignment = alignment;
    this.#hints[this.#nextHint] = hint;
    this.#nextHint = (this.#nextHint + 1) % HINTS;
    return hint;
  }
}

/** Whether one position comes before another. */
function before(page: number, offset: number, otherPage: number, otherOffset: number): boolean {
  return page < otherPage || (page === otherPage && offset < otherOffset);
}
function endsBefore(span: IovaSpan | undefined, page: number, offset: number): boolean {
  return span !== undefined && before(span.lastPage, span.lastOffset, page, offset);
}

/** The place of a request in a hole, into `found`; false where it does not fit. */
function align(
  page: number,
  offset: number,
  lastPage: number,
  lastOffset: number,
  { pages, bytes, alignment, pageOffset }: Request,
  found: IovaSpan,
): boolean {
  let alignedPage = page;
  let aligned = 0;
  if (alignment >= PAGE_SIZE) {
    const unit = alignment / PAGE_SIZE;
    alignedPage = Math.ceil((offset > 0 ? page + 1 : page) / unit) * unit;
  } else {
    aligned = (offset + alignment - 1) & ~(alignment - 1);
    if (aligned === PAGE_SIZE) {
      alignedPage++;
      aligned = 0;
    }
  }
  aligned |= pageOffset;
  // The last byte of a hole is not used by itself.
  if (!before(alignedPage, aligned, lastPage, lastOffset)) return false;
  if (!found.place(alignedPage, aligned, pages, bytes)) return false;
  return !before(lastPage, lastOffset, found.lastPage, found.lastOffset);
}

/** The power of two that a length rounds up to, or one that is too large to matter. */
function roundUp(pages: number, bytes: number): number {
  if (pages >= MOST_PAGES) return MOST_ALIGNMENT;
  const length = pages * PAGE_SIZE + bytes;
  return length === 1 ? 1 : 1 << (32 - Math.clz32(length - 1));
}
/** The power of two that an address is a multiple of, or one that is too large to matter. */
function alignmentOf(page: number, offset: number): number {
  if (offset !== 0) return offset & -offset;
  const low = page % MOST_PAGES;
  return low === 0 ? MOST_ALIGNMENT : (low & -low) * PAGE_SIZE;
}
