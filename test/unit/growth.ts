// How the time that something takes grows with how much of it there is. Clocks are noisy, and machines busy: only what was
// measured in one run is compared, the best of some tries.
import assert from 'node:assert/strict';

const TIMES = 8;
const TRIES = 5;

/** Milliseconds of the quickest try. `prepare` makes that many, and answers the work on them. */
function quickest(prepare: (count: number) => () => void, count: number): number {
  let best = Number.POSITIVE_INFINITY;
  for (let i = 0; i < TRIES; i++) {
    const work = prepare(count);
    const start = performance.now();
    work();
    best = Math.min(best, performance.now() - start);
  }
  return best;
}

/** Work on eight times as many takes about eight times as long, and not 64 times. */
export function assertLinear(prepare: (count: number) => () => void, count: number): void {
  const [some, many] = [quickest(prepare, count), quickest(prepare, count * TIMES)];
  assert(many / some < (TIMES * TIMES) / 2, `${count} take ${some} ms, ${count * TIMES} take ${many} ms`);
}
