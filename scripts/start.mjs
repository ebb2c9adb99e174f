// `npm start`: sets up what is missing, compiles, and runs the example. Plain Node, since nothing is built yet.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');

function run(command, args, quiet) {
  const stdio = quiet ? ['ignore', 'ignore', 'inherit'] : 'inherit';
  const { status, error } = spawnSync(command, args, { cwd: root, stdio });
  if (error !== undefined) throw error;
  if (status !== 0) process.exit(status ?? 1);
}

if (!existsSync(path.join(root, 'node_modules/.package-lock.json'))) {
  console.error('installing packages (once)');
  run('npm', ['ci'], true);
}
run(process.execPath, ['scripts/build-addon.mjs'], true);
run(process.execPath, ['node_modules/typescript/bin/tsc'], true);
run(process.execPath, ['dist/examples/vqueue-guest.js', ...process.argv.slice(2)], false);
