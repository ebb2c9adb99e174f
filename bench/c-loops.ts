// The C side of the comparisons: compiled here, run as processes of their own, which wait for their turns
// and time themselves.
import { execFileSync, type StdioOptions, spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
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

/** A loop as contender 'C'. Its process ends with this one. */
export function cLoop(name: string, options: LoopOptions = {}): Contender {
  let turn: ((iterations: number) => number) | undefined;
  return {
    name: 'C',
    run: (iterations) => {
      turn ??= start(name, options);
      return turn(iterations);
    },
  };
}

/** Starts a loop, and answers the way to give it a turn: without the event loop, which must not run between rounds. */
function start(name: string, { numbers = [], fd }: LoopOptions): (iterations: number) => number {
  const requests = pipe();
  const answers = pipe();
  const stdio: StdioOptions = [requests.read, answers.write, 'inherit'];
  if (fd !== undefined) stdio.push(fd);
  spawn(binary, [name, ...numbers.map(String)], { stdio }).unref();
  closeSync(requests.read);
  closeSync(answers.write);
  const answer = Buffer.alloc(64);
  return (iterations) => {
    writeSync(requests.write, `${iterations}\n`);
    const length = readSync(answers.read, answer);
    if (length === 0) throw new Error(`the C loop ${name} ended before its time`);
    return Number(answer.toString('utf8', 0, length));
  };
}

/** A pipe that blocks, which Node has no call for. */
function pipe(): { read: number; write: number } {
  const folder = mkdtempSync(path.join(tmpdir(), 'iommufd-bench-'));
  try {
    const fifo = path.join(folder, 'fifo');
    execFileSync('mkfifo', [fifo]);
    // Opening one end waits for the other, unless somebody has both.
    const both = openSync(fifo, 'r+');
    const ends = { read: openSync(fifo, 'r'), write: openSync(fifo, 'w') };
    closeSync(both);
    return ends;
  } finally {
    rmSync(folder, { recursive: true });
  }
}
