// On the real kernel: whichever allocation of an operation fails, it throws ENOMEM or works all the same, and nothing is left
// behind. The machine is the one that IOMMUFD_MACHINE names. IOMMUFD_FAIL_NTH=all lets each allocation fail, however many
// an operation has; without it, of those beyond the first few dozens only some. IOMMUFD_FAIL_NTH_TELL=1 tells of each.
import assert from 'node:assert/strict';
import { FailNth } from '../rig/fail-nth.js';
import { OPERATIONS } from '../rig/memory-operations.js';
import { KERNEL_OPERATIONS } from '../rig/memory-operations-kernel.js';
import { Lacks } from '../rig/memory-place.js';
import { MockPlace, VtdPlace } from '../rig/memory-place-kernel.js';
import { rig } from '../rig/rig.js';
import { Trial } from './trial.js';

const TIMEOUT = 600_000;

describe("operations whose memory fails in Linux's hands", () => {
  const place = process.env.IOMMUFD_MACHINE === 'vtd' ? new VtdPlace() : new MockPlace();
  let injection: FailNth;
  before(async () => {
    injection = await FailNth.on(rig().seam);
  });
  after(() => injection.close());

  for (const operation of [...OPERATIONS, ...KERNEL_OPERATIONS]) {
    it(operation.name, async function () {
      this.timeout(TIMEOUT);
      const trial = new Trial(place, operation, injection);
      try {
        if (!operation.machines.includes(place.machine)) throw new Lacks(`not with this IOMMU, ${place.machine}`);
        await trial.prepare();
      } catch (error) {
        trial.clear();
        if (!(error instanceof Lacks)) throw error;
        if (this.test !== undefined) this.test.title += ` [${error.message}]`;
        this.skip();
      }
      await trial.run();
      assert.equal(trial.wrong.length, 0, trial.wrong.join('\n'));
      if (this.test !== undefined) this.test.title += ` (${trial.refused} refused, ${trial.worked.length} worked)`;
    });
  }
});
