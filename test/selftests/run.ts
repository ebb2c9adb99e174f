// `npm run test:selftests`: the kernel's own test program of iommufd (tools/testing/selftests/iommu) on the emulated kernel, by
// `iommufd run`, and on the real one that the lanes boot. What the real kernel passes, the emulated one must.
import { execFileSync, spawnSync } from 'node:child_process';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { checkout, compiled } from '../vm/checkout.js';
import { kernelImage } from '../vm/kernel.js';
import { boot, complaints } from '../vm/machine.js';
import { compare, type Verdict } from './compare.js';
import { withHugePages } from './huge-pages.js';
import { type Case, parseTap } from './tap.js';

/** What its largest case takes, 128 MiB, and some. */
const HUGE_PAGES = 96;
const OUTPUT = 'selftest.tap';

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

function buildProgram(): string {
  const build = path.join(checkout, 'test/vm/build-selftests.sh');
  const folder = execFileSync(build, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }).trim();
  return path.join(folder, 'iommufd');
}

async function runReal(program: string, kernel: string, timeoutSeconds: number): Promise<Case[]> {
  const command = `'${program}' > /run/results/${OUTPUT} 2>&1\n`;
  const machine = { machine: 'mock', kernel, checkout, command, hugePages: HUGE_PAGES, timeoutSeconds } as const;
  const { files, dmesg } = await boot({ ...machine, onLine: (line) => console.error(line) }, [OUTPUT]);
  const [complaint] = complaints(dmesg);
  if (complaint !== undefined) throw new Error(`the kernel complained: ${complaint}`);
  return parseTap(files[OUTPUT] ?? '');
}

function runEmulated(program: string, timeoutSeconds: number): Case[] {
  const cli = path.join(checkout, compiled, 'lib/cli/iommufd.js');
  const run = [cli, 'run', '--machine', 'selftest', '--device', 'none', '--privileged', '--'];
  const { stdout, error } = spawnSync(process.execPath, [...run, 'sh', '-c', 'exec "$0" 2>&1', program], {
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: timeoutSeconds * 1000,
  });
  if (error !== undefined) throw error;
  return parseTap(stdout);
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
  const program = buildProgram();
  const real = await runReal(program, kernel ?? kernelImage(checkout), timeoutSeconds);
  const verdicts = withHugePages(HUGE_PAGES, (hugePages) =>
    compare(real, runEmulated(program, timeoutSeconds), { hugePages }),
  );
  return report(verdicts) ? 0 : 1;
}

process.exitCode = await main();
