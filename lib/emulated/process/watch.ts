// Waiting for a file of the emulated machine. No time passes there: a waiter is told in the next turn of the event loop.
import type { Watch } from '../../host/seam.js';
import type { OpenFile } from '../kernel/file.js';

/** The longest timer there is: it never does anything but keep the process alive. */
const FOREVER = 2 ** 31 - 1;

export class EmulatedWatch implements Watch {
  readonly #file: OpenFile;
  readonly #onReadable: () => void;
  #open = true;
  #armed = false;
  #referenced = true;
  #turn: NodeJS.Immediate | undefined;
  #alive: NodeJS.Timeout | undefined;
  readonly #waiter = (): void => this.#schedule();

  constructor(file: OpenFile, onReadable: () => void) {
    this.#file = file.hold();
    this.#onReadable = onReadable;
  }

  arm(): void {
    if (!this.#open || this.#armed) return;
    this.#armed = true;
    this.#file.waiters.add(this.#waiter);
    this.#alive = setInterval(() => {}, FOREVER);
    if (!this.#referenced) this.#alive.unref();
    if (this.#file.readable() === true) this.#schedule();
  }
  disarm(): void {
    this.#armed = false;
    this.#file.waiters.remove(this.#waiter);
    clearInterval(this.#alive);
    clearImmediate(this.#turn);
    this.#turn = undefined;
  }
  ref(): void {
    this.#referenced = true;
    this.#alive?.ref();
    this.#turn?.ref();
  }
  unref(): void {
    this.#referenced = false;
    this.#alive?.unref();
    this.#turn?.unref();
  }
  close(): void {
    if (!this.#open) return;
    this.disarm();
    this.#open = false;
    this.#file.release();
  }

  #schedule(): void {
    if (this.#turn !== undefined) return;
    this.#turn = setImmediate(() => {
      this.#turn = undefined;
      if (!this.#armed || this.#file.readable() !== true) return;
      this.disarm();
      this.#onReadable();
    });
    if (!this.#referenced) this.#turn.unref();
  }
}
