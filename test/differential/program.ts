// Runs in the machine: sessions on its kernel and on an emulated one in this process, and the first that differs, made small.
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { openHost } from '../../lib/index.js';
import { fuzz } from './fuzz.js';
import { kernelLog } from './kernel-log.js';
import type { Lane } from './lane.js';
import { type Difference, runInLockstep } from './lockstep.js';
import { mockLane } from './mock-lane.js';
import { type Plan, parsePlan } from './plan.js';
import { tellSession } from './transcript.js';
import { vfioLane } from './vfio/lane.js';

/** Differences that are told at once. */
const ENOUGH = 5;

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    first: { type: 'string', default: '0' },
    every: { type: 'string', default: '1' },
    calls: { type: 'string', default: '1000' },
    machine: { type: 'string', default: 'mock' },
    replay: { type: 'string' },
  },
});
const lane: Lane = values.machine === 'vtd' ? vfioLane : mockLane;
const hosts = { kernel: openHost({ kind: 'kernel' }), emulated: lane.emulatedHost() };
const sides = { kernel: lane.side(hosts.kernel, true), emulated: lane.side(hosts.emulated, false) };

async function tell(plan: Plan, difference: Difference | undefined): Promise<void> {
  console.log(`its plan, for --replay: ${JSON.stringify(plan)}`);
  for (const line of await tellSession(lane, hosts, plan)) console.log(line);
  if (difference === undefined) return;
  for (const line of difference.before.slice(-12)) console.log(`    ${line}`);
  console.log(`  in ${difference.step}, the kernel: ${difference.expected ?? '(nothing)'}`);
  console.log(`  in ${difference.step}, emulated:   ${difference.came ?? '(nothing)'}`);
}

async function replay(file: string): Promise<boolean> {
  const plan = parsePlan(readFileSync(file, 'utf8'), lane);
  const difference = await runInLockstep(sides, plan);
  await tell(plan, difference);
  console.log(difference === undefined ? 'the same on both' : 'DIFFERENT');
  return difference === undefined;
}

async function search(): Promise<boolean> {
  const complaints = kernelLog();
  const started = Date.now();
  let told = 0;
  const { sessions, calls, found } = await fuzz(lane, sides, {
    seed: Number(values.seed),
    first: Number(values.first),
    every: Number(values.every),
    calls: Number(values.calls),
    enough: ENOUGH,
    complaints,
    onBatch: (batch, done) => {
      // So that a batch that ends the machine is known.
      if (batch % 50 === 0) console.log(`batch ${batch}, ${done} calls`);
      told = batch;
    },
  });
  for (const { batch, plan, difference, error } of found) {
    console.log(`DIFFERENT: seed ${values.seed}, batch ${batch}${error === undefined ? '' : `: ${error}`}`);
    await tell(plan, difference);
  }
  const seconds = Math.round((Date.now() - started) / 1000);
  const batches = `${sessions} sessions (batches ${values.first} to ${told})`;
  console.log(
    `${values.machine}: seed ${values.seed}, ${batches} with ${calls} calls in ${seconds} seconds: ${found.length} differ`,
  );
  return found.length === 0;
}

process.exitCode = (await (values.replay === undefined ? search() : replay(values.replay))) ? 0 : 1;
