// `npm run test:selftests`: the kernel's own test programs of iommufd and VFIO (tools/testing/selftests/iommu and vfio) on the
// emulated kernel, by `iommufd run`, and on the real one that the lanes boot. What the real kernel passes, the emulated one must.
import { execFileSync, spawnSync } from 'node:child_process';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { checkout, compiled } from '../vm/checkout.js';
import { type MachineName, setUp } from '../vm/hardware.js';
import { kernelImage } from '../vm/kernel.js';
import { boot, complaints } from '../vm/machine.js';
import { compare, type Verdict } from './compare.js';
import { canInjectFaults, withFaultInjection } from './fault-injection.js';
import { withHugePages } from './huge-pages.js';
import { type Case, parseTap } from './tap.js';

/** What its largest case takes, 128 MiB, and some. */
const HUGE_PAGES = 96;
const FAIL_NTH = 'iommufd_fail_nth';

/** Programs, and the machines that they run on. */
interface Stage {
  readonly machine: MachineName;
  /** Options of `iommufd run` for such a machine. */
  readonly emulated: readonly string[];
  readonly programs: readonly string[];
  readonly args: readonly string[];
}
const EDU = '0000:00:05.0';
const STAGES: readonly Stage[] = [
  {
    machine: 'mock',
    emulated: ['--machine', 'selftest', '--device', 'none'],
    programs: ['iommufd', FAIL_NTH],
    args: [],
  },
  {
    machine: 'vtd',
    emulated: ['--machine', 'intel-vtd', '--device', `${EDU}=edu`],
    programs: [
      ...['vfio_iommufd_setup_test', 'vfio_pci_device_test', 'vfio_pci_device_init_perf_test'],
      ...['vfio_dma_mapping_test', 'vfio_dma_mapping_mmio_test'],
    ],
    args: [EDU],
  },
];

interface Lane {
  readonly kernel: string;
  readonly timeoutSeconds: number;
}

const USAGE = `options:
  --kernel IMAGE     boot this kernel image instead of building one
  --timeout SECONDS  stop each of the two after this long (600)`;

function options() {
  try {
    const { values } = parseArgs({
      options: { kernel: { type: 'string' }, timeout: { type: 'string', default: '600' } },
    });
    return { kernel: values.kernel, timeoutSeconds: Number(values.timeout) };
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : error}\n${USAGE}`);
    return process.exit(2);
  }
}

function buildPrograms(): string {
  const build = path.join(checkout, 'test/vm/build-selftests.sh');
  return execFileSync(build, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }).trim();
}

async function runReal({ machine, programs, args }: Stage, folder: string, lane: Lane): Promise<Case[]> {
  const runs = programs.map((name) => `'${path.join(folder, name)}' ${args.join(' ')} > /run/results/${name} 2>&1\n`);
  // Failing allocations are told on the console otherwise, hundreds of them.
  const command = `${setUp(machine)}echo 1 > /proc/sys/kernel/printk\n${runs.join('')}`;
  const options = { ...lane, machine, checkout, command, hugePages: HUGE_PAGES };
  const { files, dmesg } = await boot({ ...options, onLine: (line) => console.error(line) }, programs);
  const [complaint] = complaints(dmesg);
  if (complaint !== undefined) throw new Error(`the kernel complained: ${complaint}`);
  return programs.flatMap((name) => parseTap(files[name] ?? ''));
}

function runEmulated({ emulated, programs, args }: Stage, folder: string, timeoutSeconds: number): Case[] {
  const cli = path.join(checkout, compiled, 'lib/cli/iommufd.js');
  const run = [process.execPath, cli, 'run', ...emulated, '--privileged', '--'];
  return programs.flatMap((name) => {
    const command = [...run, 'sh', '-c', 'exec "$0" "$@" 2>&1', path.join(folder, name), ...args];
    const [program = '', ...rest] = name === FAIL_NTH && canInjectFaults() ? withFaultInjection(command) : command;
    const { stdout, error } = spawnSync(program, rest, {
      encoding: 'utf8',
      maxBuffer: 2 ** 26,
      stdio: ['ignore', 'pipe', 'inherit'],
      timeout: timeoutSeconds * 1000,
    });
    if (error !== undefined) throw error;
    return parseTap(stdout);
  });
}

async function runStage(stage: Stage, folder: string, lane: Lane): Promise<Verdict[]> {
  const real = await runReal(stage, folder, lane);
  const faults = canInjectFaults();
  return withHugePages(HUGE_PAGES, (hugePages) =>
    compare(real, runEmulated(stage, folder, lane.timeoutSeconds), { hugePages, faults }),
  );
}

function report(verdicts: readonly Verdict[]): boolean {
  const counts = { passed: 0, failed: 0, skipped: 0 };
  for (const { name, outcome, reason } of verdicts) {
    counts[outcome]++;
    if (reason !== undefined) console.log(`${outcome} ${name}: ${reason}`);
  }
  console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
  return counts.failed === 0 && counts.passed > 0;
}

async function main(): Promise<number> {
  const { kernel, timeoutSeconds } = options();
  const folder = buildPrograms();
  const lane = { kernel: kernel ?? kernelImage(checkout), timeoutSeconds };
  const verdicts: Verdict[] = [];
  for (const stage of STAGES) verdicts.push(...(await runStage(stage, folder, lane)));
  return report(verdicts) ? 0 : 1;
}

process.exitCode = await main();
