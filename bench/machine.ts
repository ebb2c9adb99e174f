// The benchmarks that need a real /dev/iommu: a test machine is booted for them, and its lines are brought back.
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { kernelImage } from '../test/vm/kernel.js';
import { boot } from '../test/vm/machine.js';
import type { Line } from './report.js';

const checkout = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
const RESULTS = 'bench.jsonl';

/** Why no machine can be booted here; undefined if one can. */
export function lacksMachine(): string | undefined {
  const qemu = spawnSync('qemu-system-x86_64', ['--version'], { stdio: 'ignore' });
  return qemu.error === undefined ? undefined : 'qemu-system-x86_64 is not installed (Debian: qemu-system-x86)';
}

/** Boots the machine, and answers what the benchmarks in it printed. */
export async function inMachine(kernel: string | undefined): Promise<Line[]> {
  const { status, files } = await boot(
    {
      machine: 'mock',
      kernel: kernel ?? kernelImage(checkout),
      checkout,
      command: `node dist/bench/lane.js > /run/results/${RESULTS}\n`,
      timeoutSeconds: 600,
      onLine: (line) => console.error(line),
    },
    [RESULTS],
  );
  if (status !== 0) throw new Error(`the benchmarks in the machine ended with ${status ?? 'the machine'}`);
  const lines = (files[RESULTS] ?? '').trimEnd().split('\n');
  return lines.map((line): Line => JSON.parse(line));
}
