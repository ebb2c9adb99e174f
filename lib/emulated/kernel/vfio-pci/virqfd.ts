// An eventfd that the kernel waits on in a program's place: whenever it is signalled, work is done (drivers/vfio/virqfd.c).
import { ERRNO } from '../../../uapi/errno.js';
import { EventFile } from '../event-file.js';
import type { Kernel } from '../kernel.js';
import type { Process } from '../process.js';

/** The eventfd behind an fd: -EBADF, or -EINVAL for a file that is none. */
export function eventfdOf(process: Process, fd: number): EventFile | number {
  const file = process.files.get(fd);
  if (file === undefined) return -ERRNO.EBADF;
  return file instanceof EventFile ? file : -ERRNO.EINVAL;
}

/** Runs when the event loop turns: work that must not run within a program's own call. It keeps no process alive. */
function later(work: () => void): void {
  setImmediate(work).unref();
}

export class Virqfd {
  readonly #file: EventFile;
  readonly #work: () => (() => void) | undefined;
  #active = true;
  #running = false;
  readonly #woken = (): void => this.#run();
  readonly #hangUp = (): void => this.disable();

  private constructor(file: EventFile, work: () => (() => void) | undefined) {
    this.#file = file;
    this.#work = work;
    file.waiters.add(this.#woken);
    file.hangUps.add(this.#hangUp);
  }

  /**
   * Waits from now on; what is signalled already counts.
   * @param work done at once; what it answers is done in the next turn of the event loop
   * @returns -EBADF, -EINVAL, -ENOMEM where it cannot be
   */
  static enable(
    kernel: Kernel,
    process: Process,
    fd: number,
    work: () => (() => void) | undefined,
    taken: Virqfd | undefined,
  ): Virqfd | number {
    if (!kernel.allocates()) return -ERRNO.ENOMEM;
    const file = eventfdOf(process, fd);
    if (typeof file === 'number') return file;
    if (taken?.active === true) return -ERRNO.EBUSY;
    const virqfd = new Virqfd(file, work);
    // Linux only looks, and leaves the count to whoever reads it.
    if (file.readable()) virqfd.#perform();
    return virqfd;
  }

  /** False once the eventfd is closed: it cannot be signalled any more. */
  get active(): boolean {
    return this.#active;
  }
  /** What was counted and not waited for goes along: whoever waits next on the eventfd finds nothing. */
  disable(): void {
    if (!this.#active) return;
    this.#active = false;
    this.#file.take();
    this.#file.waiters.remove(this.#woken);
    this.#file.hangUps.delete(this.#hangUp);
  }

  /** Whoever else was woken before may have taken the count: it is done all the same. */
  #run(): void {
    if (!this.#active) return;
    this.#file.take();
    // The work may signal the eventfd that it is done for: then again, but not within itself.
    if (this.#running) {
      later(() => this.#perform());
      return;
    }
    this.#perform();
  }
  #perform(): void {
    if (!this.#active) return;
    this.#running = true;
    try {
      const rest = this.#work();
      if (rest !== undefined) later(() => this.#active && rest());
    } finally {
      this.#running = false;
    }
  }
}
