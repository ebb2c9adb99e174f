// Reading an event fd of the kernel: vEVENTs, page faults, eventfds. An empty queue reads as 0 bytes, blocking or not, and
// an empty eventfd as EAGAIN, so the fd is watched for readability and then read until nothing is left. What was read and
// not delivered waits here, not in an iterator: breaking out of a loop loses nothing.
import { checkOptions, checkSignal } from './arguments.js';
import { destroyed, IommufdError, UsageError } from './errors.js';
import type { Seam, Watch } from './seam.js';

export interface ReadEventsOptions {
  /** Ends the wait: the iterator then rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** Turns bytes that a read gave into events. */
export type EventParser<T> = (view: DataView, at: number, length: number) => T[];

/** An event fd and its watch: what must be closed, and knows nothing of who reads. */
export class EventSource {
  readonly seam: Seam;
  readonly fd: number;
  /** Called when the fd is readable. */
  onReadable: WeakRef<{ wake(): void }> | undefined;
  #watch: Watch | undefined;
  #open = true;

  /**
   * Takes the fd: `close` closes it. Where there are many fds that may never be waited for, each is watched only from the
   * first wait on: a watch costs the host an fd of its own.
   */
  constructor(seam: Seam, fd: number, watched: 'at-once' | 'when-waited-for' = 'at-once') {
    this.seam = seam;
    this.fd = fd;
    if (watched === 'at-once') this.#watch = this.#makeWatch();
  }
  get watch(): Watch {
    this.#watch ??= this.#makeWatch();
    return this.#watch;
  }
  #makeWatch(): Watch {
    const watch = this.seam.watch(this.fd, () => this.onReadable?.deref()?.wake());
    if (typeof watch === 'number') throw new IommufdError('epoll_ctl', watch, { fd: this.fd });
    return watch;
  }
  get open(): boolean {
    return this.#open;
  }
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#watch?.close();
    this.seam.close(this.fd);
  }
}

/** Queues somebody waits for: the watch itself must not keep them, or nothing with an event queue were ever collected. */
const waiting = new Set<object>();

const EAGAIN = -11;
/** After this many events in a row an iterator lets timers and I/O run. */
const BURST = 64;

export class EventReader<T> {
  readonly #source: EventSource;
  readonly #parse: EventParser<T>;
  readonly #what: string;
  readonly #readSize: number;
  readonly #owner: object;
  /** Read from the kernel, not delivered yet; `#next` is the first of them. */
  #queue: T[] = [];
  #next = 0;
  #wake: (() => void) | undefined;
  #iterating = false;

  /** `readSize` must hold the largest event there is; `owner` is kept from being collected while somebody waits. */
  constructor(source: EventSource, readSize: number, what: string, parse: EventParser<T>, owner?: object) {
    this.#owner = owner ?? this;
    this.#source = source;
    this.#readSize = readSize;
    this.#what = what;
    this.#parse = parse;
    source.onReadable = new WeakRef(this);
  }

  get source(): EventSource {
    return this.#source;
  }
  /** Whether an iterator runs. */
  get iterating(): boolean {
    return this.#iterating;
  }
  /** How many events were read and not delivered. */
  get waiting(): number {
    return this.#queue.length - this.#next;
  }

  /** The event fd; its number may be another file's once this is closed, so then it throws. */
  get fd(): number {
    if (!this.#source.open) throw destroyed(this.#what);
    return this.#source.fd;
  }

  /** The fd is readable, or the wait is over for another reason. */
  wake(): void {
    this.#wake?.();
  }

  /** All events that are there now, without waiting. */
  drain(): T[] {
    if (!this.#source.open) throw destroyed(this.#what);
    this.#fill();
    const events = this.#queue.slice(this.#next);
    this.#queue = [];
    this.#next = 0;
    return events;
  }

  /** An iterator that waits for events; it ends when the queue is destroyed. One at a time. */
  iterate(options: ReadEventsOptions): AsyncIterableIterator<T> {
    checkOptions(options, ['signal']);
    const { signal } = options;
    checkSignal(signal);
    if (!this.#source.open) throw destroyed(this.#what);
    if (this.#iterating) {
      throw new UsageError('ERR_IOMMUFD_BUSY', `${this.#what} is being read already: one iterator at a time`);
    }
    this.#iterating = true;
    let ended = false;
    let burst = 0;
    let last: Promise<unknown> = Promise.resolve();
    const end = (): IteratorResult<T> => {
      if (!ended) {
        ended = true;
        this.#iterating = false;
        this.#wake?.();
      }
      return { done: true, value: undefined };
    };
    const step = async (): Promise<IteratorResult<T>> => {
      if (++burst % BURST === 0) await new Promise((resolve) => setImmediate(resolve));
      for (;;) {
        if (ended || !this.#source.open) return end();
        if (signal?.aborted === true) throw signal.reason;
        if (this.#next >= this.#queue.length) this.#fill();
        const event = this.#take();
        if (event !== undefined) return { done: false, value: event.value };
        await this.#wait(signal);
      }
    };
    /** As `step`; where that throws, the iterator is at its end. */
    const stepOrEnd = async (): Promise<IteratorResult<T>> => {
      try {
        return await step();
      } catch (error) {
        end();
        throw error;
      }
    };
    return {
      // Calls of next() that overlap are answered one after another.
      next: () => {
        const turn = last.then(stepOrEnd);
        last = turn.catch(() => undefined);
        return turn;
      },
      return: async () => end(),
      [Symbol.asyncIterator]() {
        return this;
      },
    };
  }

  /** Whether waiting for events keeps the process alive. */
  ref(): void {
    this.#source.watch.ref();
  }
  unref(): void {
    this.#source.watch.unref();
  }

  /** Ends the iterator and closes the fd. Twice is fine. */
  close(): void {
    this.#source.close();
    this.#wake?.();
  }

  #take(): { value: T } | undefined {
    if (this.#next >= this.#queue.length) return undefined;
    const value = this.#queue[this.#next++] as T;
    if (this.#next === this.#queue.length) {
      this.#queue = [];
      this.#next = 0;
    }
    return { value };
  }

  /** Reads until the kernel has nothing more. */
  #fill(): void {
    const { seam, fd } = this.#source;
    const { arena } = seam;
    const mark = arena.mark();
    const at = arena.take(this.#readSize);
    try {
      for (;;) {
        const length = seam.read(fd, at, this.#readSize);
        if (length === 0 || length === EAGAIN) return;
        if (length < 0) throw new IommufdError('read', length, { fd, length: this.#readSize });
        this.#queue.push(...this.#parse(arena.view, at, length));
      }
    } finally {
      arena.release(mark);
    }
  }

  async #wait(signal: AbortSignal | undefined): Promise<void> {
    const { watch } = this.#source;
    await new Promise<void>((resolve) => {
      const wake = (): void => {
        this.#wake = undefined;
        waiting.delete(this.#owner);
        signal?.removeEventListener('abort', wake);
        watch.disarm();
        resolve();
      };
      this.#wake = wake;
      waiting.add(this.#owner);
      signal?.addEventListener('abort', wake);
      watch.arm();
    });
  }
}
