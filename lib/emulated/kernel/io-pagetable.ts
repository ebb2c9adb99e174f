// An IOAS's map from IOVAs to memory, and those who follow it (struct io_pagetable; iommufd/io_pagetable.c). Page tables hold
// no copy: they are kept equal at all times, so they translate by the map itself. What the kernel does for them is to pin:
// while there is a page table, all that is mapped is.
import { ERRNO } from '../../uapi/errno.js';
import { PAGE_SIZE } from '../memory/backing.js';
import type { Access } from './access.js';
import { IovaAllocator } from './alloc-iova.js';
import { AreaMap } from './area-map.js';
import type { IommuDevice, PagingDomain } from './driver.js';
import { IovaRanges, U64_MAX } from './iova-ranges.js';

const PAGE = BigInt(PAGE_SIZE);
/** How often accesses are asked to let go before the kernel gives up. */
const TRIES = 100;

/** Part of a stretch of memory, to be mapped as one area. The caller holds the pages. */
export interface Piece {
  readonly pages: number;
  readonly firstIndex: number;
  readonly pageOffset: number;
  readonly length: bigint;
}

export class IoPagetable extends AreaMap {
  readonly reserved = new IovaRanges();
  readonly allowed = new IovaRanges();
  readonly #allocator = new IovaAllocator(this.areaTable, this.reserved, this.allowed);
  readonly #domains: PagingDomain[] = [];
  readonly #accesses: Access[] = [];
  #alignment = 1;
  #largePages = true;
  /** How much was unmapped last, in pages and bytes. */
  unmappedPages = 0;
  unmappedBytes = 0;

