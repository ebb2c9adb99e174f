// One session on two kernels at once: what each answers to every step is compared before the next.
import type { Life, Side } from './lane.js';
import type { Plan } from './plan.js';
import type { Tape } from './tape.js';

/** Where two answers differ first. `undefined`: nothing came. */
export interface Difference {
  /** The step; the beginning and the end of a session have these names. */
  readonly step: string;
  /** What was asked and answered before, on both. */
  readonly before: readonly string[];
  readonly expected: string | undefined;
  readonly came: string | undefined;
}

/** The kernel that is right, and the one that is held against it. */
export interface Pair<T> {
  readonly kernel: T;
  readonly emulated: T;
}

function firstDifference(step: string, before: readonly string[], left: string[], right: string[]) {
  const length = Math.max(left.length, right.length);
  let at = 0;
  while (at < length && left[at] === right[at]) at++;
  if (at === length) return undefined;
  return { step, before: [...before, ...left.slice(0, at)], expected: left[at], came: right[at] } satisfies Difference;
}

/** Waits only where there is something to wait for: most steps are calls that answer at once. */
async function both(lives: Pair<Life>, work: (life: Life) => void | Promise<void>): Promise<void> {
  for (const life of [lives.kernel, lives.emulated]) {
    const later = work(life);
    if (later !== undefined) await later;
  }
}

export async function runInLockstep(sides: Pair<Side>, plan: Plan): Promise<Difference | undefined> {
  const begin = async (side: Side, tape: Tape): Promise<Life> => side.begin(tape.play());
  const lives = { kernel: await begin(sides.kernel, plan.begin), emulated: await begin(sides.emulated, plan.begin) };
  const before: string[] = [];
  const compare = (step: string): Difference | undefined => {
    const left = lives.kernel.take();
    const difference = firstDifference(step, before, left, lives.emulated.take());
    before.push(...left);
    return difference;
  };
  let difference = compare('begin');
  try {
    for (const move of plan.moves) {
      if (difference !== undefined) break;
      const step = move.nameIn(lives.kernel);
      await both(lives, (life) => life.run(step, move.tape.play()));
      difference = compare(step);
    }
  } finally {
    await both(lives, (life) => life.end(plan.end.play()));
  }
  return difference ?? compare('end');
}
