// Runs sequences on the kernel that IOMMUFD_RIG names, and writes a line of JSON each: what was asked and answered.
// A sequence that harms the kernel is the one after the last in the file.
import { appendFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { rig } from '../rig/rig.js';
import { vfioRig } from '../rig/vfio-rig.js';
import { Machine } from './machine.js';
import { runSequence } from './sequences.js';
import { VfioMachine } from './vfio/machine.js';
import { runVfioSequence } from './vfio/sequences.js';

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    first: { type: 'string', default: '0' },
    count: { type: 'string', default: '100' },
    machine: { type: 'string', default: 'mock' },
    out: { type: 'string' },
  },
});
const [seed, first, count] = [Number(values.seed), Number(values.first), Number(values.count)];
const { out } = values;
if (out !== undefined) writeFileSync(out, '');

/** The sequences of a machine: of calls on /dev/iommu with the mock's devices, or on devices of VFIO. */
function sequences(machine: string): (index: number) => string[] | Promise<string[]> {
  if (machine === 'vtd') {
    const vfio = new VfioMachine(vfioRig());
    return (index) => runVfioSequence(vfio, seed, index);
  }
  const mock = new Machine(rig().seam);
  return (index) => runSequence(mock, seed, index);
}

const run = sequences(values.machine);
for (let index = first; index < first + count; index++) {
  const started = Date.now();
  const calls = await run(index);
  const line = `${JSON.stringify({ index, calls })}\n`;
  if (out === undefined) process.stdout.write(`${index}\n  ${calls.join('\n  ')}\n`);
  else appendFileSync(out, line);
  const took = Date.now() - started;
  if (took > 3000) console.log(`sequence ${index} took ${took} ms`);
}
