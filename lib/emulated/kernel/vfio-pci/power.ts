// Low power as programs allow it (the runtime power management of vfio_pci_core.c). The device sleeps while nobody makes a call
// on it: Linux leaves that to a work queue, so that it takes a turn of the event loop here. The next call wakes it, and with a
// wake-up eventfd that ends it.
import { ERRNO } from '../../../uapi/errno.js';
import type { EventFile } from '../event-file.js';
import type { OpenFunction } from './open-function.js';

export class Power {
  readonly #open: OpenFunction;
  /** Calls under way, and one for as long as low power was not allowed. */
  #uses = 1;
  #engaged = false;
  #asleep = false;
  #wakeup: EventFile | undefined;
  /** The line was masked because of sleep. */
  #maskedIntx = false;

  constructor(open: OpenFunction) {
    this.#open = open;
  }

  /** Low power was allowed: mapped BARs do not answer. */
  get engaged(): boolean {
    return this.#engaged;
  }

  /** Allows low power from now on: -EINVAL where it was. */
  enter(wakeup: EventFile | undefined): number {
    this.#open.dmaBufs.move(true);
    if (this.#engaged) return -ERRNO.EINVAL;
    this.#engaged = true;
    this.#wakeup = wakeup;
    this.#uses--;
    return 0;
  }
  exit(): void {
    this.#exit();
    if (this.#open.config.memoryEnabled) this.#open.dmaBufs.move(false);
  }
  #exit(): void {
    if (!this.#engaged) return;
    this.#engaged = false;
    this.#wakeup = undefined;
    this.#uses++;
  }

  /** A call starts. */
  get(): void {
    this.#uses++;
    if (this.#asleep) this.#wake();
  }
  /** A call is over. */
  put(): void {
    if (--this.#uses === 0) setImmediate(() => this.#sleep()).unref();
  }
  /** The device is closed: it is not let sleep any more, and nobody is told of that. */
  stop(): void {
    this.#exit();
    if (this.#asleep) this.#wake();
  }
  #sleep(): void {
    if (this.#uses > 0 || this.#asleep) return;
    this.#asleep = true;
    this.#open.hardware.setPower(0);
    const { interrupts } = this.#open;
    this.#maskedIntx = interrupts.kind === 'intx' && interrupts.maskIntx();
  }
  #wake(): void {
    this.#asleep = false;
    const wakeup = this.#wakeup;
    if (wakeup !== undefined) {
      this.#exit();
      wakeup.signal();
    }
    if (this.#maskedIntx) this.#open.interrupts.unmaskIntx();
    this.#maskedIntx = false;
  }
}
