// Whichever allocation of the kernel fails in an operation: it throws ENOMEM, leaves nothing behind, and works next time.
import assert from 'node:assert/strict';
import type { MachineName } from '../../lib/emulated-host.js';
import { IommufdError } from '../../lib/index.js';
import { NOT_ASKED } from '../rig/memory-not-asked.js';
import type { Operation } from '../rig/memory-operation.js';
import { OPERATIONS } from '../rig/memory-operations.js';
import { KERNEL_OPERATIONS } from '../rig/memory-operations-kernel.js';
import { EmulatedPlace } from '../rig/memory-place-emulated.js';
import { Site } from '../rig/memory-site.js';
import { publicMembers } from '../rig/public-classes.js';

/** No operation has as many allocations. */
const MOST = 40;

async function failureOf(work: () => unknown): Promise<unknown> {
  try {
    await work();
  } catch (error) {
    return error;
  }
  return undefined;
}

/** Lets allocation `after` of the operation fail; answers whether there was one. */
async function fails(site: Site, work: () => unknown, after: number): Promise<boolean> {
  const before = site.state();
  const host = site.place.emulated();
  host.failAllocation(after);
  const error = await failureOf(work);
  if (host.failurePending) {
    host.failAllocation(-1);
    assert.equal(error, undefined, 'it works');
    return false;
  }
  assert(error instanceof IommufdError, `allocation ${after} on ${site.machine}: ${error}`);
  assert.equal(error.code, 'ENOMEM', `allocation ${after}`);
  assert.deepEqual(site.state(), before, `allocation ${after} on ${site.machine}`);
  return true;
}

/** How many allocations the operation has: each of them fails once. */
async function exhaust(machine: MachineName, { prepare }: Operation): Promise<number> {
  const place = new EmulatedPlace(machine);
  const before = place.inspect();
  const site = new Site(place);
  const work = await prepare(site);
  let count = 0;
  while (await fails(site, work, count)) assert(++count < MOST);
  site.close();
  assert.deepEqual(place.inspect(), before);
  return count;
}

describe('operations whose memory fails', () => {
  for (const operation of OPERATIONS) {
    it(operation.name, async () => {
      let most = 0;
      for (const machine of operation.machines) most = Math.max(most, await exhaust(machine, operation));
      assert.equal(most > 0, operation.allocates, `${most} allocations`);
    });
  }

  it('are all public ones', async () => {
    const tried = [...OPERATIONS, ...KERNEL_OPERATIONS].map(({ name }) => name.split(':')[0] ?? name);
    const others = NOT_ASKED.flatMap(({ members }) => members.split(/\s+/));
    assert.equal(new Set(others).size, others.length, 'one reason each');
    assert.deepEqual([...new Set([...tried, ...others])].sort(), [...(await publicMembers())].sort());
    const twice = others.filter((name) => tried.includes(name));
    assert.deepEqual(twice, [], 'tried after all');
  });
});
