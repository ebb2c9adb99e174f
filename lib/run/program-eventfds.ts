// Eventfds that programs made themselves and give to the emulated kernel: duplicates of them are signalled and read here.
import { readFileSync } from 'node:fs';
import { EventFile } from '../emulated/kernel/event-file.js';
import { WaitQueue } from '../emulated/kernel/file.js';
import type { Native } from '../host/native.js';

/** The duplicates go when the emulated kernel refers to the eventfd no more: interrupts count no references. */
const collected = new FinalizationRegistry((close: () => void) => close());

/** Looks at the eventfd only while somebody waits for it. */
class EventfdQueue extends WaitQueue {
  readonly #native: Native;
  readonly #fd: number;
  readonly #waiting = new Set<() => void>();
  #watch: number | undefined;

  constructor(native: Native, fd: number) {
    super();
    this.#native = native;
    this.#fd = fd;
  }
  override add(waiter: () => void): void {
    super.add(waiter);
    this.#waiting.add(waiter);
    if (this.#watch === undefined) this.#begin();
  }
  override remove(waiter: () => void): void {
    super.remove(waiter);
    this.#waiting.delete(waiter);
    if (this.#waiting.size === 0) this.#end();
  }
  #begin(): void {
    const watch = this.#native.watchOpen(this.#fd, () => {
      this.wake();
      if (this.#watch !== undefined) this.#native.watchArm(this.#watch);
    });
    if (watch < 0) throw new Error(`an eventfd cannot be watched: ${watch}`);
    this.#watch = watch;
    this.#native.watchUnref(watch);
    this.#native.watchArm(watch);
  }
  #end(): void {
    if (this.#watch !== undefined) this.#native.watchClose(this.#watch);
    this.#watch = undefined;
  }
}

class ProgramEventfd extends EventFile {
  readonly #native: Native;
  readonly #fd: number;
  override readonly waiters: WaitQueue;

  /** Takes the fd over. */
  constructor(native: Native, fd: number) {
    super(0n);
    this.#native = native;
    this.#fd = fd;
    this.waiters = new EventfdQueue(native, fd);
    collected.register(this, () => native.close(fd));
  }

  override signal(more = 1n): void {
    for (let i = 0n; i < more; i++) this.#native.signalEventfd(this.#fd);
  }
  override take(): bigint {
    return this.#native.takeEventfd(this.#fd) < 0 ? 0n : 1n;
  }
  /** Nobody asks how much: who waits is told by the eventfd itself. */
  override readable(): boolean {
    return false;
  }
}

/** The eventfds of all programs: the same one is the same file, by whatever fd it is named. */
export class ProgramEventfds {
  readonly #native: Native;
  /** By Linux's own number of them, which is not used again while there is a duplicate. */
  readonly #known = new Map<string, WeakRef<ProgramEventfd>>();

  constructor(native: Native) {
    this.#native = native;
  }

  /** What a program's fd stands for, which is an eventfd; undefined where it is gone by now. */
  find(pid: number, fd: number): EventFile | undefined {
    const id = eventfdId(pid, fd);
    const known = id === undefined ? undefined : this.#known.get(id)?.deref();
    return known ?? this.#take(pid, fd, id);
  }
  #take(pid: number, fd: number, id: string | undefined): EventFile | undefined {
    const own = this.#native.takeFd(pid, fd);
    if (own < 0) return undefined;
    const file = new ProgramEventfd(this.#native, own);
    for (const [key, reference] of this.#known) if (reference.deref() === undefined) this.#known.delete(key);
    if (id !== undefined) this.#known.set(id, new WeakRef(file));
    return file;
  }
}

/** Since Linux 5.2 there is one. */
function eventfdId(pid: number, fd: number): string | undefined {
  try {
    return /^eventfd-id:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8'))?.[1];
  } catch {
    return undefined;
  }
}
