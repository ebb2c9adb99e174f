// Runs sequences on the kernel that IOMMUFD_RIG names, and writes a line of JSON each: what was asked and answered.
// A sequence that harms the kernel is the one after the last in the file.
import { appendFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { rig } from '../rig/rig.js';
import { Machine } from './machine.js';
import { runSequence } from './sequences.js';

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    first: { type: 'string', default: '0' },
    count: { type: 'string', default: '100' },
    out: { type: 'string' },
  },
});
const [seed, first, count] = [Number(values.seed), Number(values.first), Number(values.count)];
const { out } = values;
if (out !== undefined) writeFileSync(out, '');

const machine = new Machine(rig().seam);
for (let index = first; index < first + count; index++) {
  const started = Date.now();
  const calls = runSequence(machine, seed, index);
  const line = `${JSON.stringify({ index, calls })}\n`;
  if (out === undefined) process.stdout.write(`${index}\n  ${calls.join('\n  ')}\n`);
  else appendFileSync(out, line);
  const took = Date.now() - started;
  if (took > 3000) console.log(`sequence ${index} took ${took} ms`);
}
