// Workers that are terminated after every step, and at no moment in particular: nothing is left of them.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { STEPS, steps } from './ended-midway.js';
import { atLength, countLeft, workerScript } from './support.js';

/** What a worker does when it has come to its step. */
const WAYS: Readonly<Record<string, string>> = {
  waiting: `tell('there'); setInterval(() => {}, 1000);`,
  busy: `tell('there'); for (;;);`,
  collecting: `require('node:v8').setFlagsFromString('--expose-gc'); const gc = require('node:vm').runInNewContext('gc');
    tell('there'); const again = () => { gc(); setImmediate(again); }; again();`,
};

/** A whole life again and again, so that its end comes anywhere. */
const lives = `const live = () => { ${steps(STEPS.length)} setImmediate(live); }; tell('there'); live();`;

/** Calls that make objects, over and over: Node-API refuses to while the environment is ending. */
const objects = `const fd = native.createEventfd(0); const block = native.allocateBlock(4096);
  tell('there'); for (;;) { native.arena(); native.regionAddress(block); native.window(block, 0, 8);
  native.watchClose(native.watchOpen(fd, () => {})); }`;

/** A worker that unloads and loads the addon cannot be had, so there is one load a worker, right after it has told. */
const loading = `const { createRequire } = require('node:module');
  const load = createRequire(${JSON.stringify(import.meta.url)})('bindings');
  require('node:worker_threads').parentPort.postMessage('there'); load('iommufd'); for (;;);`;

async function terminated(script: string, delay?: number): Promise<void> {
  const worker = new Worker(script, { eval: true });
  const failed = once(worker, 'error').then(([error]) => Promise.reject(error));
  failed.catch(() => {});
  await Promise.race([once(worker, 'message'), failed]);
  if (delay !== undefined) await new Promise((resolve) => setTimeout(resolve, delay));
  await worker.terminate();
}

describe('addon: workers terminated midway', function () {
  // Other processes are started, and machines are busy.
  this.timeout(atLength ? 1_800_000 : 60_000);

  // The first worker of a process makes it open what it keeps.
  before(() => terminated(workerScript(WAYS.waiting ?? '')));

  for (const [way, script] of Object.entries(WAYS)) {
    it(`leave nothing after any step, ${way}`, async () => {
      const before = countLeft();
      for (let count = 0; count <= STEPS.length; count++) {
        await terminated(workerScript(`${steps(count)} ${script}`));
        assert.deepEqual(countLeft(), before, `after ${count} steps`);
      }
    });
  }

  it('end alone, and not the process, in the midst of calls', async () => {
    const before = countLeft();
    for (let round = 0; round < (atLength ? 1000 : 20); round++) await terminated(workerScript(objects), round % 4);
    assert.deepEqual(countLeft(), before);
  });

  it('end alone while they load the addon', async () => {
    const before = countLeft();
    for (let round = 0; round < (atLength ? 1000 : 30); round++) {
      // Told just before it is loaded, so that the moment is about right.
      await terminated(loading, (round % 6) / 2);
    }
    assert.deepEqual(countLeft(), before);
  });

  it('leave nothing at any other moment', async () => {
    const before = countLeft();
    for (let round = 0; round < (atLength ? 1000 : 20); round++) {
      await Promise.all([
        terminated(workerScript(lives), round % 10),
        terminated(workerScript(lives), (round * 7) % 13),
      ]);
      assert.deepEqual(countLeft(), before, `round ${round}`);
    }
  });
});
