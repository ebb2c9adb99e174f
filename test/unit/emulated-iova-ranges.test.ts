// Ranges of IOVAs that are reserved or promised, against a plain array.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { DisjointRanges, IovaRanges, U64_MAX } from '../../lib/emulated/kernel/iova-ranges.js';

const PAGE = 4096n;
interface Range {
  readonly start: bigint;
  readonly last: bigint;
}

/** Few places, so that ranges meet; the ends of 64 bits are among them. */
const place = fc.oneof(
  { weight: 8, arbitrary: fc.nat({ max: 5 * 4096 }).map(BigInt) },
  { weight: 1, arbitrary: fc.constantFrom(U64_MAX, U64_MAX - 1n, U64_MAX - PAGE, 2n ** 53n) },
);
const range: fc.Arbitrary<Range> = fc
  .tuple(place, place)
  .map(([a, b]) => (a < b ? { start: a, last: b } : { start: b, last: a }));
const owners = [{}, {}, {}];
const step = fc.record({ range, owner: fc.nat({ max: 2 }), removes: fc.nat({ max: 4 }) });

describe('ranges of IOVAs', () => {
  it('cover what was added and is there still', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 12 }), range, (steps, asked) => {
        const ranges = new IovaRanges();
        let model: (Range & { owner: object })[] = [];
        for (const { range: added, owner: which, removes } of steps) {
          const owner = owners[which] ?? {};
          if (removes === 0) {
            ranges.remove(owner);
            model = model.filter((one) => one.owner !== owner);
          } else {
            ranges.add(added, owner);
            model.push({ ...added, owner });
          }
        }
        const covers = (iova: bigint): boolean => model.some(({ start, last }) => start <= iova && iova <= last);
        const { start, last } = asked;
        const touched = model.some((one) => one.start <= last && one.last >= start);
        assert.equal(ranges.isEmpty, model.length === 0);
        assert.equal(ranges.touches(start, last), touched);
        const pages = [start, last].flatMap((iova) => [Number(iova / PAGE), Number(iova % PAGE)]);
        const [page = 0, offset = 0, lastPage = 0, lastOffset = 0] = pages;
        assert.equal(ranges.touchesPages(page, offset, lastPage, lastOffset), touched);

        const end = ranges.endOf(start);
        assert.equal(end !== undefined, covers(start));
        if (end !== undefined) assert(covers(end) && !covers(end + 1n));
        const next = model.map((one) => one.start).filter((iova) => iova > start);
        const after = ranges.startAfter(start);
        // A range that begins within another one, or right behind it, does not count.
        if (after !== undefined) assert(next.includes(after) && !covers(after - 1n));
        else assert(next.every((iova) => covers(iova - 1n)));
        const holes = [...ranges.holes()];
        for (const hole of holes)
          assert(!covers(hole.start) && !covers(hole.last) && !ranges.touches(hole.start, hole.last));
        const sum = [...holes, ...ranges.spans].reduce((sum, one) => sum + one.last - one.start + 1n, 0n);
        assert.equal(sum, 2n ** 64n, 'holes and spans are everything, and share nothing');
      }),
      { numRuns: 400 },
    );
  });

  it('are replaced as a whole', () => {
    const ranges = new IovaRanges();
    ranges.add({ start: 0n, last: 9n }, {});
    ranges.replaceAll([
      { start: 20n, last: 29n },
      { start: 5n, last: 8n },
      { start: 9n, last: 12n },
    ]);
    assert.deepEqual(ranges.spans, [
      { start: 5n, last: 12n },
      { start: 20n, last: 29n },
    ]);
    ranges.replaceAll([]);
    assert.deepEqual([...ranges.holes()], [{ start: 0n, last: U64_MAX }]);
  });

  it('that must not overlap are taken in any order, or refused', () => {
    fc.assert(
      fc.property(fc.array(range, { maxLength: 12 }), (wishes) => {
        const taken = new DisjointRanges();
        const model: Range[] = [];
        for (const wish of wishes) {
          const free = model.every(({ start, last }) => start > wish.last || last < wish.start);
          assert.equal(taken.add(wish), free);
          if (free) model.push(wish);
        }
        model.sort((a, b) => (a.start < b.start ? -1 : 1));
        assert.deepEqual(taken.all, model);
      }),
    );
  });
});
