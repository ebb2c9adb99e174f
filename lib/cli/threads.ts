// The threads of a program that is recorded or replayed: each has a transcript of its own, beside the main thread's. What they
// must know of each other goes by the data that Node hands to every thread.
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { getEnvironmentData, isMainThread, setEnvironmentData, threadId } from 'node:worker_threads';
import type { Mode } from './environment.js';

const KEY = 'iommufd-transcript';

/** Which counter is where. */
const OPENED = 0;
const FAILED = 1;

interface Shared {
  readonly mode: Mode;
  readonly file: string;
  readonly marker: string | undefined;
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
  static ofProcess(task: Omit<Shared, 'counters'>): ThreadTask {
    const counters = new Int32Array(new SharedArrayBuffer(8));
    const shared = { ...task, counters };
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
  get marker(): string | undefined {
    return this.#shared.marker;
  }

  noteOpened(): void {
    Atomics.add(this.#shared.counters, OPENED, 1);
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
