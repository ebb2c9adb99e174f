// `npm run test:differential`: the same random sequences of calls on Linux in QEMU and on the emulated kernel, and how their
// answers differ: of every sequence that does, the first difference, and what was asked before.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { type MachineName, setUp } from '../vm/hardware.js';
import { kernelImage } from '../vm/kernel.js';
import { boot, complaints } from '../vm/machine.js';

const program = fileURLToPath(new URL('program.js', import.meta.url));
const checkout = checkoutOf(path.dirname(program));
const OUT = 'sequences.jsonl';

const USAGE = `options:
  --machine NAME     only this machine. mock: calls on /dev/iommu, with the kernel's mock devices; vtd: calls on devices of
                     VFIO, behind an Intel IOMMU
  --seed NUMBER      which sequences (1)
  --count NUMBER     how many of them (mock: 300; vtd, where devices take their time: 120)
  --replay INDEX     only this one, with everything it asked
  --kernel IMAGE     boot this kernel image instead of building one
  --timeout SECONDS  stop the machine after this long (600)`;

/** The folder that has package.json: not every build lies at the same depth. */
function checkoutOf(folder: string): string {
  return existsSync(path.join(folder, 'package.json')) ? folder : checkoutOf(path.dirname(folder));
}

interface Sequence {
  readonly index: number;
  readonly calls: readonly string[];
}

function options() {
  try {
    const { values } = parseArgs({
      options: {
        machine: { type: 'string' },
        seed: { type: 'string', default: '1' },
        count: { type: 'string' },
        replay: { type: 'string' },
        kernel: { type: 'string' },
        timeout: { type: 'string', default: '600' },
      },
    });
    return values;
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : error}\n${USAGE}`);
    process.exit(2);
  }
}

function parse(lines: string): Sequence[] {
  const whole = lines.split('\n').filter((line) => line !== '');
  return whole.map((line) => JSON.parse(line) as Sequence);
}

/** The same sequences on the emulated kernel. */
function emulated(args: readonly string[]): Sequence[] {
  const folder = mkdtempSync(path.join(tmpdir(), 'iommufd-differential-'));
  try {
    const out = path.join(folder, OUT);
    const env = { ...process.env, IOMMUFD_RIG: 'emulated' };
    const { status } = spawnSync(process.execPath, [program, ...args, '--out', out], { env, stdio: 'inherit' });
    if (status !== 0) console.error(`the emulated kernel's program ended with ${status}`);
    return parse(readFileSync(out, 'utf8'));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Tells how two runs of a sequence differ first; answers whether they agree. */
function compare(kernel: Sequence, other: Sequence | undefined, shown: number): boolean {
  const calls = other?.calls ?? [];
  const length = Math.max(kernel.calls.length, calls.length);
  let at = 0;
  while (at < length && kernel.calls[at] === calls[at]) at++;
  const agrees = at === length;
  if (agrees && shown !== Number.POSITIVE_INFINITY) return true;
  console.log(agrees ? `sequence ${kernel.index} agrees:` : `DIFFERENT sequence ${kernel.index}, after ${at} lines:`);
  for (const line of kernel.calls.slice(Math.max(0, at - shown), at)) console.log(`    ${line}`);
  if (agrees) return true;
  console.log(`  kernel:   ${kernel.calls[at] ?? '(nothing)'}`);
  console.log(`  emulated: ${calls[at] ?? '(nothing)'}`);
  return false;
}

type Options = ReturnType<typeof options>;

const MACHINES = ['mock', 'vtd'] as const satisfies MachineName[];
const COUNTS: Readonly<Record<(typeof MACHINES)[number], string>> = { mock: '300', vtd: '120' };

function machines(name: string | undefined): readonly (typeof MACHINES)[number][] {
  if (name === undefined) return MACHINES;
  const machine = MACHINES.find((one) => one === name);
  if (machine !== undefined) return [machine];
  console.error(`--machine must be ${MACHINES.join(' or ')}, not ${name}\n${USAGE}`);
  process.exit(2);
}

/** Runs sequences in a machine and on the emulated kernel; answers whether they agree. */
async function compareOn(
  machine: (typeof MACHINES)[number],
  kernel: string,
  { seed, count, replay, timeout }: Options,
) {
  const which = replay === undefined ? ['--count', count ?? COUNTS[machine]] : ['--first', replay, '--count', '1'];
  const args = ['--machine', machine, '--seed', seed, ...which];
  const run = `IOMMUFD_RIG=kernel node ${path.relative(checkout, program)} ${args.join(' ')} --out /run/results/${OUT}\n`;
  const result = await boot(
    {
      ...{ machine, kernel, checkout },
      command: setUp(machine) + run,
      hugePages: 4,
      timeoutSeconds: Number(timeout),
      onLine: (line) => console.log(line),
    },
    [OUT],
  );
  const bad = complaints(result.dmesg);
  for (const line of bad) console.error(`the kernel complained: ${line}`);
  const left = parse(result.files[OUT] ?? '');
  if (result.status !== 0) {
    const after = left.at(-1)?.index ?? 'none';
    console.error(`the kernel's program ended with ${result.status ?? 'the machine'}, after sequence ${after}`);
  }
  const right = new Map(emulated(args).map((sequence) => [sequence.index, sequence]));
  const shown = replay === undefined ? 12 : Number.POSITIVE_INFINITY;
  const different = left.filter((sequence) => !compare(sequence, right.get(sequence.index), shown));
  const calls = left.reduce((sum, sequence) => sum + sequence.calls.length, 0);
  console.log(`${machine}: ${left.length} sequences with ${calls} lines compared: ${different.length} differ`);
  return result.status === 0 && bad.length === 0 && different.length === 0 && left.length === right.size;
}

async function main(): Promise<number> {
  const values = options();
  const kernel = values.kernel ?? kernelImage(checkout);
  let agree = true;
  for (const machine of machines(values.machine)) agree = (await compareOn(machine, kernel, values)) && agree;
  return agree ? 0 : 1;
}

process.exitCode = await main();
