// Counts of how often pages are in use, against a plain array of counts.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { RunCounts } from '../../lib/emulated/kernel/run-counts.js';

const PAGES = 40;
type Range = readonly [first: number, last: number];

const range: fc.Arbitrary<Range> = fc
  .tuple(fc.nat({ max: PAGES - 1 }), fc.nat({ max: PAGES - 1 }))
  .map(([a, b]) => [Math.min(a, b), Math.max(a, b)]);

/** The runs of pages within a range that fulfil a condition. */
function runsWhere([first, last]: Range, condition: (page: number) => boolean): Range[] {
  const runs: [number, number][] = [];
  for (let page = first; page <= last; page++) {
    if (!condition(page)) continue;
    const before = runs.at(-1);
    if (before !== undefined && before[1] === page - 1) before[1] = page;
    else runs.push([page, page]);
  }
  return runs;
}
/** Runs as single pages: whether neighbours are told as one run is not promised. */
function pagesOf(runs: readonly Range[]): number[] {
  return runs.flatMap(([first, last]) => Array.from({ length: last - first + 1 }, (_, i) => first + i));
}

describe('run counts', () => {
  it('are those of an array, whatever was added and taken back', () => {
    const steps = fc.array(fc.tuple(fc.boolean(), range, fc.nat()), { maxLength: 60 });
    fc.assert(
      fc.property(steps, range, (changes, asked) => {
        const counts = new RunCounts();
        const model = new Array<number>(PAGES).fill(0);
        const added: Range[] = [];
        for (const [adds, fresh, which] of changes) {
          const old = added.length > 0 ? added[which % added.length] : undefined;
          if (adds || old === undefined) {
            added.push(fresh);
            for (let page = fresh[0]; page <= fresh[1]; page++) model[page] = (model[page] ?? 0) + 1;
            assert.deepEqual(counts.add(...fresh, 1), []);
            continue;
          }
          added.splice(added.indexOf(old), 1);
          for (let page = old[0]; page <= old[1]; page++) model[page] = (model[page] ?? 0) - 1;
          const gone = counts.add(...old, -1);
          assert.deepEqual(pagesOf(gone), pagesOf(runsWhere(old, (page) => model[page] === 0)));
        }
        assert.deepEqual(
          counts.unused(...asked),
          runsWhere(asked, (page) => model[page] === 0),
        );
        assert.equal(
          counts.isEmpty,
          model.every((count) => count === 0),
        );
      }),
      { numRuns: 300 },
    );
  });

  it('give back in other pieces than they took', () => {
    const counts = new RunCounts();
    counts.add(0, 9, 1);
    counts.add(5, 14, 1);
    assert.deepEqual(counts.add(0, 14, -1), [
      [0, 4],
      [10, 14],
    ]);
    assert.deepEqual(counts.unused(0, 20), [
      [0, 4],
      [10, 20],
    ]);
    assert.deepEqual(counts.add(5, 9, -1), [[5, 9]]);
    assert.equal(counts.isEmpty, true);
  });

  it('stay quick with many runs apart from each other', () => {
    const counts = new RunCounts();
    const many = 20_000;
    for (let i = 0; i < many; i++) counts.add(i * 2, i * 2, 1);
    assert.deepEqual(counts.unused(0, 4), [
      [1, 1],
      [3, 3],
    ]);
    for (let i = 0; i < many; i++) assert.deepEqual(counts.add(i * 2, i * 2, -1), [[i * 2, i * 2]]);
    assert.equal(counts.isEmpty, true);
  }).timeout(60_000);
});
