// `npm run test:differential`: fast-check's sessions on Linux in QEMU and on the emulated kernel, call by call, until there were
// enough calls. The first session that differs is made small and told as a transcript.
import { existsSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { type MachineName, setUp } from '../vm/hardware.js';
import { kernelImage } from '../vm/kernel.js';
import { boot, complaints } from '../vm/machine.js';

const program = fileURLToPath(new URL('program.js', import.meta.url));
const checkout = checkoutOf(path.dirname(program));

const USAGE = `options:
  --machine NAME     only this machine. mock: calls on /dev/iommu, with the kernel's mock devices; vtd: calls on devices of
                     VFIO, behind an Intel IOMMU
  --seed NUMBER      which sessions (1), or "random"
  --calls NUMBER     system calls of each kernel, at least (mock: 105000; vtd, where devices take their time: 4500)
  --first NUMBER     the batch of sessions to begin with (0)
  --long             ten times as many calls
  --replay FILE      only this session: the plan as it was printed, a file in this checkout
  --kernel IMAGE     boot this kernel image instead of building one
  --timeout SECONDS  stop a machine after this long (900)`;

/** The folder that has package.json: not every build lies at the same depth. */
function checkoutOf(folder: string): string {
  return existsSync(path.join(folder, 'package.json')) ? folder : checkoutOf(path.dirname(folder));
}

function options() {
  try {
    const { values } = parseArgs({
      options: {
        machine: { type: 'string' },
        seed: { type: 'string', default: '1' },
        calls: { type: 'string' },
        first: { type: 'string', default: '0' },
        long: { type: 'boolean', default: false },
        replay: { type: 'string' },
        kernel: { type: 'string' },
        timeout: { type: 'string' },
      },
    });
    return values;
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : error}\n${USAGE}`);
    process.exit(2);
  }
}

type Options = ReturnType<typeof options>;

const MACHINES = ['mock', 'vtd'] as const satisfies MachineName[];
const CALLS: Readonly<Record<(typeof MACHINES)[number], number>> = { mock: 105_000, vtd: 4500 };
const SECONDS = 900;
/** Of the long form. */
const TIMES = 10;

function machines(name: string | undefined): readonly (typeof MACHINES)[number][] {
  if (name === undefined) return MACHINES;
  const machine = MACHINES.find((one) => one === name);
  if (machine !== undefined) return [machine];
  console.error(`--machine must be ${MACHINES.join(' or ')}, not ${name}\n${USAGE}`);
  process.exit(2);
}

function seedOf(text: string): number {
  if (text === 'random') return Date.now() % 1_000_000;
  const seed = Number(text);
  if (Number.isSafeInteger(seed) && seed >= 0) return seed;
  console.error(`--seed must be a number or "random", not ${text}\n${USAGE}`);
  process.exit(2);
}

/** Runs sessions in a machine; answers whether the kernels agree. */
async function runIn(machine: (typeof MACHINES)[number], kernel: string, seed: number, values: Options) {
  const times = values.long ? TIMES : 1;
  const calls = values.calls ?? String(CALLS[machine] * times);
  const which =
    values.replay === undefined
      ? ['--seed', String(seed), '--calls', calls, '--first', values.first]
      : ['--replay', path.relative(checkout, values.replay)];
  const run = ['node', path.relative(checkout, program), '--machine', machine, ...which].join(' ');
  const result = await boot({
    ...{ machine, kernel, checkout },
    command: `${setUp(machine)}${run}\n`,
    hugePages: 4,
    timeoutSeconds: Number(values.timeout ?? SECONDS * times),
    onLine: (line) => console.log(line),
  });
  const bad = complaints(result.dmesg);
  for (const line of bad) console.error(`the kernel complained: ${line}`);
  if (result.status === undefined) console.error('the machine ended before the sessions did');
  return result.status === 0 && bad.length === 0;
}

async function main(): Promise<number> {
  const values = options();
  const seed = seedOf(values.seed);
  const kernel = values.kernel ?? kernelImage(checkout);
  let agree = true;
  for (const machine of machines(values.machine)) agree = (await runIn(machine, kernel, seed, values)) && agree;
  return agree ? 0 : 1;
}

process.exitCode = await main();
