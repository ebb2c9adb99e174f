// Sessions that fast-check makes up, on two kernels in lockstep, until there were enough calls or a difference, which it makes as
// small as it can.
import fc from 'fast-check';
import type { Lane, Side } from './lane.js';
import { type Difference, type Pair, runInLockstep } from './lockstep.js';
import { type Plan, plans } from './plan.js';

/** Sessions of one seed of fast-check's: a batch can be run alone. */
const BATCH = 20;
/** Making a session smaller stops after so many milliseconds. */
const SHRINKING = 60_000;

export interface FuzzOptions {
  /** Which sessions. */
  readonly seed: number;
  /** The first batch. */
  readonly first?: number;
  /** How far the next batch is: others may take those between. */
  readonly every?: number;
  /** How many system calls at least, of each kernel. */
  readonly calls: number;
  /** How many differences are enough. */
  readonly enough: number;
  /** What the kernel complained of since this was asked last. */
  readonly complaints?: () => readonly string[];
  /** Is told before every batch. */
  readonly onBatch?: (batch: number, calls: number) => void;
}

export interface Found {
  readonly batch: number;
  readonly plan: Plan;
  readonly difference: Difference | undefined;
  /** What went wrong, where that was no difference. */
  readonly error: string | undefined;
}

export interface Outcome {
  readonly sessions: number;
  readonly calls: number;
  readonly found: readonly Found[];
}

class Differs extends Error {
  constructor(readonly difference: Difference) {
    super(`${difference.step} differs`);
  }
}

/** fast-check's seed of a batch. */
function seedOf(seed: number, batch: number): number {
  return (Math.imul(seed, 1_000_003) + batch) | 0;
}

export async function fuzz(lane: Lane, sides: Pair<Side>, options: FuzzOptions): Promise<Outcome> {
  const { seed, first = 0, every = 1, calls: wanted, enough, complaints = () => [], onBatch } = options;
  const found: Found[] = [];
  const property = fc.asyncProperty(plans(lane), async (plan) => {
    const difference = await runInLockstep(sides, plan);
    if (difference !== undefined) throw new Differs(difference);
    const [complaint] = complaints();
    if (complaint !== undefined) throw new Error(`the kernel complained: ${complaint}`);
  });
  const start = sides.kernel.calls;
  const done = (): number => sides.kernel.calls - start;
  let sessions = 0;
  for (let batch = first; done() < wanted && found.length < enough; batch += every) {
    onBatch?.(batch, done());
    const plugins = [fc.interruptAfterTimeLimit(SHRINKING) as fc.Plugin<[Plan]>];
    const details: fc.RunDetails<[Plan]> = await fc.check<[Plan]>(property, {
      seed: seedOf(seed, batch),
      numRuns: BATCH,
      plugins,
    });
    sessions += details.numRuns;
    if (!details.failed) continue;
    const plan = details.counterexample?.[0];
    if (plan === undefined) throw new Error(`batch ${batch} did not end within ${SHRINKING} ms`);
    const { errorInstance: error } = details;
    const difference = error instanceof Differs ? error.difference : undefined;
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    found.push({ batch, plan, difference, error: difference === undefined ? text : undefined });
  }
  return { sessions, calls: done(), found };
}
