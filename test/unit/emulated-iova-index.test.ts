// The index of an address space's mappings, against a sorted array: what lies at, behind and before an IOVA, with many
// mappings, and with several that start in one page.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { Areas } from '../../lib/emulated/kernel/areas.js';
import { generator } from './stage.js';

const PAGE = 4096;
/** An IOVA is kept as page and offset; the model has page * PAGE + offset, exact for the pages used here. */
interface Span {
  readonly start: number;
  readonly last: number;
  readonly slot: number;
}

/** Mappings as a sorted array of what `Areas` should know. */
class Model {
  readonly spans: Span[] = [];

  touches(start: number, last: number): boolean {
    return this.spans.some((span) => span.start <= last && span.last >= start);
  }
  add(span: Span): void {
    const at = this.spans.findIndex(({ start }) => start > span.start);
    this.spans.splice(at < 0 ? this.spans.length : at, 0, span);
  }
  at(iova: number): number {
    return this.spans.find(({ start, last }) => start <= iova && iova <= last)?.slot ?? -1;
  }
  from(iova: number): number {
    return this.spans.find(({ last }) => last >= iova)?.slot ?? -1;
  }
  before(iova: number): number {
    return this.spans.filter(({ start }) => start <= iova).at(-1)?.slot ?? -1;
  }
}

function split(iova: number): [page: number, offset: number] {
  return [Math.floor(iova / PAGE), iova % PAGE];
}

function insert(areas: Areas, start: number, last: number): number {
  const slot = areas.take();
  [areas.startPage[slot], areas.startOffset[slot]] = split(start);
  [areas.lastPage[slot], areas.lastOffset[slot]] = split(last);
  areas.insert(slot);
  return slot;
}

function assertSame(areas: Areas, model: Model): void {
  assert.equal(areas.size, model.spans.length);
  const slots: number[] = [];
  for (let slot = areas.first(); slot >= 0; slot = areas.next(slot)) slots.push(slot);
  assert.deepEqual(
    slots,
    model.spans.map(({ slot }) => slot),
  );
}
function assertSameAt(areas: Areas, model: Model, iova: number): void {
  const [page, offset] = split(iova);
  assert.equal(areas.at(page, offset), model.at(iova), `at ${iova}`);
  assert.equal(areas.from(page, offset), model.from(iova), `from ${iova}`);
  assert.equal(areas.before(page, offset), model.before(iova), `before ${iova}`);
}

describe('mappings by IOVA', () => {
  it('are found where they lie, whatever was added and removed before', () => {
    // Few pages and small pieces, so that many start in one page.
    const place = fc.nat({ max: 12 * PAGE });
    const step = fc.record({
      removes: fc.integer({ min: 0, max: 3 }),
      start: place,
      length: fc.integer({ min: 1, max: 700 }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), fc.array(place, { maxLength: 10 }), (steps, places) => {
        const areas = new Areas();
        const model = new Model();
        for (const { removes, start, length } of steps) {
          const last = start + length - 1;
          const taken = model.touches(start, last);
          assert.equal(areas.touches(...split(start), ...split(last)), taken);
          if (!taken) model.add({ start, last, slot: insert(areas, start, last) });
          else if (removes === 0) {
            const slot = model.from(start);
            model.spans.splice(
              model.spans.findIndex((span) => span.slot === slot),
              1,
            );
            areas.remove(slot);
          }
          assertSameAt(areas, model, start);
          assertSameAt(areas, model, last + 1);
        }
        assertSame(areas, model);
        for (const iova of places) assertSameAt(areas, model, iova);
      }),
      { numRuns: 150 },
    );
  });

  for (const [name, order] of [
    ['from low to high', (i: number) => i],
    ['from high to low', (i: number, count: number) => count - 1 - i],
    ['in any order', (i: number, count: number) => (i * 7919) % count],
  ] as const) {
    it(`are found by the thousand, added ${name} and removed at random`, () => {
      const count = 5000;
      const areas = new Areas();
      const starts = Array.from({ length: count }, (_, i) => order(i, count) * 96);
      const slotOf = new Map(starts.map((start) => [start, insert(areas, start, start + 63)]));
      const below = generator(count);
      const left = [...slotOf.keys()].sort((a, b) => a - b);
      while (left.length > 0) {
        const [start = 0] = left.splice(below(left.length), 1);
        assert.equal(areas.at(...split(start + 63)), slotOf.get(start));
        assert.equal(areas.at(...split(start + 64)), -1);
        areas.remove(slotOf.get(start) ?? -1);
        assert.equal(areas.at(...split(start)), -1);
        if (left.length % 500 !== 0) continue;
        const found: number[] = [];
        for (let slot = areas.first(); slot >= 0; slot = areas.next(slot)) found.push(slot);
        assert.deepEqual(
          found,
          left.map((each) => slotOf.get(each)),
        );
      }
      assert.equal(areas.size, 0);
      assert.equal(areas.first(), -1);
    });
  }

  it('are not found where one was that is gone, or whose number another one has', () => {
    const areas = new Areas();
    const [low, high] = [2048, 2048 + 256 * 512];
    const slot = insert(areas, low * PAGE, low * PAGE + 9);
    assert.equal(areas.at(low, 3), slot);
    assert.equal(areas.at(low, 10), -1);
    areas.remove(slot);
    assert.equal(areas.at(low, 3), -1);
    assert.equal(insert(areas, high * PAGE, high * PAGE + 9), slot);
    assert.equal(areas.at(low, 3), -1);
    assert.equal(areas.at(high, 9), slot);
    areas.remove(slot);
    assert.equal(areas.at(high, 9), -1);
    assert.equal(insert(areas, 0, 0), slot);
    areas.remove(slot);
    assert.equal(areas.at(0, 0), -1);
  });

  it('may be the first byte and the last of 64 bits', () => {
    const areas = new Areas();
    const end = 2 ** 52 - 1;
    const slot = areas.take();
    [areas.startPage[slot], areas.startOffset[slot]] = [end, PAGE - 1];
    [areas.lastPage[slot], areas.lastOffset[slot]] = [end, PAGE - 1];
    areas.insert(slot);
    const low = insert(areas, 0, 0);
    assert.equal(areas.at(end, PAGE - 1), slot);
    assert.equal(areas.at(end, PAGE - 2), -1);
    assert.equal(areas.startOf(slot), 2n ** 64n - 1n);
    assert.equal(areas.at(0, 0), low);
    assert.equal(areas.touches(0, 1, end, PAGE - 2), false);
    assert.equal(areas.next(low), slot);
    assert.equal(areas.next(slot), -1);
  });

  it('are numbered anew from what was given back', () => {
    const areas = new Areas();
    const slots = Array.from({ length: 100 }, (_, i) => insert(areas, i * PAGE, i * PAGE + 9));
    areas.remove(slots[40] ?? -1);
    areas.remove(slots[60] ?? -1);
    assert.deepEqual(
      [areas.take(), areas.take(), areas.take()].sort((a, b) => a - b),
      [slots[40], slots[60], 100],
    );
  });
});
