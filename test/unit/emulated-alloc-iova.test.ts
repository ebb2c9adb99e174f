// Finding IOVAs, against a search without any memory of the one before: hole by hole, as iopt_alloc_iova of Linux's
// iommufd/io_pagetable.c goes.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { IovaAllocator } from '../../lib/emulated/kernel/alloc-iova.js';
import { Areas } from '../../lib/emulated/kernel/areas.js';
import { IovaRanges } from '../../lib/emulated/kernel/iova-ranges.js';

const PAGE = 4096n;
const U64_MAX = 2n ** 64n - 1n;
const [EINVAL, ENOSPC, EOVERFLOW] = [-22n, -28n, -75n];

interface Range {
  readonly start: bigint;
  readonly last: bigint;
}

/** Ranges in order, with those that touch or overlap as one. */
function joined(ranges: readonly Range[]): Range[] {
  const spans: { start: bigint; last: bigint }[] = [];
  for (const { start, last } of [...ranges].sort((a, b) => Number(a.start - b.start))) {
    const before = spans.at(-1);
    if (before === undefined || start > before.last + 1n) spans.push({ start, last });
    else if (last > before.last) before.last = last;
  }
  return spans;
}
/** What of a range none of these cover. */
function holesOf(range: Range, used: readonly Range[]): Range[] {
  const holes: Range[] = [];
  let next = range.start;
  for (const { start, last } of joined(used)) {
    if (last < next) continue;
    if (start > range.last) break;
    if (start > next) holes.push({ start: next, last: start - 1n });
    next = last + 1n;
  }
  if (next <= range.last) holes.push({ start: next, last: range.last });
  return holes;
}

/** The first place in a hole, aligned, and as far into its page as the memory. */
function placeIn({ start, last }: Range, length: bigint, alignment: bigint, offset: bigint): bigint | undefined {
  if (start + alignment - 1n > U64_MAX) return undefined;
  const place = ((start + alignment - 1n) & ~(alignment - 1n)) | offset;
  return place >= last || last - place < length - 1n ? undefined : place;
}

function alignmentOf(address: bigint, length: bigint): bigint {
  const whole = 2n ** BigInt((length - 1n).toString(2).length);
  const rounded = length === 1n ? 1n : whole;
  const natural = address === 0n ? rounded : address & -address;
  const least = natural < rounded ? natural : rounded;
  return least > 2n ** 21n ? 2n ** 21n : least;
}

function naive(
  used: readonly Range[],
  allowed: readonly Range[],
  address: bigint,
  length: bigint,
  least: bigint,
): bigint {
  if (length === 0n || length >= U64_MAX / 2n) return EOVERFLOW;
  const alignment = alignmentOf(address, length);
  if (alignment < least) return EINVAL;
  const whole = { start: PAGE, last: U64_MAX - PAGE };
  const spans = allowed.length === 0 ? [whole] : joined(allowed);
  for (const span of spans) {
    const start = span.start < whole.start ? whole.start : span.start;
    const last = span.last > whole.last ? whole.last : span.last;
    const first = placeIn({ start, last }, length, alignment, address % PAGE);
    if (first === undefined) continue;
    for (const hole of holesOf({ start: first, last }, used)) {
      const found = placeIn(hole, length, alignment, address % PAGE);
      if (found !== undefined) return found;
    }
  }
  return ENOSPC;
}

/** The allocator with what it looks at, beside the same as plain arrays. */
class Stage {
  readonly areas = new Areas();
  readonly reserved = new IovaRanges();
  readonly allowed = new IovaRanges();
  readonly allocator = new IovaAllocator(this.areas, this.reserved, this.allowed);
  readonly mapped: (Range & { readonly slot: number })[] = [];
  readonly kept: (Range & { readonly owner: object })[] = [];
  promised: readonly Range[] = [];

  find(address: bigint, length: bigint, least = 1n): bigint {
    const found = this.allocator.find(address, length, least);
    assert.equal(found, naive([...this.mapped, ...this.kept], this.promised, address, length, least));
    return found;
  }
  map(start: bigint, last: bigint): void {
    const { areas } = this;
    const slot = areas.take();
    [areas.startPage[slot], areas.startOffset[slot]] = [Number(start / PAGE), Number(start % PAGE)];
    [areas.lastPage[slot], areas.lastOffset[slot]] = [Number(last / PAGE), Number(last % PAGE)];
    areas.insert(slot);
    this.mapped.push({ start, last, slot });
  }
  unmap(which: number): void {
    const [gone] = this.mapped.length === 0 ? [] : this.mapped.splice(which % this.mapped.length, 1);
    if (gone === undefined) return;
    this.areas.remove(gone.slot);
    this.allocator.freed(Number(gone.start / PAGE), Number(gone.start % PAGE));
  }
  reserve(range: Range): void {
    if (this.mapped.some(({ start, last }) => start <= range.last && last >= range.start)) return;
    const owner = {};
    this.reserved.add(range, owner);
    this.kept.push({ ...range, owner });
  }
  release(which: number): void {
    const [gone] = this.kept.length === 0 ? [] : this.kept.splice(which % this.kept.length, 1);
    if (gone === undefined) return;
    this.reserved.remove(gone.owner);
    this.allocator.freed(0, 0);
  }
  allow(ranges: readonly Range[]): void {
    this.promised = ranges;
    this.allowed.replaceAll(ranges);
    this.allocator.freed(0, 0);
  }
}

