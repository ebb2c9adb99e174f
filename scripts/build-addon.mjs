// Builds the addon into build/Release with node-gyp. What is merely missing (Linux, a compiler, node-gyp) is said and is no
// failure, since types and imports work without the addon; and where npm runs this on `npm install`, nothing is.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const addon = path.join(root, 'build/Release/iommufd.node');
const log = path.join(root, 'build/addon-build.log');
// Says what the addon was built for, and of what sources: by what is in them, since a copied or cloned checkout has other times.
const stamp = path.join(root, 'build/addon-built-for');
const builtFor = `${process.platform}-${process.arch}`;
const installing = process.env.npm_lifecycle_event === 'install';

/** The line of the stamp for each source: its name and what is in it. */
function digestSources() {
  const native = path.join(root, 'native');
  const found = readdirSync(native, { recursive: true }).map((name) => path.join(native, name));
  const sources = [...found.filter((file) => statSync(file).isFile()), path.join(root, 'binding.gyp')];
  return sources.sort().map((source) => {
    const digest = createHash('sha256').update(readFileSync(source)).digest('hex');
    return { source, line: `${digest} ${path.relative(root, source)}` };
  });
}

function readStamp() {
  return existsSync(addon) && existsSync(stamp) ? readFileSync(stamp, 'utf8').split('\n') : [];
}

/** What the stamp is to say of a build of these sources. */
function describeBuild(sources) {
  return [builtFor, ...sources.map(({ line }) => line)];
}

function isUpToDate(sources) {
  return readStamp().join('\n') === describeBuild(sources).join('\n');
}

/** Whether make, which goes by times, sees each source that has changed since. */
function isSeenByMake(sources) {
  const [before, ...lines] = readStamp();
  if (before !== builtFor) return false;
  const built = statSync(stamp).mtimeMs;
  return sources.every(({ source, line }) => lines.includes(line) || statSync(source).mtimeMs > built);
}

/** Where node-gyp is: a dependency of a checkout, else the one that npm carries. */
function findNodeGyp() {
  try {
    return createRequire(path.join(root, 'package.json')).resolve('node-gyp/bin/node-gyp.js');
  } catch {
    const carried = process.env.npm_config_node_gyp;
    return carried !== undefined && existsSync(carried) ? carried : undefined;
  }
}

/** The folder that holds this Node's own headers, so that none are downloaded. */
function findHeaders() {
  const prefixes = [
    process.env.npm_config_nodedir,
    path.dirname(path.dirname(process.execPath)),
    path.dirname(path.dirname(realpathSync(process.execPath))),
  ];
  return prefixes.find((prefix) => prefix && existsSync(path.join(prefix, 'include/node/node_api.h')));
}

function isOnPath(...names) {
  const folders = (process.env.PATH ?? '').split(path.delimiter);
  return names.some((name) => folders.some((folder) => existsSync(path.join(folder, name))));
}

/** Why no build can be tried, if so. */
function findObstacle(nodeGyp) {
  if (process.platform !== 'linux') return `it is for Linux, and this is ${process.platform}`;
  if (nodeGyp === undefined) return 'node-gyp not found';
  if (!process.env.CXX && !isOnPath('c++', 'g++', 'clang++')) return 'no C++ compiler found';
  if (!isOnPath('make', 'gmake')) return 'make not found';
  if (!process.env.npm_config_python && !process.env.PYTHON && !isOnPath('python3', 'python')) {
    return 'python3, which node-gyp needs, not found';
  }
  return undefined;
}

function writeLog(text) {
  mkdirSync(path.dirname(log), { recursive: true });
  writeFileSync(log, text);
}

function build(nodeGyp, sources) {
  const started = new Date();
  const headers = findHeaders();
  // A tree that was configured for another machine is of no use, nor one whose times say nothing.
  const steps = isSeenByMake(sources) ? ['configure', 'build'] : ['clean', 'configure', 'build'];
  const options = ['-j', 'max', ...(headers === undefined ? [] : [`--nodedir=${headers}`])];
  const strict = existsSync(path.join(root, '.git')) ? ['--', '-Dwarnings_are_errors=true'] : [];
  rmSync(stamp, { force: true });
  let output = '';
  for (const step of steps) {
    const args = [nodeGyp, step, ...options, ...(step === 'configure' ? strict : [])];
    const run = spawnSync(process.execPath, args, { cwd: root, encoding: 'utf8', maxBuffer: 1 << 28 });
    output += `$ node-gyp ${args.slice(1).join(' ')}\n${run.stdout ?? ''}${run.stderr ?? ''}${run.error?.stack ?? ''}\n`;
    if (run.status !== 0) {
      // Only now, since `clean` removes the folder.
      writeLog(output);
      return false;
    }
  }
  writeLog(output);
  if (!existsSync(addon)) return false;
  writeFileSync(stamp, describeBuild(sources).join('\n'));
  utimesSync(stamp, started, started);
  return true;
}

function main() {
  const sources = digestSources();
  if (isUpToDate(sources)) return 0;
  const nodeGyp = findNodeGyp();
  const obstacle = findObstacle(nodeGyp);
  if (obstacle !== undefined) {
    writeLog(`${obstacle}\n`);
    console.log(`iommufd: the addon was not built: ${obstacle}. openHost({ kind: 'kernel' }) will say so again.`);
    return 0;
  }
  console.log('iommufd: building the addon');
  if (build(nodeGyp, sources)) return 0;
  console.error(`iommufd: the addon could not be built; see ${log}`);
  return 1;
}

try {
  const code = main();
  process.exitCode = installing ? 0 : code;
} catch (error) {
  console.error(`iommufd: the addon could not be built: ${error.message}`);
  process.exitCode = installing ? 0 : 1;
}
