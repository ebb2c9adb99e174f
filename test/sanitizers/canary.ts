// Whether the tools would tell: an addon of known defects (defects.cc), loaded where the tests will run. A tool that has
// become blind, by its options or by the build, would find nothing in the real addon either.
import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const source = fileURLToPath(new URL('../../../test/sanitizers/defects.cc', import.meta.url));

/** Builds it with these flags, and answers its file. */
export function buildDefects(folder: string, flags: string): string {
  const library = path.join(folder, 'defects.node');
  mkdirSync(folder, { recursive: true });
  const compiler = process.env.CXX ?? 'g++';
  const args = [...flags.split(' '), '-std=c++17', '-Wno-all', '-shared', '-fPIC', '-o', library, source];
  const { status, stderr } = spawnSync(compiler, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${compiler} does not build ${source}: ${stderr}`);
  return library;
}

/** Loads the library in this thread, in a worker, and in a process of its own: wherever tests use the addon. */
const PLACES: Readonly<Record<string, string>> = {
  thread: 'load();',
  worker: `new (require('node:worker_threads').Worker)(\`(\${load})()\`, { eval: true }).on('exit', (code) => process.exit(code));`,
  child: `process.exitCode = require('node:child_process').spawnSync(process.execPath, ['-e', \`(\${load})()\`]).status ?? 99;`,
};
export type Place = keyof typeof PLACES;

/** The arguments to Node that load the library there. */
export function loading(library: string, place: Place): string[] {
  const load = `const load = () => process.dlopen({ exports: {} }, ${JSON.stringify(library)});`;
  return ['-e', `${load} ${PLACES[place]}`];
}
