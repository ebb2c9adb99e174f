// Callbacks that throw, many of them: each is an uncaught exception of its own, and nothing else is lost by it.
import assert from 'node:assert/strict';
import { Worker } from 'node:worker_threads';
import { steps } from './ended-midway.js';
import { countLeft, runScript, workerScript } from './support.js';

describe('addon: callbacks that throw', function () {
  // Other processes are started, and machines are busy.
  this.timeout(40_000);

  it('take nothing from the others, and can be called again', () => {
    const { status, stderr, stdout } = runScript(`
      const count = 200;
      let caught = 0;
      let told = 0;
      process.on('uncaughtException', (error) => { if (error.message === 'thrown') caught++; });
      const tell = (i) => { told++; if (i % 2 === 1) throw new Error('thrown'); };
      const until = async (all) => { while (told < all) await new Promise(setImmediate); await new Promise(setImmediate); };
      const fd = native.createEventfd(1);
      const before = String([native.ownedFds(), native.liveRegions()]);
      const watches = [];
      for (let i = 0; i < count; i++) {
        watches.push(native.watchOpen(fd, () => tell(i)));
        native.watchArm(watches[i]);
        const block = native.allocateBlock(4096);
        native.prefault(block, 0, 4096, () => { native.freeRegion(block); tell(i); });
      }
      await until(2 * count);
      for (const watch of watches) native.watchArm(watch);
      await until(3 * count);
      for (const watch of watches) native.watchClose(watch);
      const isSame = String([native.ownedFds(), native.liveRegions()]) === before;
      console.log(JSON.stringify({ told, caught, isSame }));`);
    assert.deepEqual([stderr, status], ['', 0]);
    assert.deepEqual(JSON.parse(stdout), { told: 600, caught: 300, isSame: true });
  });

  it('end a worker, which leaves nothing', async () => {
    const worker = (script: string) => new Worker(workerScript(script), { eval: true });
    const ends = async (script: string) => {
      const errors: string[] = [];
      const failing = worker(`${steps(8)} ${script}`).on('error', (error) => errors.push(error.message));
      await new Promise((resolve) => failing.on('exit', resolve));
      assert.deepEqual(errors, ['thrown']);
    };
    await ends(`throw new Error('thrown');`);
    const before = countLeft();
    for (let round = 0; round < 3; round++) {
      const thrower = `() => { throw new Error('thrown'); }`;
      await ends(`native.watchArm(native.watchOpen(hand.readable, ${thrower}));`);
      await ends(`native.prefault(hand.memory, 0, 4096, ${thrower});`);
      assert.deepEqual(countLeft(), before);
    }
  });
});
