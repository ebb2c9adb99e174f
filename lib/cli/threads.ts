// The threads of a program that is recorded or replayed: each has a transcript of its own, beside the main thread's. What they
// must know of each other goes by the data that Node hands to every thread.
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { getEnvironmentData, isMainThread, setEnvironmentData, threadId } from 'node:worker_threads';
import { UsageError } from '../host/errors.js';
import { claim, noteOpened } from './claim.js';
import type { Mode } from './environment.js';

const KEY = 'iommufd-transcript';

/** Which counter is where. */
const OPENED = 0;
const FAILED = 1;

interface Shared {
  readonly mode: Mode;
  readonly file: string;
  /** Where it is told which process has the transcript. */
  readonly folder: string;
  /** Of this process, among those that the command runs. */
  readonly owner: string;
  readonly counters: Int32Array;
}

/** `nic.jsonl` of the main thread, `nic.thread-2.jsonl` of the second thread that the program made. */
function fileOfThread(file: string, thread: number): string {
  const { dir, name, ext } = path.parse(file);
  return path.join(dir, `${name}.thread-${thread}${ext}`);
}

/** The transcripts of threads that lie beside that of a main thread. */
export function threadFiles(file: string): string[] {
  const { dir, name, ext } = path.parse(file);
  const isOne = (other: string) => {
    const middle = other.slice(name.length, other.length - ext.length);
    return other.startsWith(name) && other.endsWith(ext) && /^\.thread-\d+$/.test(middle);
  };
  return existsSync(dir)
    ? readdirSync(dir)
        .filter(isOne)
        .map((other) => path.join(dir, other))
    : [];
}

/** What is to be done with the host of this thread. */
export class ThreadTask {
  readonly #shared: Shared;
  private constructor(shared: Shared) {
    this.#shared = shared;
  }

  /** Of the main thread; those that it makes find it. */
  static ofProcess(task: Omit<Shared, 'counters' | 'owner'>): ThreadTask {
    const counters = new Int32Array(new SharedArrayBuffer(8));
    // Numbers of processes are used again.
    const owner = `${process.pid} ${performance.timeOrigin}`;
    const shared = { ...task, owner, counters };
    setEnvironmentData(KEY, shared as never);
    return new ThreadTask(shared);
  }
  /** Of another thread; undefined where nothing is recorded or replayed. */
  static ofThread(): ThreadTask | undefined {
    const shared = getEnvironmentData(KEY) as unknown as Shared | undefined;
    return shared === undefined ? undefined : new ThreadTask(shared);
  }

  get mode(): Mode {
    return this.#shared.mode;
  }
  get file(): string {
    const { file } = this.#shared;
    return isMainThread ? file : fileOfThread(file, threadId);
  }
  /** @throws UsageError ERR_IOMMUFD_UNAVAILABLE where another process has the transcript */
  claim(): void {
    const { folder, owner } = this.#shared;
    const has = claim(folder, owner);
    if (has === owner) return;
    throw new UsageError(
      'ERR_IOMMUFD_UNAVAILABLE',
      `a transcript is of one process, and process ${has.split(' ', 1)[0]} opened a host before: each takes a command of its own`,
    );
  }
  noteOpened(): void {
    Atomics.add(this.#shared.counters, OPENED, 1);
    noteOpened(this.#shared.folder, this.file);
  }
  noteFailed(): void {
    Atomics.add(this.#shared.counters, FAILED, 1);
  }
  /** Whether any thread did otherwise than it was recorded. */
  get failed(): boolean {
    return Atomics.load(this.#shared.counters, FAILED) > 0;
  }
  /** How many transcripts nobody asked for; 0 where no host was opened at all, which is another process's program then. */
  get unused(): number {
    const { file, counters } = this.#shared;
    const opened = Atomics.load(counters, OPENED);
    const there = threadFiles(file).length + (existsSync(file) ? 1 : 0);
    return opened === 0 ? 0 : Math.max(0, there - opened);
  }
}
