// How the time that something takes grows with how much of it there is. Clocks are noisy, and machines busy: only what was
// measured in one run is compared, the best of some tries.
import assert from 'node:assert/strict';

const TIMES = 16;
/** Caches, the collector of garbage and whoever else is busy may make it this much more than it ought to be. */
const NOISE = 4;
const TRIES = 3;

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

/** Work on 16 times as many takes about 16 times as long, and not 256 times. */
export function assertLinear(prepare: (count: number) => () => void, count: number): void {
  // The many first: by then the engine has compiled what it will, for both.
  const many = quickest(prepare, count * TIMES);
  const some = quickest(prepare, count);
  assert(many / some < TIMES * NOISE, `${count} take ${some} ms, ${count * TIMES} take ${many} ms`);
}
