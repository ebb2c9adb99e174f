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
  --replay FILE      one session alone: its plan as it was printed, a file in this checkout
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

/** Programs at once: as many as the machine has processors, where they do not share devices. */
const PROGRAMS: Readonly<Record<(typeof MACHINES)[number], number>> = { mock: 2, vtd: 1 };

function commands(machine: (typeof MACHINES)[number], seed: number, values: Options): string[] {
  const node = `node ${path.relative(checkout, program)} --machine ${machine}`;
  if (values.replay !== undefined) return [`${node} --replay ${path.relative(checkout, values.replay)}`];
  const every = PROGRAMS[machine];
  const calls = Number(values.calls ?? CALLS[machine] * (values.long ? TIMES : 1));
  const which = `--seed ${seed} --calls ${Math.ceil(calls / every)} --every ${every}`;
  return Array.from({ length: every }, (_, i) => `${node} ${which} --first ${Number(values.first) + i}`);
}

/** A shell's command that runs all of them at once, and fails where one does. */
function atOnce(all: readonly string[]): string {
  const start = all.map((one) => `${one} &\nall="$all $!"\n`).join('');
  return `all=\n${start}failed=0\nfor one in $all; do wait $one || failed=1; done\nexit $failed\n`;
}

/** Runs sessions in a machine; answers whether the kernels agree. */
async function runIn(machine: (typeof MACHINES)[number], kernel: string, seed: number, values: Options) {
  const result = await boot({
    ...{ machine, kernel, checkout },
    command: setUp(machine) + atOnce(commands(machine, seed, values)),
    hugePages: 12,
    timeoutSeconds: Number(values.timeout ?? SECONDS * (values.long ? TIMES : 1)),
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
