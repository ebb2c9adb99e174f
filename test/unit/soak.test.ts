// VMMs that live at random on every emulated machine: in the end nothing is left, and no device has reached what was not mapped.
// IOMMUFD_SOAK=300 takes that many seconds; IOMMUFD_SEED=7 repeats a run from there.
import assert from 'node:assert/strict';
import type { MachineName } from '../../lib/emulated-host.js';
import { SEED } from '../rig/seed.js';
import { soak } from '../soak/run.js';
import { emulatedWorld } from '../soak/world-emulated.js';

const MACHINES: readonly MachineName[] = ['selftest', 'arm-smmuv3', 'tegra241-cmdqv', 'intel-vtd'];
const SECONDS = Number(process.env.IOMMUFD_SOAK ?? 3);

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
      const span = { what: machine, seed: SEED, offset: index, step: MACHINES.length, least: 3 };
      const tally = await soak(emulatedWorld(machine), { ...span, seconds: SECONDS / MACHINES.length });
      assert.deepEqual(complaints, []);
      assert(tally.nested > 0 && tally.dmas > tally.nested, 'devices reach memory, by tables of both kinds');
      if (this.test === undefined) return;
      const { lives, calls, dmas, nested } = tally;
      this.test.title += ` (seed ${SEED}: ${lives} lives, ${calls} calls, ${dmas} DMAs, ${nested} of them nested)`;
    });
  }
});
