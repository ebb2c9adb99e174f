// A program of its own whose memory tests look at (mapped-program.c): compiled once, told what to map.
import assert from 'node:assert/strict';
import { type ChildProcessByStdio, execFileSync, spawn, spawnSync } from 'node:child_process';
import { renameSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));
const source = path.join(here, '../../../test/rig/mapped-program.c');

/** Bits of mmap(2). */
export const PROT = { none: 0, read: 1, write: 2, both: 3 } as const;
export const MAP = { shared: 1, private: 2, fixed: 16, anonymous: 32 } as const;
export const PAGE = 4096;

let binary: string | undefined;

/** Compiles it. */
function compiled(): string {
  if (binary === undefined) {
    const fresh = path.join(here, `mapped-program.${process.pid}`);
    execFileSync('cc', ['-O1', '-Wall', '-Wextra', '-Werror', '-o', fresh, source], { stdio: 'inherit' });
    binary = path.join(here, 'mapped-program');
    renameSync(fresh, binary);
  }
  return binary;
}
/** Why there are no such programs here; undefined where there are. */
export function lacksPrograms(): string | undefined {
  if (process.platform !== 'linux') return 'there is no /proc';
  const { error } = spawnSync('cc', ['--version'], { stdio: 'ignore' });
  return error === undefined ? undefined : `there is no C compiler (cc): ${error.message}`;
}

export class MappedProgram {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: AsyncIterator<string>;
  readonly #ended: Promise<void>;
  /** The process that converses: the last one that was forked. */
  pid = 0;

  private constructor() {
    const child = spawn(compiled(), { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#ended = new Promise((resolve) => child.once('exit', () => resolve()));
    this.#lines = createInterface(child.stdout)[Symbol.asyncIterator]();
    this.#child = child;
  }
  static async start(): Promise<MappedProgram> {
    const program = new MappedProgram();
    program.pid = await program.#answer();
    return program;
  }

  async #answer(): Promise<number> {
    const { value, done } = await this.#lines.next();
    assert(done !== true, 'the program ended');
    return Number(value);
  }
  /** Sends a command; answers a number, or -errno. */
  async call(...words: readonly (string | number)[]): Promise<number> {
    this.#child.stdin.write(`${words.join(' ')}\n`);
    return await this.#answer();
  }
  /** A command that must work. */
  async must(...words: readonly (string | number)[]): Promise<number> {
    const result = await this.call(...words);
    assert(result >= 0, `${words.join(' ')}: ${result}`);
    return result;
  }

  /** mmap(2), of anonymous memory if not of an fd; answers the address. */
  async map(
    length: number,
    { at = 0, protection = PROT.both as number, flags = MAP.private as number, fd = -1, offset = 0 } = {},
  ): Promise<number> {
    return await this.must('map', at, length, protection, flags | (fd < 0 ? MAP.anonymous : 0), fd, offset);
  }
  async fill(address: number, length: number, byte: number): Promise<void> {
    await this.must('fill', address, length, byte);
  }
  async peek(address: number): Promise<number> {
    return await this.must('peek', address);
  }

  /** A child of the process goes on conversing; answers its pid. */
  async fork(): Promise<number> {
    this.pid = await this.must('fork');
    return this.pid;
  }
  /** The child that converses exits; `parent` goes on. */
  async exitChild(parent: number): Promise<void> {
    assert.equal(await this.call('exit'), 0);
    this.pid = parent;
  }
  /** The process becomes another program: the same one again. */
  async become(): Promise<void> {
    assert.equal(await this.call('become'), this.pid);
  }

  /** Ends it, and who it forked. */
  async end(): Promise<void> {
    this.#child.stdin.end();
    await this.#ended;
  }
  /** Ends it at once. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#ended;
  }
}