  /** What IOVAs and lengths must be a multiple of. */
  get alignment(): bigint {
    return BigInt(this.#alignment);
  }
  /** Whether page tables may use pages larger than the system's. */
  get largePages(): boolean {
    return this.#largePages;
  }

  /** The address space goes: nothing is attached to it any more. */
  destroy(): void {
    const rc = this.unmapAll();
    if (rc < 0) throw new Error(`an address space went with memory in use: ${rc}`);
  }

  // Mapping.

  /**
   * Maps one piece at an IOVA, told as page number and offset. Hot: nothing is allocated.
   * @returns 0, or -errno with nothing changed: the caller drops the pages
   */
  mapAt(
    page: number,
    offset: number,
    lastPage: number,
    lastOffset: number,
    rights: number,
    pages: number,
    index: number,
    pageOffset: number,
  ): number {
    const rc = this.#checkPlace(page, offset, lastPage, lastOffset);
    if (rc < 0) return rc;
    const slot = this.insertArea(
      page,
      offset,
      lastPage,
      lastOffset,
      rights,
      pages,
      index,
      pageOffset,
      this.#alignment - 1,
    );
    if (slot < 0 || this.#domains.length === 0) return slot < 0 ? slot : 0;
    const pinned = this.pinArea(slot);
    if (pinned < 0) this.areaTable.remove(slot);
    else this.#tellMapped(slot);
    return pinned;
  }
  /** Whether a length suits the page tables. */
  isAligned(low: number): boolean {
    return (low & (this.#alignment - 1)) === 0;
  }

  /** IOVAs for a mapping that leaves them to the kernel; -errno as a negative bigint. */
  findIova(address: bigint, length: bigint): bigint {
    return this.#allocator.find(address, length, this.alignment);
  }

  /** Maps pieces one behind the other, all or none; the IOVA they start at, or -errno as a negative bigint. */
  mapPieces(
    pieces: readonly Piece[],
    length: bigint,
    iova: bigint | undefined,
    address: bigint,
    rights: number,
  ): bigint {
    const { kernel } = this.context;
    if (!kernel.allocates()) return -BigInt(ERRNO.ENOMEM);
    if (length === 0n || length % this.alignment !== 0n) return -BigInt(ERRNO.EINVAL);
    const start = iova ?? this.findIova(address, length);
    if (start < 0n) return start;
    const end = start + length - 1n;
    if (start % this.alignment !== 0n) return -BigInt(ERRNO.EINVAL);
    if (end > U64_MAX) return -BigInt(ERRNO.EOVERFLOW);
    const taken = this.#checkPlace(Number(start / PAGE), Number(start % PAGE), Number(end / PAGE), Number(end % PAGE));
    if (taken < 0) return BigInt(taken);
    const refusal = this.#insertPieces(pieces, start, rights);
    return refusal < 0 ? BigInt(refusal) : start;
  }
  #insertPieces(pieces: readonly Piece[], start: bigint, rights: number): number {
    const slots: number[] = [];
    const mask = this.#alignment - 1;
    let rc = 0;
    let next = start;
    for (const { pages, firstIndex, pageOffset, length } of pieces) {
      const last = next + length - 1n;
      const [page, offset] = [Number(next / PAGE), Number(next % PAGE)];
      const [lastPage, lastOffset] = [Number(last / PAGE), Number(last % PAGE)];
      rc = this.insertArea(page, offset, lastPage, lastOffset, rights, pages, firstIndex, pageOffset, mask);
      if (rc < 0) break;
      slots.push(rc);
      next += length;
    }
    let pinned = 0;
    if (rc >= 0 && this.#domains.length > 0) {
      for (const slot of slots) {
        rc = this.pinArea(slot);
        if (rc < 0) break;
        pinned++;
      }
    }
    if (rc >= 0) {
      for (const slot of slots) this.#tellMapped(slot);
      return 0;
    }
    slots.forEach((slot, i) => {
      if (i < pinned) this.unpinArea(slot);
      this.areaTable.remove(slot);
    });
    return rc;
  }

  #checkPlace(page: number, offset: number, lastPage: number, lastOffset: number): number {
    if ((offset & (this.#alignment - 1)) !== 0) return -ERRNO.EINVAL;
    const { areaTable, reserved } = this;
    if (!reserved.isEmpty && reserved.touchesPages(page, offset, lastPage, lastOffset)) return -ERRNO.EINVAL;
    return areaTable.touches(page, offset, lastPage, lastOffset) ? -ERRNO.EEXIST : 0;
  }
  #tellMapped(slot: number): void {
    for (const domain of this.#domains) {
      domain.mapped?.(this.areaTable.startOf(slot), this.areaTable.lastOf(slot) - this.areaTable.startOf(slot) + 1n);
    }
  }

  // Unmapping.

  unmapAll(): number {
    const end = 2 ** 52 - 1;
    return this.unmap(0, 0, end, PAGE_SIZE - 1);
  }

  /** Unmaps every area in a range; areas are not split. Tells how much in `unmappedPages` and `unmappedBytes`. */
  unmap(page: number, offset: number, lastPage: number, lastOffset: number): number {
    const { areaTable } = this;
    let tries = 0;
    this.unmappedPages = 0;
    this.unmappedBytes = 0;
    for (;;) {
      const slot = areaTable.from(page, offset);
      if (slot < 0 || areaTable.startsAfter(slot, lastPage, lastOffset)) return 0;
      if ((areaTable.locks[slot] ?? 0) > 0) return -ERRNO.EBUSY;
      const startPage = areaTable.startPage[slot] ?? 0;
      const startOffset = areaTable.startOffset[slot] ?? 0;
      const endPage = areaTable.lastPage[slot] ?? 0;
      const endOffset = areaTable.lastOffset[slot] ?? 0;
      const isInside = startPage > page || (startPage === page && startOffset >= offset);
      if (!isInside || endPage > lastPage || (endPage === lastPage && endOffset > lastOffset)) return -ERRNO.ENOENT;
      // Not counted anew for an area that follows the one before at once: so does the kernel.
      if (startPage !== page || startOffset !== offset) tries = 0;
      if ((areaTable.accesses[slot] ?? 0) > 0) {
        page = startPage;
        offset = startOffset;
        this.#askToLetGo(slot);
        if (++tries > TRIES) return -ERRNO.EDEADLOCK;
        continue;
      }
      this.#drop(slot);
      this.#addUnmapped(endPage - startPage, endOffset - startOffset + 1);
      if (endPage === lastPage && endOffset === lastOffset) return 0;
      page = endPage;
      offset = endOffset + 1;
      if (offset === PAGE_SIZE) {
        page++;
        offset = 0;
      }
    }
  }
  #addUnmapped(pages: number, bytes: number): void {
    const sum = this.unmappedBytes + bytes;
    this.unmappedBytes = sum & (PAGE_SIZE - 1);
    this.unmappedPages += pages + (sum >> 12);
  }
  #askToLetGo(slot: number): void {
    this.areaTable.refusing[slot] = 1;
    const start = this.areaTable.startOf(slot);
    const length = this.areaTable.lastOf(slot) - start + 1n;
    for (const access of [...this.#accesses]) access.notifyUnmap(start, length);
  }
  #drop(slot: number): void {
    const { areaTable } = this;
    if (this.#domains.length > 0) {
      const start = areaTable.startOf(slot);
      for (const domain of this.#domains) domain.unmapped?.(start, areaTable.lastOf(slot) - start + 1n);
      this.unpinArea(slot);
    }
    const pages = areaTable.pages[slot] ?? 0;
    const page = areaTable.startPage[slot] ?? 0;
    const offset = areaTable.startOffset[slot] ?? 0;
    areaTable.remove(slot);
    this.#allocator.freed(page, offset);
    this.pages.drop(pages);
  }

  /** Memory of a device went: its areas stay, and lead nowhere. */
  revoked(pages: number): void {
    const { areaTable } = this;
    for (let slot = areaTable.first(); slot >= 0; slot = areaTable.next(slot)) {
      if (areaTable.pages[slot] !== pages) continue;
      const start = areaTable.startOf(slot);
      for (const domain of this.#domains) domain.unmapped?.(start, areaTable.lastOf(slot) - start + 1n);
    }
  }

  // Page tables.

  /** A page table follows from now on: everything is pinned for it, or nothing changes. */
  addDomain(domain: PagingDomain): number {
    const smallest = Number(domain.pageSizes & -domain.pageSizes);
    const alignment = Math.max(smallest, this.#alignment);
    if (alignment > PAGE_SIZE) return -ERRNO.EINVAL;
    if (alignment !== this.#alignment && !this.suits(alignment)) return -ERRNO.EADDRINUSE;
    const { start, last } = domain.aperture;
    let rc = start > 0n ? this.reserve(0n, start - 1n, domain) : 0;
    if (rc === 0 && last < U64_MAX) rc = this.reserve(last + 1n, U64_MAX, domain);
    if (rc === 0) rc = this.#fill(domain);
    if (rc < 0) {
      this.reserved.remove(domain);
      return rc;
    }
    this.#alignment = alignment;
    this.#domains.push(domain);
    domain.translation = this;
    return 0;
  }
  /** The first page table pins for all of them. */
  #fill({ needsWritable = false }: PagingDomain): number {
    const before = this.needsWritable;
    this.needsWritable ||= needsWritable;
    let rc = 0;
    if (this.#domains.length === 0) rc = this.pinAreas();
    else if (needsWritable && !this.#isAllWritable) rc = -ERRNO.EINVAL;
    if (rc < 0) this.needsWritable = before;
    return rc;
  }
  get #isAllWritable(): boolean {
    const { areaTable } = this;
    for (let slot = areaTable.first(); slot >= 0; slot = areaTable.next(slot)) {
      if (!this.isWritable(slot)) return false;
    }
    return true;
  }
  removeDomain(domain: PagingDomain): void {
    const index = this.#domains.indexOf(domain);
    if (index < 0) throw new Error('this page table does not follow this address space');
    // As the kernel keeps its list: the last one takes the place of the one that goes.
    const tail = this.#domains.pop();
    if (tail !== undefined && tail !== domain) this.#domains[index] = tail;
    domain.translation = undefined;
    if (this.#domains.length === 0) this.unpinAreas();
    this.needsWritable = this.#domains.some(({ needsWritable }) => needsWritable === true);
    this.removeReserved(domain);
    this.#calculateAlignment();
  }
  /** Page tables that follow. */
  get domains(): readonly PagingDomain[] {
    return this.#domains;
  }
  /** The domain whose table the kernel would read physical addresses from. */
  get storageDomain(): PagingDomain | undefined {
    return this.#domains[0];
  }

  #calculateAlignment(): number {
    let alignment = this.#largePages ? 1 : PAGE_SIZE;
    for (const { pageSizes } of this.#domains) alignment = Math.max(alignment, Number(pageSizes & -pageSizes));
    for (const access of this.#accesses) alignment = Math.max(alignment, access.alignment);
    if (alignment > this.#alignment && !this.suits(alignment)) return -ERRNO.EADDRINUSE;
    this.#alignment = alignment;
    return 0;
  }

  enableLargePages(): void {
    this.#largePages = true;
    this.#calculateAlignment();
  }
  disableLargePages(): number {
    if (!this.#largePages) return 0;
    if (this.#domains.length > 0 && this.areaTable.size > 0) return -ERRNO.EINVAL;
    this.#largePages = false;
    const rc = this.#calculateAlignment();
    if (rc < 0) this.#largePages = true;
    return rc;
  }

  // Accesses.

  addAccess(access: Access): number {
    if (!this.context.kernel.allocates()) return -ERRNO.ENOMEM;
    this.#accesses.push(access);
    const rc = this.#calculateAlignment();
    if (rc < 0) this.#accesses.pop();
    return rc;
  }
  removeAccess(access: Access): void {
    this.#accesses.splice(this.#accesses.indexOf(access), 1);
    this.#calculateAlignment();
  }

  // Ranges.

  /** IOVAs that cannot be mapped from now on: -EADDRINUSE where some are, or were promised to stay usable. */
  reserve(start: bigint, last: bigint, owner: object | undefined): number {
    const near = this.areaTable.from(Number(start / PAGE), Number(start % PAGE));
    const isUsed = near >= 0 && this.areaTable.startOf(near) <= last;
    if (isUsed || this.allowed.touches(start, last)) return -ERRNO.EADDRINUSE;
    if (!this.context.kernel.allocates()) return -ERRNO.ENOMEM;
    this.reserved.add({ start, last }, owner);
    return 0;
  }
  removeReserved(owner: object): void {
    this.reserved.remove(owner);
    this.#allocator.freed(0, 0);
  }
  /** What a device cannot use, or uses itself. */
  enforceDeviceReservedRegions(device: IommuDevice): number {
    for (const { start, last, type } of device.reservedRegions) {
      if (type === 'direct-relaxable') continue;
      const rc = this.reserve(start, last, device);
      if (rc === 0) continue;
      this.removeReserved(device);
      return rc;
    }
    return 0;
  }
  /** Replaces the promises; -EADDRINUSE where one of them is reserved. */
  allow(ranges: readonly { readonly start: bigint; readonly last: bigint }[]): number {
    if (ranges.some(({ start, last }) => this.reserved.touches(start, last))) return -ERRNO.EADDRINUSE;
    this.allowed.replaceAll(ranges);
    this.#allocator.freed(0, 0);
    return 0;
  }
}
