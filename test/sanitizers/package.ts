// A second copy of this package under build/sanitizers, whose addon is built with AddressSanitizer and
// UndefinedBehaviorSanitizer. A copy, since the loader knows one place for the addon, and users' programs should have no
// switch by which another is loaded.
import { spawnSync } from 'node:child_process';
import { copyFileSync, cpSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../../', import.meta.url));

export const copy = path.join(root, 'build/sanitizers');
export const addon = path.join(copy, 'build/Release/iommufd.node');

/** `vptr` needs the run-time types that Node's addons are built without; the conversion of floats is not in `undefined`. */
const SANITIZE = '-fsanitize=address,undefined,float-cast-overflow -fno-sanitize=vptr -fno-sanitize-recover=all';
/**
 * UndefinedBehaviorSanitizer lies within the addon, its names kept to itself: in a library of its own it would call
 * AddressSanitizer's functions of the same names, and tell of nothing in the files of reports.
 */
export const LDFLAGS = `${SANITIZE} -static-libubsan -Wl,--exclude-libs,libubsan.a`;
/** With the standard library's own checks: an index that a vector does not have is found by no sanitizer. */
export const CXXFLAGS = `${SANITIZE} -O1 -g -fno-omit-frame-pointer -D_GLIBCXX_ASSERTIONS`;
const FLAGS = `${CXXFLAGS} ${LDFLAGS}`;

/** What is read in place; everything else is copied, since modules know themselves by where they really lie. */
const LINKED = ['node_modules', 'native', 'binding.gyp', 'lib', 'docs'];
const COPIED = ['package.json', '.mocharc.cjs', 'scripts/build-addon.mjs'];

/** Brings the copy up to date, and builds its addon. Throws where it cannot. */
export function makeCopy(): void {
  const flagsFile = path.join(copy, 'flags');
  if (!existsSync(flagsFile) || readFileSync(flagsFile, 'utf8') !== FLAGS)
    rmSync(copy, { recursive: true, force: true });
  mkdirSync(path.join(copy, 'scripts'), { recursive: true });
  for (const name of LINKED) {
    // Relative, so that a checkout can be moved.
    if (!existsSync(path.join(copy, name))) symlinkSync(path.join('../..', name), path.join(copy, name));
  }
  for (const name of COPIED) copyFileSync(path.join(root, name), path.join(copy, name));
  rmSync(path.join(copy, 'dist'), { recursive: true, force: true });
  cpSync(path.join(root, 'dist'), path.join(copy, 'dist'), { recursive: true });
  buildAddon();
  writeFileSync(flagsFile, FLAGS);
}

function buildAddon(): void {
  const { status } = spawnSync(process.execPath, ['scripts/build-addon.mjs'], {
    cwd: copy,
    stdio: 'inherit',
    env: { ...process.env, CXXFLAGS, LDFLAGS },
  });
  // It is no failure of that script where there is no compiler.
  if (status !== 0 || !existsSync(addon)) throw new Error('the addon could not be built with the sanitizers');
  const code = readFileSync(addon, 'latin1');
  for (const mark of ['__asan_report_', '__ubsan_handle_']) {
    if (!code.includes(mark)) throw new Error(`the addon was built without what calls ${mark}`);
  }
}

/** The sanitizer's library, which must come before all others that the process has. */
export function findRuntime(): string {
  const compiler = process.env.CXX ?? 'g++';
  const { stdout } = spawnSync(compiler, ['-print-file-name=libasan.so'], { encoding: 'utf8' });
  const library = stdout?.trim() ?? '';
  if (!path.isAbsolute(library)) throw new Error(`${compiler} has no libasan.so: the sanitizers need GCC's`);
  return library;
}
