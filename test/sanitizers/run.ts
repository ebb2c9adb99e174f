// The tests of the addon with AddressSanitizer and UndefinedBehaviorSanitizer in it (npm run test:sanitizers). Arguments
// are mocha's. A finding ends the process that it is in, fails the run wherever it was, children included, and is printed.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { addon, copy, findRuntime, makeCopy } from './package.js';

const reports = path.join(copy, 'reports');

/** All tests that make calls of the addon: those of its own, and of the host that is made of it. */
const TESTS = ['dist/test/addon/**/*.test.js', 'dist/test/unit/open-host.test.js'];

const COMMON = `halt_on_error=1:exitcode=86:log_path=${path.join(reports, 'report')}`;

function environment(): NodeJS.ProcessEnv {
  return {
    ...process.env,
    LD_PRELOAD: findRuntime(),
    // Leaks: V8 keeps pointers where the sanitizer does not look, so all of them would be "found"; what the addon leaves
    // behind its tests count themselves. SIGBUS: the addon's own handler is what is tested. Quarantine: bounded, so that
    // tests which look at the size of the process see its own growth.
    ASAN_OPTIONS: `${COMMON}:detect_leaks=0:handle_sigbus=0:quarantine_size_mb=8:detect_odr_violation=0`,
    UBSAN_OPTIONS: `${COMMON}:print_stacktrace=1`,
    IOMMUFD_SANITIZERS: '1',
  };
}

/** Fails unless a process of this environment has both the library and the addon that was built for it. */
function checkSetting(env: NodeJS.ProcessEnv): void {
  const script = `process.dlopen({ exports: {} }, ${JSON.stringify(addon)});
    console.log(require('node:fs').readFileSync('/proc/self/maps', 'utf8'));`;
  const { stdout, stderr } = spawnSync(process.execPath, ['-e', script], { env, encoding: 'utf8' });
  for (const library of ['libasan', 'libubsan', addon]) {
    if (!stdout.includes(library)) throw new Error(`${library} was not loaded: ${stderr}`);
  }
}

function printFindings(): number {
  const files = readdirSync(reports);
  for (const file of files) console.error(readFileSync(path.join(reports, file), 'utf8'));
  if (files.length > 0) console.error(`${files.length} process(es) with findings`);
  return files.length;
}

function main(): number {
  makeCopy();
  rmSync(reports, { recursive: true, force: true });
  mkdirSync(reports);
  const env = environment();
  checkSetting(env);
  const mocha = createRequire(import.meta.url).resolve('mocha/bin/mocha.js');
  const options = ['--no-config', '--reporter', 'dist/test/rig/reporter.js', '--timeout', '60000'];
  const args = [mocha, ...options, ...TESTS, ...process.argv.slice(2)];
  const { status } = spawnSync(process.execPath, args, { cwd: copy, env, stdio: 'inherit' });
  const findings = printFindings();
  return findings > 0 ? 1 : (status ?? 1);
}

process.exitCode = main();
