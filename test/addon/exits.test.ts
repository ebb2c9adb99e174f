// Processes that exit with everything open end at once, with the code that was asked for, and say nothing.
import assert from 'node:assert/strict';
import { STEPS, steps } from './ended-midway.js';
import { atLength, runScript, workerScript } from './support.js';

const all = steps(STEPS.length - 1);
/** A worker that lives a whole life again and again. */
const busy = workerScript(`const live = () => { ${steps(STEPS.length)} setTimeout(live, 5); }; live(); tell('there');`);

/** Where in a program the exit comes. */
const PLACES: Readonly<Record<string, string>> = {
  'in the callback of a watch': `${all} native.watchArm(native.watchOpen(hand.readable, () => process.exit(7)));`,
  'in the callback of work': `${all} native.prefault(hand.memory, 0, 4096, () => process.exit(7));`,
  'on an exception in a callback': `${all}
    process.on('uncaughtException', () => process.exit(7));
    native.watchArm(native.watchOpen(hand.readable, () => { throw new Error('the end'); }));`,
  'with calls that are made while it ends': `${all} process.on('exit', () => { ${all} }); process.exit(7);`,
  'while workers are at work': `
    const { Worker } = await import('node:worker_threads');
    let there = 0;
    const tell = () => { if (++there === 2) { ${all} process.exit(7); } };
    for (let i = 0; i < 2; i++) new Worker(${JSON.stringify(busy)}, { eval: true, execArgv: [] }).on('message', tell);`,
};

function endsWith7(script: string, place: string): void {
  const { status, signal, stderr, stdout } = runScript(script);
  assert.deepEqual({ status, signal, stderr, stdout }, { status: 7, signal: null, stderr: '', stdout: '' }, place);
}

describe('addon: processes that exit', function () {
  // Other processes are started, and machines are busy.
  this.timeout(atLength ? 1_200_000 : 60_000);

  it('do so after any step', () => {
    for (let count = atLength ? 0 : 1; count <= STEPS.length; count += atLength ? 1 : 2) {
      endsWith7(`${steps(count)} process.exit(7);`, `after ${count} steps`);
    }
  });

  for (const [place, script] of Object.entries(PLACES)) {
    it(`do so ${place}`, () => {
      for (let round = 0; round < (atLength ? 20 : 1); round++) endsWith7(script, place);
    });
  }
});
