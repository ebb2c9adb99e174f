// What the tests of `iommufd run` share: C programs, compiled into a temporary folder, and a server in this process that they
// run against, so that it can be looked into.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { type EmulatedHostOptions, makeMachine } from '../../lib/emulated/host-options.js';
import type { Machine } from '../../lib/emulated/machine.js';
import { shimEnvironment } from '../../lib/run/environment.js';
import { RunServer } from '../../lib/run/server.js';

const root = fileURLToPath(new URL('../../../', import.meta.url));
export const command = path.join(root, 'dist/lib/cli/iommufd.js');
const WARNINGS = ['-Wall', '-Wextra', '-Werror', '-Wno-missing-field-initializers'];

let folder: string | undefined;
/** A folder for what the tests make, until `removeFolder`. */
function makeFolder(): string {
  folder ??= mkdtempSync(path.join(tmpdir(), 'iommufd-test-'));
  return folder;
}
export function removeFolder(): void {
  if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
  folder = undefined;
}

/** As `describe`. An addon that came built needs no compiler, but these programs do. */
export function describePrograms(title: string, body: () => void): void {
  if (spawnSync('cc', ['--version']).error === undefined) describe(title, body);
  else describe.skip(`${title} [there is no C compiler (cc)]`, body);
}
/** Compiles test/run/NAME.c; answers where the program is. */
export function compile(name: string, ...options: readonly string[]): string {
  const program = path.join(makeFolder(), name);
  const source = path.join(root, 'test/run', `${name}.c`);
  const args = ['-std=gnu11', '-D_GNU_SOURCE', '-O1', ...WARNINGS, ...options, '-o', program, source, '-pthread'];
  const { status, stderr, error } = spawnSync('cc', args, { encoding: 'utf8' });
  assert.equal(status, 0, `${name}.c: ${error?.message ?? stderr}`);
  return program;
}

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly output: string;
  readonly errors: string;
}

export function ended(child: ChildProcess): Promise<Ended> {
  let output = '';
  let errors = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    errors += text;
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve({ code, signal, output, errors }));
  });
}

/** A machine that programs can run on. */
export class RunStage {
  readonly machine: Machine;
  readonly server: RunServer;
  readonly #folder: string;
  /** What whoever runs programs was told. */
  readonly told: string[] = [];

  private constructor(options: EmulatedHostOptions, privileged: boolean) {
    this.#folder = mkdtempSync(path.join(tmpdir(), 'iommufd-test-'));
    this.machine = makeMachine(options);
    const tell = (text: string): number => this.told.push(text);
    this.server = new RunServer(this.machine, { folder: this.#folder, privileged, tell });
  }
  static async start(options: EmulatedHostOptions, privileged = true): Promise<RunStage> {
    const stage = new RunStage(options, privileged);
    await stage.server.listen();
    return stage;
  }

  start(program: string, ...args: readonly string[]): ChildProcess {
    const env = { ...process.env, ...shimEnvironment(this.server.path) };
    return spawn(program, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
  }
  /** Runs a program that is to end well; answers what it printed. */
  async run(program: string, ...args: readonly string[]): Promise<string> {
    const { code, signal, output, errors } = await ended(this.start(program, ...args));
    assert.deepEqual({ code, signal, errors }, { code: 0, signal: null, errors: '' });
    return output;
  }
  /** Nothing of any program is left. */
  async checkEmpty(): Promise<void> {
    // The last connection's end may still be on its way.
    for (let turn = 0; turn < 1000 && this.server.files + this.server.programs > 0; turn++) {
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    const { files, programs, failure } = this.server;
    const { iommufds } = this.machine;
    const nothing = { files: 0, programs: 0, iommufds: 0, failure: undefined };
    assert.deepEqual({ files, programs, iommufds: iommufds.size, failure }, nothing);
  }
  close(): void {
    this.server.close();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
