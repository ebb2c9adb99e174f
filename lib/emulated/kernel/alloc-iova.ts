// Finding IOVAs for a mapping that leaves it to the kernel: the lowest that are free, allowed, and aligned as the memory is,
// so that large pages can be used (iopt_alloc_iova of iommufd/io_pagetable.c).
import { ERRNO } from '../../uapi/errno.js';
import { PAGE_SIZE } from '../memory/backing.js';
import type { Areas } from './areas.js';
import { type IovaRanges, U64_MAX } from './iova-ranges.js';

const PAGE = BigInt(PAGE_SIZE);
/** Better aligned than for a page of this size does not help. */
const LARGE_PAGE = 1n << 21n;
/** Neither the first page nor the last is given. */
const EVERYWHERE = [{ start: PAGE, last: U64_MAX - PAGE }] as const;

/** What is asked for. */
interface Wish {
  readonly length: bigint;
  readonly alignment: bigint;
  readonly pageOffset: bigint;
}

export class IovaAllocator {
  readonly #areas: Areas;
  readonly #reserved: IovaRanges;
  readonly #allowed: IovaRanges;
  /** No hole below this IOVA is as long and as aligned as the last wish: where the same is wished for again, it starts here. */
  #from = 0n;
  /** Its page. */
  #fromPage = 0;
  #failed: Wish = { length: 0n, alignment: 0n, pageOffset: 0n };

  constructor(areas: Areas, reserved: IovaRanges, allowed: IovaRanges) {
    this.#areas = areas;
    this.#reserved = reserved;
    this.#allowed = allowed;
  }

  /** An area that began here is gone, or other IOVAs are allowed: what was learned of holes is void from its hole on. */
  freed(page: number, offset: number): void {
    if (page > this.#fromPage) return;
    // The hole that it lies in begins behind the area before it.
    const before = this.#areas.before(page, offset);
    const hole = before < 0 ? 0n : this.#areas.lastOf(before) + 1n;
    if (hole < this.#from) this.#startFrom(hole);
  }
  #startFrom(iova: bigint): void {
    this.#from = iova;
    this.#fromPage = Number(iova / PAGE);
  }

  /** The first IOVA, or -errno. `address`: of the memory, or its offset in a file. */
  find(address: bigint, length: bigint, least: bigint): bigint {
    if (length === 0n || length >= U64_MAX / 2n) return -BigInt(ERRNO.EOVERFLOW);
    const alignment = alignmentFor(address, length);
    if (alignment < least) return -BigInt(ERRNO.EINVAL);
    const wish = { length, alignment, pageOffset: address % PAGE };
    const from = this.#startFor(wish);
    for (const { start, last } of this.#allowed.isEmpty ? EVERYWHERE : this.#allowed.spans) {
      const found = this.#findIn(
        start < PAGE ? PAGE : start,
        last > U64_MAX - PAGE ? U64_MAX - PAGE : last,
        wish,
        from,
      );
      if (found === undefined) continue;
      this.#startFrom(found);
      this.#failed = wish;
      return found;
    }
    return -BigInt(ERRNO.ENOSPC);
  }

  #startFor({ length, alignment, pageOffset }: Wish): bigint {
    const failed = this.#failed;
    if (failed.length === 0n || length < failed.length || pageOffset !== failed.pageOffset) return 0n;
    // An offset is laid over the aligned start of a hole: with another alignment that may lead to a lower place.
    const isHarder = alignment === failed.alignment || (alignment > failed.alignment && pageOffset === 0n);
    return isHarder ? this.#from : 0n;
  }

  /** The wish is placed in what is allowed first, and in the holes of what is used then. */
  #findIn(start: bigint, last: bigint, wish: Wish, from: bigint): bigint | undefined {
    const first = place(start, last, wish);
    if (first === undefined) return undefined;
    let next = first > from ? first : from;
    while (next <= last) {
      const used = this.#usedEnd(next);
      if (used !== undefined) {
        next = used + 1n;
        continue;
      }
      const end = this.#nextUsed(next);
      const holeLast = end === undefined || end - 1n > last ? last : end - 1n;
      const found = place(next, holeLast, wish);
      if (found !== undefined) return found;
      next = holeLast + 1n;
    }
    return undefined;
  }
  #usedEnd(iova: bigint): bigint | undefined {
    const slot = this.#areas.at(Number(iova / PAGE), Number(iova % PAGE));
    return slot >= 0 ? this.#areas.lastOf(slot) : this.#reserved.endOf(iova);
  }
  #nextUsed(iova: bigint): bigint | undefined {
    const slot = this.#areas.from(Number(iova / PAGE), Number(iova % PAGE));
    const area = slot >= 0 ? this.#areas.startOf(slot) : undefined;
    const reserved = this.#reserved.startAfter(iova);
    if (area === undefined || reserved === undefined) return area ?? reserved;
    return area < reserved ? area : reserved;
  }
}

/** As large as the mapping, no larger than the memory's own alignment, nor than helps. */
function alignmentFor(address: bigint, length: bigint): bigint {
  let alignment = 1n;
  while (alignment < length) alignment <<= 1n;
  const natural = address === 0n ? alignment : address & -address;
  if (natural < alignment) alignment = natural;
  return alignment > LARGE_PAGE ? LARGE_PAGE : alignment;
}

/** The first IOVA of a wish in a hole. */
function place(start: bigint, last: bigint, { length, alignment, pageOffset }: Wish): bigint | undefined {
  if (start + alignment - 1n > U64_MAX) return undefined;
  const aligned = ((start + alignment - 1n) & ~(alignment - 1n)) | pageOffset;
  return aligned >= last || last - aligned < length - 1n ? undefined : aligned;
}
