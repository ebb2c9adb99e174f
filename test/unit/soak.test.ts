// VMMs that live at random on every emulated machine: in the end nothing is left, and no device has reached what was not mapped.
// IOMMUFD_SOAK=300 takes that many seconds; IOMMUFD_SOAK_SEED=7 repeats a run from there.
import assert from 'node:assert/strict';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { MachineName } from '../../lib/emulated-host.js';
import { isExpected, Life, Random } from './soak-life.js';
import { draw } from './soak-operations.js';

const MACHINES: readonly MachineName[] = ['selftest', 'arm-smmuv3', 'tegra241-cmdqv', 'intel-vtd'];
const SECONDS = Number(process.env.IOMMUFD_SOAK ?? 3);
const OPERATIONS = 1000;
/** A life that a seed stands for; time says how many of them there are. */
const FIRST = Number(process.env.IOMMUFD_SOAK_SEED ?? Date.now() % 1_000_000);

interface Tally {
  lives: number;
  /** Of the kernel, whatever it answered. */
  calls: number;
  dmas: number;
  nested: number;
}

async function live(machine: MachineName, seed: number, tally: Tally): Promise<void> {
  const life = new Life(machine, new Random(seed));
  for (let i = 0; i < OPERATIONS; i++) {
    const { name, run } = draw(life);
    try {
      await run(life);
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
async function soak(machine: MachineName, first: number, step: number, seconds: number): Promise<Tally> {
  const tally = { lives: 0, calls: 0, dmas: 0, nested: 0 };
  const count = () => tally.calls++;
  subscribe('iommufd:call', count);
  try {
    const until = performance.now() + seconds * 1000;
    for (let seed = first; performance.now() < until; seed += step) {
      await live(machine, seed, tally).catch((cause: unknown) => {
        throw new Error(`${machine}: IOMMUFD_SOAK_SEED=${seed - first + FIRST} shows it first`, { cause });
      });
    }
  } finally {
    unsubscribe('iommufd:call', count);
  }
  return tally;
}

describe('lives at random', () => {
  const complaints: unknown[] = [];
  const complain = (what: unknown) => {
    // Other tests' leftovers, which are collected meanwhile: here all that is opened is closed, as each life's end shows.
    const isCollected = what instanceof Error && 'code' in what && what.code === 'IOMMUFD_COLLECTED';
    if (!isCollected) complaints.push(what);
  };
  before(() => process.on('unhandledRejection', complain).on('warning', complain));
  after(() => process.off('unhandledRejection', complain).off('warning', complain));

  for (const [index, machine] of MACHINES.entries()) {
    it(`leave nothing behind on ${machine}`, async function () {
      this.timeout((SECONDS + 60) * 1000);
      const tally = await soak(machine, FIRST + index, MACHINES.length, SECONDS / MACHINES.length);
      assert.deepEqual(complaints, []);
      assert(tally.nested > 0 && tally.dmas > tally.nested, 'devices reach memory, by tables of both kinds');
      if (this.test === undefined) return;
      const { lives, calls, dmas, nested } = tally;
      this.test.title += ` (seed ${FIRST}: ${lives} lives, ${calls} calls, ${dmas} DMAs, ${nested} of them nested)`;
    });
  }
});
