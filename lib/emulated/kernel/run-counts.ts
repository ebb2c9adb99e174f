// How often each of many pages is in use, as runs of pages with the same count.

interface Run {
  first: number;
  last: number;
  count: number;
}

export class RunCounts {
  /** Sorted, apart from each other; pages in none of them have the count 0. */
  #runs: Run[] = [];

  get isEmpty(): boolean {
    return this.#runs.length === 0;
  }

  /** The runs of pages between two that are not in use. */
  unused(first: number, last: number): [first: number, last: number][] {
    const holes: [number, number][] = [];
    let next = first;
    for (const run of this.#runs) {
      if (run.last < next) continue;
      if (run.first > last) break;
      if (run.first > next) holes.push([next, run.first - 1]);
      next = run.last + 1;
    }
    if (next <= last) holes.push([next, last]);
    return holes;
  }

  /** Adds to the counts of pages; answers the runs that came to 0. */
  add(first: number, last: number, by: 1 | -1): [first: number, last: number][] {
    const gone: [number, number][] = [];
    const runs: Run[] = [];
    const put = (from: number, to: number, count: number): void => {
      if (from > to) return;
      if (count === 0) {
        gone.push([from, to]);
        return;
      }
      const before = runs.at(-1);
      if (before !== undefined && before.last + 1 === from && before.count === count) before.last = to;
      else runs.push({ first: from, last: to, count });
    };
    let next = first;
    for (const run of this.#runs) {
      if (run.first > last && next <= last) {
        put(next, last, by);
        next = last + 1;
      }
      if (run.last < first || run.first > last) {
        put(run.first, run.last, run.count);
        continue;
      }
      put(run.first, first - 1, run.count);
      if (next < run.first) put(next, run.first - 1, by);
      put(Math.max(run.first, first), Math.min(run.last, last), run.count + by);
      put(last + 1, run.last, run.count);
      next = Math.min(run.last, last) + 1;
    }
    if (next <= last) put(next, last, by);
    this.#runs = runs;
    return gone;
  }
}
