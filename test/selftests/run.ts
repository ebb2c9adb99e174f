// `npm run test:selftests`: the kernel's own test programs of iommufd (tools/testing/selftests/iommu) on the emulated kernel, by
// `iommufd run`, and on the real one that the lanes boot. What the real kernel passes, the emulated one must.
import { execFileSync, spawnSync } from 'node:child_process';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { checkout, compiled } from '../vm/checkout.js';
import { kernelImage } from '../vm/kernel.js';
import { boot, complaints } from '../vm/machine.js';
import { compare, type Verdict } from './compare.js';
import { canInjectFaults, withFaultInjection } from './fault-injection.js';
import { withHugePages } from './huge-pages.js';
import { type Case, parseTap } from './tap.js';

/** What its largest case takes, 128 MiB, and some. */
const HUGE_PAGES = 96;
const FAIL_NTH = 'iommufd_fail_nth';
const PROGRAMS = ['iommufd', FAIL_NTH];

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

async function runReal(folder: string, kernel: string, timeoutSeconds: number): Promise<Case[]> {
  const command = PROGRAMS.map((name) => `'${path.join(folder, name)}' > /run/results/${name} 2>&1\n`).join('');
  const machine = { machine: 'mock', kernel, checkout, command, hugePages: HUGE_PAGES, timeoutSeconds } as const;
  const { files, dmesg } = await boot({ ...machine, onLine: (line) => console.error(line) }, PROGRAMS);
  const [complaint] = complaints(dmesg);
  if (complaint !== undefined) throw new Error(`the kernel complained: ${complaint}`);
  return PROGRAMS.flatMap((name) => parseTap(files[name] ?? ''));
}

function runEmulated(folder: string, timeoutSeconds: number): Case[] {
  const cli = path.join(checkout, compiled, 'lib/cli/iommufd.js');
  const run = [process.execPath, cli, 'run', '--machine', 'selftest', '--device', 'none', '--privileged', '--'];
  return PROGRAMS.flatMap((name) => {
    const command = [...run, 'sh', '-c', 'exec "$0" 2>&1', path.join(folder, name)];
    const [program = '', ...args] = name === FAIL_NTH && canInjectFaults() ? withFaultInjection(command) : command;
    const { stdout, error } = spawnSync(program, args, {
      encoding: 'utf8',
      maxBuffer: 2 ** 26,
      stdio: ['ignore', 'pipe', 'inherit'],
      timeout: timeoutSeconds * 1000,
    });
    if (error !== undefined) throw error;
    return parseTap(stdout);
  });
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
  const real = await runReal(folder, kernel ?? kernelImage(checkout), timeoutSeconds);
  const faults = canInjectFaults();
  const verdicts = withHugePages(HUGE_PAGES, (hugePages) =>
    compare(real, runEmulated(folder, timeoutSeconds), { hugePages, faults }),
  );
  return report(verdicts) ? 0 : 1;
}

process.exitCode = await main();
