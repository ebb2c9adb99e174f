// Sets of IOVA ranges: those an IOAS must not map, and those it promised to keep usable.
import { IovaSpan } from './iova-span.js';

export const LAST_IOVA = 2n ** 64n - 1n;

/** Both ends are included. */
export interface IovaRange {
  readonly start: bigint;
  readonly last: bigint;
  /** Who wants it. */
  readonly owner: object | undefined;
}

function byStart(a: IovaRange, b: IovaRange): number {
  if (a.start !== b.start) return a.start < b.start ? -1 : 1;
  return 0;
}

export class IovaSet {
  #ranges: IovaRange[] = [];
  /** What all ranges cover, in order; overlapping and touching ones are one. */
  #covered: IovaRange[] | undefined;
  #spans: readonly IovaSpan[] | undefined = [];

  get isEmpty(): boolean {
    return this.#ranges.length === 0;
  }

  add(range: IovaRange): void {
    this.#ranges.push(range);
    this.#changed();
  }
  removeOf(owner: object | undefined): void {
    const left = this.#ranges.filter((range) => range.owner !== owner);
    if (left.length === this.#ranges.length) return;
    this.#ranges = left;
    this.#changed();
  }
  #changed(): void {
    this.#covered = undefined;
    this.#spans = undefined;
  }

  /** Separate stretches, in order. */
  get covered(): readonly IovaRange[] {
    this.#covered ??= join(this.#ranges.sort(byStart));
    return this.#covered;
  }
  /** The same, in numbers. */
  get spans(): readonly IovaSpan[] {
    this.#spans ??= this.covered.map(({ start, last }) => IovaSpan.of(start, last));
    return this.#spans;
  }

  /** What the ranges leave of all IOVAs. */
  holes(): { start: bigint; last: bigint }[] {
    const holes: { start: bigint; last: bigint }[] = [];
    let start = 0n;
    for (const range of this.covered) {
      if (range.start > start) holes.push({ start, last: range.start - 1n });
      start = range.last + 1n;
    }
    if (start <= LAST_IOVA) holes.push({ start, last: LAST_IOVA });
    return holes;
  }

  intersects(start: bigint, last: bigint): boolean {
    return this.#ranges.some((range) => range.start <= last && start <= range.last);
  }
  /** The same question, in numbers. */
  meets({ page, offset, lastPage, lastOffset }: IovaSpan): boolean {
    const { spans } = this;
    if (spans.length === 0) return false;
    const span = spans[this.firstFrom(page, offset)];
    if (span === undefined) return false;
    return span.page < lastPage || (span.page === lastPage && span.offset <= lastOffset);
  }
  /** The index of the first stretch that ends at or after a position. */
  firstFrom(page: number, offset: number): number {
    const { spans } = this;
    let low = 0;
    let high = spans.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const span = spans[middle];
      if (span === undefined) break;
      if (span.lastPage < page || (span.lastPage === page && span.lastOffset < offset)) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function join(sorted: readonly IovaRange[]): IovaRange[] {
  const joined: IovaRange[] = [];
  for (const { start, last } of sorted) {
    const before = joined.at(-1);
    if (before === undefined || start > before.last + 1n) joined.push({ start, last, owner: undefined });
    else if (last > before.last) joined[joined.length - 1] = { start: before.start, last, owner: undefined };
  }
  return joined;
}
