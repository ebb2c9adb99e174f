// On the real kernel: whichever allocation of an operation fails, it throws ENOMEM or works all the same, and nothing is left
// behind. The machine is the one that IOMMUFD_MACHINE names. IOMMUFD_FAIL_NTH=all lets each allocation fail, however many
// an operation has; without it, of those beyond the first few dozens only some.
import assert from 'node:assert/strict';
import { type Failed, FailNth } from '../rig/fail-nth.js';
import { checkError, checkResult, told } from '../rig/fail-nth-outcome.js';
import type { Operation } from '../rig/memory-operation.js';
import { OPERATIONS } from '../rig/memory-operations.js';
import { KERNEL_OPERATIONS } from '../rig/memory-operations-kernel.js';
import { Lacks, type Place } from '../rig/memory-place.js';
import { MockPlace, VtdPlace } from '../rig/memory-place-kernel.js';
import { Site } from '../rig/memory-site.js';
import { rig } from '../rig/rig.js';

/** No operation has as many allocations. */
const MOST = 5000;
/** All of these are tried, and from there on some. */
const FIRST = process.env.IOMMUFD_FAIL_NTH === 'all' ? MOST : 32;
const STRIDE = 17;

type Outcome = { readonly error: unknown } | { readonly value: unknown };

async function outcomeOf(work: () => unknown): Promise<Outcome> {
  try {
    return { value: await work() };
  } catch (error) {
    return { error };
  }
}

/** A site where an operation can be done, and again where it has not been done. */
class Ground {
  readonly #before: unknown;
  #site: Site | undefined;
  #work: (() => unknown) | undefined;

  constructor(
    readonly place: Place,
    readonly operation: Operation,
  ) {
    this.#before = place.inspect();
  }
  async site(): Promise<Site> {
    if (this.#site !== undefined) return this.#site;
    this.#site = new Site(this.place);
    this.#work = await this.operation.prepare(this.#site);
    return this.#site;
  }
  work(): unknown {
    return this.#work?.();
  }
  /** Everything goes. */
  clear(): void {
    this.#site?.close();
    this.#site = undefined;
  }
  /** Everything goes, and nothing is left. */
  clearAll(what: string): void {
    this.clear();
    assert.deepEqual(this.place.inspect(), this.#before, `${what}: left behind after all was closed`);
  }
}

/** How the failures of an operation ended. */
class Tally {
  refused = 0;
  /** What was answered where it worked all the same. */
  readonly worked: { readonly what: string; readonly value: unknown }[] = [];
}

/** Lets allocation `nth` fail; answers whether there was one. */
async function fails(ground: Ground, injection: FailNth, nth: number, tally: Tally): Promise<boolean> {
  const site = await ground.site();
  const before = site.state();
  injection.start(nth);
  const outcome = await outcomeOf(() => ground.work());
  const failed: Failed | undefined = injection.stop();
  if (failed === undefined) {
    if ('error' in outcome) throw outcome.error;
    for (const { what, value } of tally.worked) checkResult(what, value, outcome.value);
    ground.clearAll('no failure');
    return false;
  }
  const what = `allocation ${nth}, ${told(failed)}`;
  if ('error' in outcome) {
    checkError(what, failed, outcome.error);
    assert.deepEqual(site.state(), before, what);
    tally.refused++;
  } else {
    tally.worked.push({ what, value: outcome.value });
    ground.clearAll(what);
  }
  return true;
}

async function exhaust(ground: Ground, injection: FailNth): Promise<Tally> {
  const tally = new Tally();
  let nth = 1;
  while (await fails(ground, injection, nth, tally)) {
    nth += nth < FIRST ? 1 : STRIDE;
    assert(nth < MOST, `more than ${MOST} allocations`);
  }
  return tally;
}

describe("operations whose memory fails in Linux's hands", () => {
  const place = process.env.IOMMUFD_MACHINE === 'vtd' ? new VtdPlace() : new MockPlace();
  let injection: FailNth;
  before(async () => {
    injection = await FailNth.on(rig().seam);
  });
  after(() => injection.close());

  for (const operation of [...OPERATIONS, ...KERNEL_OPERATIONS]) {
    it(operation.name, async function () {
      this.timeout(600_000);
      const ground = new Ground(place, operation);
      try {
        if (!operation.machines.includes(place.machine)) throw new Lacks(`not of the IOMMU here, ${place.machine}`);
        await ground.site();
        const { refused, worked } = await exhaust(ground, injection);
        if (this.test !== undefined) this.test.title += ` (${refused} refused, ${worked.length} worked)`;
      } catch (error) {
        ground.clear();
        if (!(error instanceof Lacks)) throw error;
        if (this.test !== undefined) this.test.title += ` [${error.message}]`;
        this.skip();
      }
    });
  }
});
