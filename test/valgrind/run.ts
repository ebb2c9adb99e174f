// The tests of the addon in a process that valgrind's memcheck watches (npm run test:valgrind): it knows of bytes that were
// never written, and of memory that nothing points to any more, which the sanitizers do not. Arguments are mocha's. The addon
// is the one that programs get. Processes that tests start are not watched: most of them end by a fault that is wanted.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildDefects, loading } from '../sanitizers/canary.js';
import { findingsAbout, isWhole } from './findings.js';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const folder = path.join(root, 'build/valgrind');
const addon = path.join(root, 'build/Release/iommufd.node');

/** Tests that use the addon in their own process. Workers end too slowly there, and time is what those tests are about. */
const TESTS = ['files', 'mmio', 'pool', 'reentrant', 'regions', 'slots', 'watch'];

/** What memcheck must tell of the known defects. */
const KINDS = ['InvalidRead', 'InvalidWrite', 'UninitCondition', 'Leak_DefinitelyLost'];
const DEFECTS = 'use-after-free overflow uninitialised leak';

/** Code that V8 writes anew must be read anew; V8's own reads of its stack are too many to be counted. */
const OPTIONS = [
  `--suppressions=${path.join(root, 'test/valgrind/suppressions')}`,
  '--smc-check=all-non-file',
  '--error-limit=no',
  '--leak-check=full',
  '--show-leak-kinds=definite',
];

interface Watched {
  readonly status: number | null;
  readonly xml: string;
}

/** Runs Node under valgrind. */
function watch(name: string, args: readonly string[], env: NodeJS.ProcessEnv, quiet: boolean): Watched {
  const file = path.join(folder, `${name}.xml`);
  const options = [...OPTIONS, '--xml=yes', `--xml-file=${file}`, process.execPath, ...args];
  const stdio = quiet ? 'ignore' : 'inherit';
  const { status, error } = spawnSync('valgrind', options, {
    cwd: root,
    stdio,
    env: { ...process.env, ...env, IOMMUFD_VALGRIND: '1' },
  });
  if (error !== undefined) throw new Error('valgrind does not start: is it installed?', { cause: error });
  const xml = readFileSync(file, 'utf8');
  if (!isWhole(xml)) throw new Error(`valgrind did not come to its end: ${file}`);
  return { status, xml };
}

/** Fails unless each known defect is told of, and none where there is none. */
function checkCanary(): void {
  const library = buildDefects(folder, '-O1 -g');
  for (const defects of ['none', DEFECTS]) {
    const { xml } = watch('canary', loading(library, 'thread'), { IOMMUFD_DEFECT: defects }, true);
    const kinds = new Set(findingsAbout(library, xml).map(({ kind }) => kind));
    const expected = defects === 'none' ? [] : KINDS;
    const isRight = kinds.size === expected.length && expected.every((kind) => kinds.has(kind));
    if (!isRight) throw new Error(`valgrind is blind: of ${defects} it told ${[...kinds].join(', ') || 'nothing'}`);
  }
  console.log(`${KINDS.length} known defects, each told of by valgrind`);
}

function main(): number {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  checkCanary();
  const mocha = createRequire(import.meta.url).resolve('mocha/bin/mocha.js');
  const files = TESTS.map((name) => `dist/test/addon/${name}.test.js`);
  const options = ['--no-config', '--reporter', 'dist/test/rig/reporter.js', '--timeout', '300000'];
  // In this process itself, which is the one that is watched: mocha's command would start another where Node has options.
  const { status, xml } = watch('tests', [mocha, ...options, ...files, ...process.argv.slice(2)], {}, false);
  const findings = findingsAbout(addon, xml);
  for (const { kind, text } of findings) console.error(`${kind}: ${text}\n`);
  console.log(`valgrind: ${findings.length} findings in the addon`);
  return findings.length > 0 ? 1 : (status ?? 1);
}

process.exitCode = main();
