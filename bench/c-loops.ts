// The C side of the comparisons: compiled here, run as a process of its own, which times itself.
import { execFileSync, spawnSync } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Contender } from './measure.js';

const here = path.dirname(fileURLToPath(import.meta.url));
const source = path.join(here, '../../bench/c-loops.c');
/** Beside the compiled benchmarks, where a test machine sees it too. */
const binary = path.join(here, 'c-loops');

/** Compiles the loops; answers why that cannot be, or nothing. */
export function compileLoops(): string | undefined {
  try {
    execFileSync('cc', ['-O2', '-Wall', '-o', binary, source], { stdio: ['ignore', 'inherit', 'inherit'] });
    return undefined;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return 'there is no C compiler (cc)';
    throw error;
  }
}

export interface LoopOptions {
  /** What the loop takes: see c-loops.c. */
  readonly numbers?: readonly (number | bigint)[];
  /** The open file that the loop finds as fd 3. */
  readonly fd?: number;
}

/** A loop as contender 'C'. */
export function cLoop(name: string, { numbers = [], fd }: LoopOptions = {}): Contender {
  const stdio: ('ignore' | 'pipe' | 'inherit' | number)[] = ['ignore', 'pipe', 'inherit'];
  if (fd !== undefined) stdio.push(fd);
  return {
    name: 'C',
    run: (iterations) => {
      const child = spawnSync(binary, [name, `${iterations}`, ...numbers.map(String)], { stdio, encoding: 'utf8' });
      if (child.error !== undefined) throw child.error;
      if (child.status !== 0) throw new Error(`the C loop ${name} ended with ${child.signal ?? child.status}`);
      return Number(child.stdout);
    },
  };
}
