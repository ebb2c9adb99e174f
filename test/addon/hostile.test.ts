// Programs that mean ill on this machine's own host: the classes, and the addon's calls themselves, with whatever there is.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { kernelSeam } from '../../lib/host/kernel.js';
import { Host } from '../../lib/host-object.js';
import { Attack, type Call, calls } from '../rig/hostile.js';
import { VALUES } from '../rig/hostile-values.js';
import { atLength, collectGarbage, countLeft, native, nextTurn, page } from './support.js';

/** What says nothing of the library: the kernel may do anything to a file that it is given the number of. */
const LEFT_OUT = new Set([
  'own',
  'ioctl',
  'ioctlPrepared',
  'ioctlValue',
  'ioctlAsync',
  'read',
  'write',
  'pread',
  'pwrite',
]);
const CALLS = Object.entries(native).filter(([name, call]) => typeof call === 'function' && !LEFT_OUT.has(name));

function roots(): object[] {
  const host = new Host(kernelSeam());
  const ram = host.allocateMemory(4 * page);
  const anonymous = host.allocateMemory(page, { backing: 'anonymous' });
  const eventfds = [host.createEventfd(1), host.createEventfd()];
  return [host, ram, anonymous, host.unsafeImportMemory(ram.fd, page), ...eventfds];
}

/** Regions and watches that this run made are these; numbers that a value stands for may hit them. */
interface Made {
  readonly regions: number[];
  readonly watches: number[];
}

function isRefusal(error: unknown): boolean {
  return error instanceof Error && typeof (error as { code?: unknown }).code === 'string';
}

function note(made: Made, name: string, result: unknown): void {
  if (typeof result !== 'number' || result <= 0) return;
  if (['allocateMemory', 'importMemory', 'allocateBlock', 'mapMmio'].includes(name)) made.regions.push(result);
  if (name === 'watchOpen') made.watches.push(result);
  if (['open', 'duplicate', 'createEventfd'].includes(name)) native.close(result);
}

/** Lets go of what it has left by itself. */
function letGo({ regions, watches }: Made): void {
  for (const [all, end] of [[watches, native.watchClose] as const, [regions, native.dropRegion] as const]) {
    for (const number of all) {
      try {
        end(number);
      } catch (error) {
        assert(isRefusal(error));
      }
    }
  }
}

describe('addon: programs that mean ill', function () {
  this.timeout(atLength ? 1_200_000 : 120_000);
  const numRuns = atLength ? 20_000 : 200;

  it('hear what is wrong with calls of the classes, and leave nothing when they close what they have', async () => {
    const run = async (made: readonly Call[]) => {
      const attack = new Attack(roots());
      for (const call of made) attack.make(call);
      await attack.end();
      assert.deepEqual(attack.unclear, [], attack.told.join('; '));
    };
    await run([]);
    const before = countLeft();
    await fc.assert(fc.asyncProperty(calls, run), { numRuns });
    await collectGarbage(() => false);
    assert.deepEqual(countLeft(), before);
  });

  it('hear what is wrong with calls of the addon', async () => {
    const before = countLeft();
    const victims = { pool: [{}], meddle: () => {} };
    const call = fc.record({ at: fc.nat(CALLS.length - 1), values: fc.array(fc.nat(1 << 20), { maxLength: 5 }) });
    const property = fc.asyncProperty(fc.array(call, { maxLength: 40 }), async (sequence) => {
      const made: Made = { regions: [native.allocateMemory('memfd', page, 0)], watches: [] };
      for (const { at, values } of sequence) {
        const [name, work] = CALLS[at] as [string, (...args: unknown[]) => unknown];
        const args = values.map((value) => {
          // Half of them are numbers of something that is there.
          const known = [...made.regions, ...made.watches];
          return value % 2 === 0 ? known[(value / 2) % known.length] : VALUES[value % VALUES.length]?.(victims);
        });
        try {
          note(made, name, Reflect.apply(work, native, args));
        } catch (error) {
          assert(isRefusal(error), `${name}: ${error}`);
        }
      }
      letGo(made);
      await nextTurn();
    });
    await fc.assert(property, { numRuns });
    await collectGarbage(() => native.liveRegions() === before.regions);
    assert.deepEqual(countLeft(), before);
  });
});