const place = fc.nat({ max: 0x2_0000 }).map((start) => BigInt(start));
const range = fc.tuple(place, fc.nat({ max: 0x3000 })).map(([start, more]) => ({ start, last: start + BigInt(more) }));
/** Lengths that come again and again, so that the last search is of use. */
const length = fc.constantFrom(1n, 0x100n, 0x200n, 0x500n, 0x800n, PAGE, PAGE, 2n * PAGE, 5n * PAGE, 2n ** 21n);
const address = fc.constantFrom(0n, PAGE, 0x10_0000n, 0x200n, 0x600n, 0x800n, 0x1400n, 0x1800n, 0x1001n, 2n ** 40n);
const step = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({ what: fc.constant('map' as const), address, length, fails: fc.nat({ max: 6 }) }),
  },
  { weight: 3, arbitrary: fc.record({ what: fc.constant('unmap' as const), which: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ what: fc.constant('reserve' as const), range }) },
  { weight: 1, arbitrary: fc.record({ what: fc.constant('release' as const), which: fc.nat() }) },
  {
    weight: 1,
    arbitrary: fc.record({ what: fc.constant('allow' as const), ranges: fc.array(range, { maxLength: 3 }) }),
  },
);

describe('IOVAs that the kernel chooses', () => {
  it('are not put off by what is freed behind the last one', () => {
    const stage = new Stage();
    for (const address of [0x600n, 0x1400n]) {
      const found = stage.find(address, 1n);
      stage.map(found, found);
    }
    assert.equal(stage.find(0n, 1n), PAGE);
    stage.unmap(0);
    assert.equal(stage.find(0n, 1n), PAGE);
  });

  it('are those of a search from the start, whatever happened since the last one', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
        const stage = new Stage();
        for (const one of steps) {
          if (one.what === 'unmap') stage.unmap(one.which);
          else if (one.what === 'reserve') stage.reserve(one.range);
          else if (one.what === 'release') stage.release(one.which);
          else if (one.what === 'allow') stage.allow(one.ranges);
          else {
            const found = stage.find(one.address, one.length);
            // A mapping may still be refused after its IOVA was chosen.
            if (found >= 0n && one.fails > 0) stage.map(found, found + one.length - 1n);
          }
        }
      }),
      { numRuns: 400 },
    );
  });

  it('may lie below the last one, where that began behind a hole that suits a longer wish', () => {
    const stage = new Stage();
    stage.map(0n, 0x25ffn);
    const found = stage.find(0x800n, 0x200n);
    assert.equal(found, 0x2e00n);
    stage.map(found, found + 0x1ffn);
    assert.equal(stage.find(0x800n, 0x500n), 0x2800n);
  });

  it('are refused: no length, half of everything, too little alignment, no room', () => {
    const stage = new Stage();
    assert.equal(stage.find(0n, 0n), EOVERFLOW);
    assert.equal(stage.find(0n, 2n ** 63n - 1n), EOVERFLOW);
    assert.equal(stage.find(0n, 2n ** 63n - 2n), PAGE * 512n);
    assert.equal(stage.find(0x800n, PAGE, PAGE), EINVAL);
    stage.allow([{ start: 0n, last: 2n * PAGE - 1n }]);
    assert.equal(stage.find(0n, PAGE), PAGE);
    assert.equal(stage.find(0n, PAGE + 1n), ENOSPC);
    // As Linux has it: a single byte needs one more behind it.
    stage.allow([{ start: PAGE, last: PAGE }]);
    assert.equal(stage.find(0n, 1n), ENOSPC);
  });

  it('begin with the second page, and end before the last', () => {
    const stage = new Stage();
    stage.map(PAGE, U64_MAX - 3n * PAGE);
    assert.equal(stage.find(0n, PAGE), U64_MAX - 3n * PAGE + 1n);
    assert.equal(stage.find(0n, 2n * PAGE), ENOSPC);
  });
});
