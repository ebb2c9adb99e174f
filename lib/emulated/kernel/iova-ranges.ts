// A few ranges of IOVAs: those that are reserved, or that were promised to stay usable. Ranges may overlap.

export interface OwnedRange {
  readonly start: bigint;
  readonly last: bigint;
  /** Whose it is: its ranges go together. */
  readonly owner: object | undefined;
}

export const U64_MAX = 0xffff_ffff_ffff_ffffn;

export class IovaRanges {
  #ranges: readonly OwnedRange[] = [];

  /** By their starts. */
  get all(): readonly OwnedRange[] {
    return this.#ranges;
  }
  get isEmpty(): boolean {
    return this.#ranges.length === 0;
  }
  add(range: OwnedRange): void {
    this.#ranges = [...this.#ranges, range].sort((a, b) => (a.start < b.start ? -1 : a.start > b.start ? 1 : 0));
  }
  remove(owner: object | undefined): void {
    this.#ranges = this.#ranges.filter((range) => range.owner !== owner);
  }
  clear(): void {
    this.#ranges = [];
  }
  touches(start: bigint, last: bigint): boolean {
    return this.#ranges.some((range) => range.start <= last && range.last >= start);
  }
  /** Where the range that holds an IOVA ends; undefined where none does. */
  endOf(iova: bigint): bigint | undefined {
    return this.#ranges.find((range) => range.start <= iova && range.last >= iova)?.last;
  }
  /** The first start behind an IOVA; undefined where none is. */
  startAfter(iova: bigint): bigint | undefined {
    return this.#ranges.find((range) => range.start > iova)?.start;
  }
  /** What lies between them, from 0 to the end. */
  *holes(): Generator<{ readonly start: bigint; readonly last: bigint }> {
    let next = 0n;
    for (const { start, last } of this.#ranges) {
      if (start > next) yield { start: next, last: start - 1n };
      if (last >= next) next = last + 1n;
    }
    if (next <= U64_MAX) yield { start: next, last: U64_MAX };
  }
}
