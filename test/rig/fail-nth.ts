// Lets the Nth allocation of the real kernel fail, by its fault injection: /proc/self/task/<tid>/fail-nth counts down with
// every allocation of that thread in the kernel (lib/fault-inject.c). What this process does by itself, V8 and libuv
// above all, must not be counted: the thread that calls is armed before each system call of the seam, and disarmed after it.
import assert from 'node:assert/strict';
import { closeSync, openSync, promises, readFileSync, readlinkSync, readSync, writeFileSync, writeSync } from 'node:fs';
import type { Region, Seam } from '../../lib/unsafe.js';

const DEBUGFS = '/sys/kernel/debug';
/**
 * What may wait for memory fails too, and single pages, and nothing is said of each in the log. Pages of programs (which have
 * high memory) do not: this process needs some of its own at any moment, and gets them at the next try.
 */
const SETTINGS: Readonly<Record<string, string>> = {
  'failslab/ignore-gfp-wait': 'N',
  'failslab/verbose': '0',
  'fail_page_alloc/ignore-gfp-wait': 'N',
  'fail_page_alloc/ignore-gfp-highmem': 'Y',
  'fail_page_alloc/min-order': '0',
  'fail_page_alloc/verbose': '0',
  'fail_iommufd/verbose': '0',
};

/** A thread's counter. */
class Counter {
  readonly #fd: number;
  readonly #text = Buffer.alloc(16);
  constructor(tid: string) {
    this.#fd = openSync(`/proc/self/task/${tid}/fail-nth`, 'r+');
  }
  set(count: number): void {
    writeSync(this.#fd, String(count));
  }
  /** What is left of the count: 0 if the allocation failed. */
  take(): number {
    const length = readSync(this.#fd, this.#text, 0, this.#text.length, 0);
    const left = Number(this.#text.toString('latin1', 0, length));
    if (left > 0) this.set(0);
    return left;
  }
  close(): void {
    closeSync(this.#fd);
  }
}

/** What failed since this was asked last: more than one kind, where one failed just before a thread was disarmed. */
function failedKinds(): FailureKind[] {
  const failed = KINDS.filter((kind) => Number(readFileSync(`${DEBUGFS}/${kind}/times`, 'utf8')) !== TIMES);
  for (const kind of failed) writeFileSync(`${DEBUGFS}/${kind}/times`, String(TIMES));
  return failed;
}

/** The thread id in a link such as 12/task/34. */
const tidOf = (link: string) => link.split('/').at(-1) ?? '';

/**
 * What can fail: objects, pages, and points that iommufd itself has for it (iommufd_should_fail), which answer as if an object
 * had gone meanwhile, memory could not be reached, or memory was short.
 */
const KINDS = ['failslab', 'fail_page_alloc', 'fail_iommufd'] as const;
export type FailureKind = (typeof KINDS)[number];

/** So often each may fail: how often it did is told by what is left of that. */
const TIMES = 1_000_000;

/** The call in which an allocation failed. */
export interface Failed {
  readonly kinds: readonly FailureKind[];
  readonly call: string;
  /** 0 or more, -errno, or something else that it gave. */
  readonly result: unknown;
}

const FILES = ['open', 'own', 'disown', 'duplicate', 'close', 'createEventfd', 'watch'] as const;
const CALLS = ['ioctl', 'ioctlValue', 'read', 'write', 'pread', 'pwrite'] as const;
const LOOKS = ['status', 'readText', 'readLink', 'list'] as const;
const REGIONS = ['allocateMemory', 'importMemory', 'allocateBlock', 'mapMmio'] as const;

type Called = (...given: never[]) => unknown;

/** Answers by `wrap` what methods of an object do from now on. */
function replace(target: object, names: readonly string[], wrap: (name: string, method: Called) => Called): void {
  for (const name of names) {
    const method = (target as Record<string, Called>)[name];
    assert(method !== undefined, name);
    Object.assign(target, { [name]: wrap(name, method.bind(target) as Called) });
  }
}

export class FailNth {
  readonly #own: Counter;
  readonly #pool: Counter;
  /** How many allocations there are until one fails; 0 if none is to fail. */
  #left = 0;
  #failed: Failed | undefined;

  private constructor(own: Counter, pool: Counter) {
    this.#own = own;
    this.#pool = pool;
  }

  /** The fault injection of this process, around the calls of this seam. The thread pool must have one thread. */
  static async on(seam: Seam): Promise<FailNth> {
    assert.equal(process.env.UV_THREADPOOL_SIZE, '1', 'UV_THREADPOOL_SIZE');
    for (const [file, value] of Object.entries(SETTINGS)) writeFileSync(`${DEBUGFS}/${file}`, value);
    failedKinds();
    const own = new Counter(tidOf(readlinkSync('/proc/thread-self')));
    const injection = new FailNth(own, new Counter(tidOf(await promises.readlink('/proc/thread-self'))));
    injection.#listen(seam);
    return injection;
  }

  close(): void {
    this.#own.close();
    this.#pool.close();
  }

  /** Lets allocation `nth` from now on fail, the first is 1. */
  start(nth: number): void {
    this.#left = nth;
    this.#failed = undefined;
  }
  /** No more; answers in which call the allocation failed, or undefined if there were not as many. */
  stop(): Failed | undefined {
    this.#left = 0;
    return this.#failed;
  }

  #listen(seam: Seam): void {
    replace(seam, [...FILES, ...CALLS, ...LOOKS], (name, method) => this.#armed(name, method));
    replace(seam, REGIONS, (name, method) => {
      const armed = this.#armed(name, method);
      return (...given) => {
        const region = armed(...given);
        if (typeof region !== 'number') this.#listenTo(region as Region);
        return region;
      };
    });
    replace(seam, ['ioctlAsync'], (name, method) => this.#armedOnPool(name, method));
  }
  #listenTo(region: Region): void {
    replace(region, ['window', 'detachWindows', 'free'], (name, method) => this.#armed(`region.${name}`, method));
    replace(region, ['prefault'], (name, method) => this.#armedOnPool(`region.${name}`, method));
  }

  #armed(call: string, method: Called): Called {
    return (...given) => {
      if (this.#left === 0) return method(...given);
      let result: unknown;
      this.#own.set(this.#left);
      try {
        result = method(...given);
      } catch (error) {
        result = error;
        throw error;
      } finally {
        this.#took(this.#own.take(), { call, result });
      }
      return result;
    };
  }
  #armedOnPool(call: string, method: Called): Called {
    return async (...given) => {
      if (this.#left === 0) return method(...given);
      this.#pool.set(this.#left);
      const result = await method(...given);
      this.#took(this.#pool.take(), { call, result });
      return result;
    };
  }
  #took(left: number, { call, result }: Omit<Failed, 'kinds'>): void {
    this.#left = left;
    if (left > 0) return;
    const kinds = failedKinds();
    assert(kinds.length > 0, `${call}: which kind of allocation failed?`);
    this.#failed = { kinds, call, result };
  }
}
