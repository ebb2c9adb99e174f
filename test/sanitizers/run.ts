// The tests of the addon with AddressSanitizer and UndefinedBehaviorSanitizer in it (npm run test:sanitizers). Arguments
// are mocha's. A finding ends the process that it is in, fails the run wherever it was, children included, and is printed.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { buildDefects, loading, type Place } from './canary.js';
import { addon, CXXFLAGS, copy, findRuntime, LDFLAGS, makeCopy } from './package.js';

/** All tests that make calls of the addon: those of its own, and of the host that is made of it. */
const TESTS = ['dist/test/addon/**/*.test.js', 'dist/test/unit/open-host.test.js'];

/** What a process with a finding exits with. */
const FOUND = 86;

/** Where each known defect is made, and what must be told of it. */
const CANARIES: readonly (readonly [defect: string, place: Place, told: string])[] = [
  ['use-after-free', 'thread', 'heap-use-after-free'],
  ['use-after-free', 'worker', 'heap-use-after-free'],
  ['use-after-free', 'child', 'heap-use-after-free'],
  ['overflow', 'thread', 'heap-buffer-overflow'],
  ['no-such-index', 'thread', 'ABRT'],
  ['undefined', 'thread', 'shift exponent'],
  ['float-cast', 'thread', 'outside the range of representable values'],
];

function environment(reports: string): NodeJS.ProcessEnv {
  const common = `halt_on_error=1:exitcode=${FOUND}:log_path=${path.join(reports, 'report')}`;
  return {
    ...process.env,
    LD_PRELOAD: findRuntime(),
    // Leaks: V8 keeps pointers where the sanitizer does not look, so all of them would be "found"; what the addon leaves
    // behind its tests count themselves. SIGBUS: the addon's own handler is what is tested. Quarantine: bounded, so that
    // tests which look at the size of the process see its own growth. Abort: how the standard library's checks end.
    ASAN_OPTIONS: `${common}:detect_leaks=0:handle_sigbus=0:handle_abort=1:quarantine_size_mb=8:detect_odr_violation=0`,
    UBSAN_OPTIONS: `${common}:print_stacktrace=1`,
    IOMMUFD_SANITIZERS: '1',
  };
}

/** An empty folder for what is found. */
function freshFolder(name: string): string {
  const folder = path.join(copy, name);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder);
  return folder;
}

/** Fails unless a process of this environment has both the library and the addon that was built for it. */
function checkSetting(env: NodeJS.ProcessEnv): void {
  const script = `process.dlopen({ exports: {} }, ${JSON.stringify(addon)});
    console.log(require('node:fs').readFileSync('/proc/self/maps', 'utf8'));`;
  const { stdout, stderr } = spawnSync(process.execPath, ['-e', script], { env, encoding: 'utf8' });
  for (const library of ['libasan', addon]) {
    if (!stdout.includes(library)) throw new Error(`${library} was not loaded: ${stderr}`);
  }
}

/** Fails unless each known defect is told of, and none where there is none. */
function checkCanaries(): void {
  const library = buildDefects(copy, `${CXXFLAGS} ${LDFLAGS}`);
  for (const [defect, place, told] of [['none', 'thread', ''] as const, ...CANARIES]) {
    const reports = freshFolder('canary');
    const env = { ...environment(reports), IOMMUFD_DEFECT: defect };
    const { status } = spawnSync(process.execPath, loading(library, place), { env, encoding: 'utf8' });
    const text = readAll(reports).join('\n');
    const isRight = defect === 'none' ? status === 0 && text === '' : status === FOUND && text.includes(told);
    if (!isRight)
      throw new Error(`the sanitizers are blind: ${defect} (${place}) ended with ${status}, told: "${text}"`);
  }
  console.log(`${CANARIES.length} known defects, each told of by the sanitizers`);
}

function readAll(reports: string): string[] {
  return readdirSync(reports).map((file) => readFileSync(path.join(reports, file), 'utf8'));
}

function printFindings(reports: string): number {
  const findings = readAll(reports);
  for (const finding of findings) console.error(finding);
  if (findings.length > 0) console.error(`${findings.length} process(es) with findings`);
  return findings.length;
}

function main(): number {
  makeCopy();
  const reports = freshFolder('reports');
  const env = environment(reports);
  checkSetting(env);
  checkCanaries();
  const mocha = createRequire(import.meta.url).resolve('mocha/bin/mocha.js');
  const options = ['--no-config', '--reporter', 'dist/test/rig/reporter.js', '--timeout', '60000'];
  const args = [mocha, ...options, ...TESTS, ...process.argv.slice(2)];
  const { status } = spawnSync(process.execPath, args, { cwd: copy, env, stdio: 'inherit' });
  const findings = printFindings(reports);
  return findings > 0 ? 1 : (status ?? 1);
}

process.exitCode = main();
