// VMMs that live at random on a real kernel, on the machine that IOMMUFD_MACHINE names: in the end nothing is left.
// IOMMUFD_SOAK=300 takes that many seconds; IOMMUFD_SEED=7 repeats a run from there.
import assert from 'node:assert/strict';
import { SEED } from '../rig/seed.js';
import { soak } from './run.js';
import { mockWorld, vtdWorld } from './world-kernel.js';

const SECONDS = Number(process.env.IOMMUFD_SOAK ?? 20);

describe("lives at random in Linux's hands", () => {
  it('leave nothing behind', async function () {
    this.timeout((SECONDS + 120) * 1000);
    const world = process.env.IOMMUFD_MACHINE === 'vtd' ? vtdWorld() : mockWorld();
    const span = { what: world.machine, seed: SEED, offset: 0, step: 1, seconds: SECONDS, least: 1 };
    const { lives, calls, dmas, worked } = await soak(() => world, span);
    assert(dmas > 0, 'what is mapped was looked at');
    if (this.test === undefined) return;
    this.test.title += ` (seed ${SEED}: ${lives} lives, ${calls} calls, ${worked} operations that worked, ${dmas} looks)`;
  });
});
