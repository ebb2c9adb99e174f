// The suites that the machines run, and how: in a machine on its kernel, and on the emulated host beside it.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { checkout, compiled } from './checkout.js';
import { compare, readResults, report } from './compare.js';
import type { MachineName } from './hardware.js';
import type { Linux } from './kernel.js';

/** Where the suite writes its cases: files in /run/results come back. */
export const CASES = 'cases.jsonl';

/** What runs on each machine: the kernel's mock is not there for devices, nor devices for the mock. */
const CONFORMANCE: Readonly<Record<MachineName, string>> = {
  mock: 'test/conformance/**/*.test.js',
  vtd: 'test/vfio/**/*.test.js',
  smmuv3: 'test/smmuv3/**/*.test.js',
};
/** Other suites are the same on each machine. */
const OTHERS = { 'fail-nth': 'test/fail-nth/**/*.test.js', soak: 'test/soak/**/*.test.js' } as const;

export type SuiteName = 'conformance' | keyof typeof OTHERS;

export function isSuite(name: string): name is SuiteName {
  return name === 'conformance' || name in OTHERS;
}

/**
 * What a suite's kernel is told. ACPI's interpreter frees what it never had where its own allocations fail, as they do while
 * it looks up the interrupt of a device that is closed: so it is not asked for interrupts (seen with Linux 7.3.4).
 */
export function parametersOf(suite: SuiteName): string {
  return suite === 'fail-nth' ? 'acpi=noirq' : '';
}

/** Where Linux itself warns when memory is short, and what of. */
const FORGIVEN: readonly { readonly place: string; readonly why: string }[] = [
  { place: 'drivers/iommu/iommu.c', why: 'a device is taken back to its first domain, which takes memory' },
  { place: 'fs/proc/generic.c', why: 'an interrupt goes whose folder in /proc there was no memory for' },
];

/** What of a kernel's complaints speaks against the suite. */
export function unforgiven(suite: SuiteName, complaints: readonly string[]): string[] {
  if (suite !== 'fail-nth') return [...complaints];
  return complaints.filter((line) => !FORGIVEN.some(({ place }) => line.includes(`WARNING: ${place}:`)));
}

function filesOf({ machine, suite = 'conformance' }: Choice): string {
  return suite === 'conformance' ? CONFORMANCE[machine] : OTHERS[suite];
}

export interface Choice {
  readonly machine: MachineName;
  /** 'conformance' if left out. */
  readonly suite?: SuiteName;
  readonly grep: string | undefined;
  /** What else the suite is told. */
  readonly env?: Readonly<Record<string, string>>;
  /** Whether it is well if nothing is run: where the cases asked for may be another machine's. */
  readonly mayBeEmpty: boolean;
  /** Whether each case is held against its transcript, as it is committed. */
  readonly held: boolean;
}

function mocha(choice: Choice): string[] {
  const { grep, mayBeEmpty } = choice;
  const filter = grep === undefined ? [] : ['--fgrep', grep];
  const empty = mayBeEmpty ? [] : ['--fail-zero'];
  const reporter = path.join(compiled, 'test/rig/reporter.js');
  const options = ['--no-config', ...empty, '--timeout', '60000', '--reporter', reporter];
  return ['node_modules/mocha/bin/mocha.js', ...options, ...filter, path.join(compiled, filesOf(choice))];
}

export function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** The shell command that runs a suite in its machine. */
export function suiteCommand(choice: Choice): string {
  const command = ['node', ...mocha(choice)].map(quote).join(' ');
  // On a thread pool of one thread it is known which one makes a call.
  const env = {
    ...{ IOMMUFD_RIG: 'kernel', IOMMUFD_MACHINE: choice.machine, IOMMUFD_RESULTS: `/run/results/${CASES}` },
    IOMMUFD_TRANSCRIPTS: choice.held ? 'compare' : 'off',
    ...(choice.suite === 'fail-nth' ? { UV_THREADPOOL_SIZE: '1' } : {}),
    ...choice.env,
  };
  const settings = Object.entries(env).map(([name, value]) => `${name}=${quote(value)}`);
  return `${settings.join(' ')} ${command}\n`;
}

/** Runs the same cases on the emulated host, and tells how the kernel's results differ; answers whether none does. */
export function compareWithEmulated(kernelResults: string, choice: Choice, linux: Linux): boolean {
  const folder = mkdtempSync(path.join(tmpdir(), 'iommufd-compare-'));
  try {
    const [kernel, emulated] = [path.join(folder, 'kernel'), path.join(folder, 'emulated')];
    writeFileSync(kernel, kernelResults);
    writeFileSync(emulated, '');
    // Failed cases are in the results: the comparison tells of them.
    const results = { IOMMUFD_TRANSCRIPTS: 'off', IOMMUFD_RESULTS: emulated };
    const env = { ...process.env, IOMMUFD_RIG: 'emulated', IOMMUFD_LINUX: linux, ...results };
    spawnSync(process.execPath, mocha(choice), { cwd: checkout, env, stdio: ['ignore', 'ignore', 'inherit'] });
    const comparison = compare(['kernel', 'emulated'], readResults(kernel), readResults(emulated));
    const agrees = report(comparison);
    return agrees || (choice.mayBeEmpty && comparison.differences.length === 0);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** How many cases of some results passed, failed and were skipped. */
export function countCases(results: string): Readonly<Record<'passed' | 'failed' | 'skipped', number>> {
  const counts = { passed: 0, failed: 0, skipped: 0 };
  for (const line of results.split('\n')) {
    if (line === '') continue;
    const { outcome }: { outcome: keyof typeof counts } = JSON.parse(line);
    counts[outcome]++;
  }
  return counts;
}
