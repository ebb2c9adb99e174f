// What the tests of the addon share: looking at this process from outside, and running scripts in others.
import assert from 'node:assert/strict';
import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { loadNative, type Native } from '../../lib/host/native.js';

export const native: Native = loadNative();
export const page = native.pageSize;

/** Whether tests that repeat something do so for long: minutes in place of seconds. */
export const atLength = process.env.IOMMUFD_TORTURE === '1';
/** Whether the addon was built with sanitizers: everything takes longer then. */
export const sanitized = process.env.IOMMUFD_SANITIZERS === '1';

/** Whether valgrind watches this process: everything takes very much longer then. */
export const watched = process.env.IOMMUFD_VALGRIND === '1';
/** How long a test may take, in milliseconds. */
export const patience = watched ? 300_000 : 20_000;

export const errno = {
  EPERM: -1,
  EBADF: -9,
  EAGAIN: -11,
  ENOMEM: -12,
  EBUSY: -16,
  EEXIST: -17,
  EINVAL: -22,
  ENOTTY: -25,
} as const;

/** The address of the compiled loader, for scripts that run elsewhere. */
const loader = new URL('../../lib/host/native.js', import.meta.url).href;

const arena = native.arena();
export const bytes = new Uint8Array(arena.buffer);
export const words = new BigUint64Array(arena.buffer);

/** The fds of this process and what they are. */
export function listFds(): string[] {
  const fds: string[] = [];
  for (const fd of readdirSync('/proc/self/fd')) {
    try {
      fds.push(`${fd} ${readlinkSync(`/proc/self/fd/${fd}`)}`);
    } catch {
      // The one that reading the folder took.
    }
  }
  return fds;
}

/** Whether an fd stays behind where the process runs another program. */
export function isCloseOnExec(fd: number): boolean {
  const flags = /^flags:\s*([0-7]+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1];
  return (Number.parseInt(flags ?? '', 8) & 0o2000000) !== 0;
}

export interface Mapped {
  readonly start: bigint;
  readonly end: bigint;
  readonly permissions: string;
  readonly file: string;
  /** As /proc/self/smaps abbreviates them. */
  readonly flags: readonly string[];
}

/** The mapping of this process that an address lies in. */
export function findMapping(address: bigint): Mapped | undefined {
  return listMappings().find((mapping) => mapping.start <= address && address < mapping.end);
}

export function listMappings(): Mapped[] {
  const mappings: Mapped[] = [];
  let head: RegExpExecArray | null = null;
  for (const line of readFileSync('/proc/self/smaps', 'utf8').split('\n')) {
    head = /^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+\s*(.*)$/.exec(line) ?? head;
    if (!line.startsWith('VmFlags:') || head === null) continue;
    const [, start, end, permissions, file] = head;
    mappings.push({
      start: BigInt(`0x${start}`),
      end: BigInt(`0x${end}`),
      permissions: permissions ?? '',
      file: file ?? '',
      flags: line.split(/\s+/).slice(1),
    });
  }
  return mappings;
}

setFlagsFromString('--expose-gc');
export const gc: () => void = runInNewContext('gc');

/** Lets go of what nothing refers to, finalizers included, which run on later turns. */
export async function collectGarbage(until: () => boolean): Promise<void> {
  for (let round = 0; round < 20 && !until(); round++) {
    gc();
    await nextTurn();
  }
}

export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Lets the event loop turn until something is so: a wait that never ends is mocha's to tell. */
export async function waitFor(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1));
}

/** Runs a module in a process of its own; `native` is the addon there. */
export function runScript(script: string): SpawnSyncReturns<string> {
  const source = `import { loadNative } from '${loader}';\nconst native = loadNative();\n${script}`;
  const args = ['--input-type=module', '--expose-gc', '-e', source];
  return spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 20_000, killSignal: 'SIGKILL' });
}

/** Runs a file of this folder in a process of its own, and answers what it told. It must end well, and say nothing else. */
export function runChild(name: string, ...args: string[]): unknown {
  return runChildWith([], name, ...args);
}

/** The same, with flags of the engine. */
export function runChildWith(flags: readonly string[], name: string, ...args: string[]): unknown {
  const file = fileURLToPath(new URL(name, import.meta.url));
  const timeout = atLength ? 1_200_000 : 50_000;
  const options = { encoding: 'utf8', timeout, killSignal: 'SIGKILL' } as const;
  const { status, signal, stdout, stderr } = spawnSync(
    process.execPath,
    [...flags, '--no-warnings', file, ...args],
    options,
  );
  assert.deepEqual({ status, signal, stderr }, { status: 0, signal: null, stderr: '' }, stdout);
  return JSON.parse(stdout);
}

/** What the process has of all that the addon gives out. */
export interface Left {
  readonly regions: number;
  readonly owned: number;
  readonly fds: number;
  /** Mappings of memfds. */
  readonly memfds: number;
}

export function countLeft(): Left {
  const memfds = readFileSync('/proc/self/maps', 'utf8').split('iommufd-memory').length - 1;
  return { regions: native.liveRegions(), owned: native.ownedFds(), fds: listFds().length, memfds };
}

/** The text of a worker that has the addon as `native`, and what tells its parent things as `tell`. */
export function workerScript(script: string): string {
  return `
    const { parentPort } = require('node:worker_threads');
    const tell = (message) => parentPort.postMessage(message);
    import('${loader}').then(({ loadNative }) => { const native = loadNative(); ${script} });`;
}
