// The legacy interrupt line (the INTx half of vfio_pci_intrs.c): masked as soon as it fires, until the program unmasks it.
import { ERRNO } from '../../../uapi/errno.js';
import type { EventFile } from '../event-file.js';
import type { PciHardware } from './hardware.js';
import type { OpenFunction } from './open-function.js';
import { Virqfd } from './virqfd.js';

export class Intx {
  readonly kind = 'intx';
  readonly #open: OpenFunction;
  readonly #hardware: PciHardware;
  #trigger: EventFile | undefined;
  #masked: boolean;
  #unmaskOn: Virqfd | undefined;

  /** `disabled`: by the command register that the program sees. */
  constructor(open: OpenFunction, trigger: EventFile | undefined, disabled: boolean) {
    this.#open = open;
    this.#hardware = open.hardware;
    this.#trigger = trigger;
    this.#masked = disabled;
  }
  /** The line is let through, if it is not masked from the start: a device that waits fires at once. */
  start(): void {
    this.#hardware.setIntx(!this.#masked);
    if (!this.#masked && this.#hardware.intxPending) this.#fire();
  }
  stop(): void {
    this.#unmaskOn?.disable();
  }

  setTrigger(trigger: EventFile | undefined): void {
    this.#trigger = trigger;
  }
  /** Tells the program, unless it disabled the line. */
  signal(): void {
    if (!this.#open.interrupts.intxDisabled) this.#trigger?.signal();
  }
  /** The line changed. */
  changed(level: boolean): void {
    if (level) this.#fire();
  }
  #fire(): void {
    if (this.#masked) return;
    this.#masked = true;
    this.#hardware.setIntx(false);
    this.signal();
  }

  /** Answers whether it was not masked before. */
  mask(): boolean {
    if (this.#masked) return false;
    this.#masked = true;
    this.#hardware.setIntx(false);
    return true;
  }
  unmask(): void {
    if (this.#unmask()) this.signal();
  }
  /** What still waits stays masked, and is told again: answers true for that. */
  #unmask(): boolean {
    if (!this.#masked || this.#open.interrupts.intxDisabled) return false;
    const waits = this.#hardware.intxPending;
    this.#masked = waits;
    if (!waits) this.#hardware.setIntx(true);
    return waits;
  }
  /** Unmasks whenever an eventfd is signalled; never again for a negative fd. */
  unmaskOn(fd: number): number {
    if (fd < 0) {
      this.#unmaskOn?.disable();
      this.#unmaskOn = undefined;
      return 0;
    }
    const { kernel, process } = this.#open;
    const signal = (): void => this.signal();
    const virqfd = Virqfd.enable(kernel, process, fd, () => (this.#unmask() ? signal : undefined), this.#unmaskOn);
    if (typeof virqfd === 'number') return virqfd;
    this.#unmaskOn = virqfd;
    return 0;
  }
}

/** -EINVAL where another kind is on, -ENODEV for a function without a line, -ENOMEM. */
export function refusesIntx(open: OpenFunction): number {
  if (open.interrupts.kind !== undefined) return -ERRNO.EINVAL;
  if (open.hardware.fn.vectors.intx === 0) return -ERRNO.ENODEV;
  return open.kernel.allocates() ? 0 : -ERRNO.ENOMEM;
}
