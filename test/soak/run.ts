// Lives at random, one after the other, until it is time.
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { isExpected, Life, Random } from './life.js';
import { draw } from './operations.js';
import type { World } from './world.js';

/** Each life and operation is told, for whoever looks for one that does not end. */
const TELLS = process.env.IOMMUFD_SOAK_TELL !== undefined;
/** Operations of a life. */
const OPERATIONS = 1000;

export interface Tally {
  lives: number;
  /** Of the kernel, whatever it answered. */
  calls: number;
  /** Operations that were not refused. */
  worked: number;
  dmas: number;
  nested: number;
}

export interface Span {
  /** Whose lives they are, for whoever reads what went wrong. */
  readonly what: string;
  /** What the run is repeated from. Its own lives begin `offset` later, and are `step` apart: others' lie between. */
  readonly seed: number;
  readonly offset: number;
  readonly step: number;
  readonly seconds: number;
  /** So many lives there are however slow the machine is; of others the last one is cut short. */
  readonly least: number;
}

async function live(make: (random: Random) => World, seed: number, goesOn: () => boolean, tally: Tally) {
  const life = new Life(make, new Random(seed));
  for (let i = 0; i < OPERATIONS && goesOn(); i++) {
    const { name, run } = draw(life);
    if (TELLS) console.log(`life ${seed}, operation ${i}: ${name}`);
    try {
      await run(life);
      tally.worked++;
    } catch (error) {
      if (!isExpected(error)) throw new Error(`${name}, operation ${i}`, { cause: error });
    }
  }
  await life.end();
  tally.lives++;
  tally.dmas += life.dmas;
  tally.nested += life.nested;
}

/** Lives until it is time; the seed of the first that goes wrong is told. */
export async function soak(make: (random: Random) => World, span: Span): Promise<Tally> {
  const { what, offset, step } = span;
  const tally = { lives: 0, calls: 0, worked: 0, dmas: 0, nested: 0 };
  const count = () => tally.calls++;
  subscribe('iommufd:call', count);
  try {
    const until = performance.now() + span.seconds * 1000;
    const goesOn = () => tally.lives < span.least || performance.now() < until;
    for (let { seed } = span; goesOn(); seed += step) {
      await live(make, seed + offset, goesOn, tally).catch((cause: unknown) => {
        throw new Error(`${what}: IOMMUFD_SEED=${seed} shows it first`, { cause });
      });
    }
  } finally {
    unsubscribe('iommufd:call', count);
  }
  return tally;
}
