// How often each of many pages is in use, as runs of pages with the same count.

/** Runs that are put in place one by one. */
const FEW = 1000;

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
    for (let i = this.#from(first); next <= last; i++) {
      const run = this.#runs[i];
      const end = Math.min(last, run === undefined ? last : run.first - 1);
      if (next <= end) holes.push([next, end]);
      next = run === undefined ? last + 1 : run.last + 1;
    }
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
    // From the run before those that change to the one behind them, which they may come to be equal to.
    const from = Math.max(0, this.#from(first) - 1);
    let to = from;
    let next = first;
    for (let run = this.#runs[from]; run !== undefined; run = this.#runs[to]) {
      put(run.first, Math.min(run.last, first - 1), run.count);
      put(next, Math.min(run.first - 1, last), by);
      put(Math.max(run.first, first), Math.min(run.last, last), run.count + by);
      put(Math.max(run.first, last + 1), run.last, run.count);
      next = Math.max(next, run.last + 1);
      to++;
      if (run.first > last) break;
    }
    put(next, last, by);
    this.#replace(from, to, runs);
    return gone;
  }

  /** The place of the first run that reaches a page or lies behind it. */
  #from(page: number): number {
    let low = 0;
    let high = this.#runs.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#runs[middle]?.last ?? 0) < page) low = middle + 1;
      else high = middle;
    }
    return low;
  }
  #replace(from: number, to: number, runs: Run[]): void {
    // As arguments of a call there may not be any number of them.
    if (runs.length <= FEW) this.#runs.splice(from, to - from, ...runs);
    else this.#runs = [...this.#runs.slice(0, from), ...runs, ...this.#runs.slice(to)];
  }
}
