// A few ranges of IOVAs: those that are reserved, or that were promised to stay usable. Ranges may overlap.
import { PAGE_SIZE } from '../memory/backing.js';

export interface IovaRange {
  readonly start: bigint;
  readonly last: bigint;
}

export const U64_MAX = 0xffff_ffff_ffff_ffffn;
const PAGE = BigInt(PAGE_SIZE);

interface OwnedRange extends IovaRange {
  /** Whose it is: its ranges go together. */
  readonly owner: object | undefined;
  /** The pages it begins and ends in: most looks need no more. */
  readonly firstPage: number;
  readonly lastPage: number;
}

function byStart(one: IovaRange, other: IovaRange): number {
  if (one.start === other.start) return 0;
  return one.start < other.start ? -1 : 1;
}

export class IovaRanges {
  /** By their starts. */
  #ranges: readonly OwnedRange[] = [];
  /** The same, with those that touch or overlap as one. */
  #spans: readonly IovaRange[] = [];

  get isEmpty(): boolean {
    return this.#ranges.length === 0;
  }
  /** What they cover, in order. */
  get spans(): readonly IovaRange[] {
    return this.#spans;
  }

  add({ start, last }: IovaRange, owner: object | undefined): void {
    this.#set([...this.#ranges, owned(start, last, owner)]);
  }
  remove(owner: object): void {
    this.#set(this.#ranges.filter((range) => range.owner !== owner));
  }
  replaceAll(ranges: readonly IovaRange[]): void {
    this.#set(ranges.map(({ start, last }) => owned(start, last, undefined)));
  }
  #set(ranges: OwnedRange[]): void {
    this.#ranges = ranges.sort(byStart);
    this.#spans = joined(this.#ranges);
  }

  touches(start: bigint, last: bigint): boolean {
    return this.#ranges.some((range) => range.start <= last && range.last >= start);
  }
  /** The same, of a range told by pages and offsets; bigints are made only where pages do not decide. */
  touchesPages(page: number, offset: number, lastPage: number, lastOffset: number): boolean {
    for (const range of this.#ranges) {
      if (range.lastPage < page || range.firstPage > lastPage) continue;
      if (range.firstPage > page && range.firstPage < lastPage) return true;
      const start = BigInt(page) * PAGE + BigInt(offset);
      const last = BigInt(lastPage) * PAGE + BigInt(lastOffset);
      if (range.start <= last && range.last >= start) return true;
    }
    return false;
  }
  /** Where the span that holds an IOVA ends; undefined where none does. */
  endOf(iova: bigint): bigint | undefined {
    return this.#spans.find(({ start, last }) => start <= iova && last >= iova)?.last;
  }
  /** The first start behind an IOVA; undefined where none is. */
  startAfter(iova: bigint): bigint | undefined {
    return this.#spans.find(({ start }) => start > iova)?.start;
  }
  /** What lies between them, from 0 to the end. */
  *holes(): Generator<IovaRange> {
    let next = 0n;
    for (const { start, last } of this.#spans) {
      if (start > next) yield { start: next, last: start - 1n };
      next = last + 1n;
    }
    if (next <= U64_MAX) yield { start: next, last: U64_MAX };
  }
}

function owned(start: bigint, last: bigint, owner: object | undefined): OwnedRange {
  return { start, last, owner, firstPage: Number(start / PAGE), lastPage: Number(last / PAGE) };
}

function joined(ranges: readonly IovaRange[]): IovaRange[] {
  const spans: { start: bigint; last: bigint }[] = [];
  for (const { start, last } of ranges) {
    const before = spans.at(-1);
    if (before === undefined || start > before.last + 1n) spans.push({ start, last });
    else if (last > before.last) before.last = last;
  }
  return spans;
}

/** Ranges that must not overlap, taken one after another. */
export class DisjointRanges {
  /** By their starts. */
  readonly all: IovaRange[] = [];

  /** Takes a range; false where it overlaps one that was taken before. */
  add(range: IovaRange): boolean {
    let low = 0;
    let high = this.all.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.all[middle]?.start ?? 0n) <= range.start) low = middle + 1;
      else high = middle;
    }
    const before = this.all[low - 1];
    const after = this.all[low];
    if (before !== undefined && before.last >= range.start) return false;
    if (after !== undefined && after.start <= range.last) return false;
    this.all.splice(low, 0, range);
    return true;
  }
}
