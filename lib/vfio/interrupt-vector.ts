// One interrupt of a device, with the eventfd that the library made for it.

import type { ReadEventsOptions } from '../host/event-reader.js';
import type { Eventfd } from '../host/eventfd.js';

/** What a vector asks of its index. */
export interface VectorOwner {
  trigger(start?: number, count?: number): void;
  mask(start?: number, count?: number): void;
  unmask(start?: number, count?: number): void;
}

/**
 * An interrupt that is on: made by `interrupts.enable`. `for await (const count of vector)` waits for it again and again;
 * `count` is how often it came since, as bigint. Gone when its index is turned off, or the device closed.
 */
export class InterruptVector {
  readonly #owner: VectorOwner;

  /** Not for callers: use `interrupts.enable`. */
  constructor(
    /** Its number within the index. */
    readonly index: number,
    /** Its eventfd, owned by the library: what KVM's irqfd takes. */
    readonly eventfd: Eventfd,
    owner: VectorOwner,
  ) {
    this.#owner = owner;
  }

  /** Waits for it: see `Eventfd.wait`. */
  wait(options?: ReadEventsOptions): Promise<bigint> {
    return this.eventfd.wait(options);
  }
  /** How often it came since it was last read, without waiting; 0n for never. */
  drain(): bigint {
    return this.eventfd.drain();
  }
  /** Waits for it again and again: see `Eventfd.read`. */
  read(options?: ReadEventsOptions): AsyncIterableIterator<bigint> {
    return this.eventfd.read(options);
  }
  [Symbol.asyncIterator](): AsyncIterableIterator<bigint> {
    return this.eventfd.read();
  }

  /** Makes it come without the device: to test what waits for it. */
  trigger(): void {
    this.#owner.trigger(this.index);
  }
  /** Holds it back: see `interrupts.mask`. */
  mask(): void {
    this.#owner.mask(this.index);
  }
  /** Lets it come again: see `interrupts.unmask`. */
  unmask(): void {
    this.#owner.unmask(this.index);
  }

  /** Lets a wait keep the process alive, as it does at first. */
  ref(): void {
    this.eventfd.ref();
  }
  /** Lets the process end while a wait is under way. */
  unref(): void {
    this.eventfd.unref();
  }

  toJSON(): Record<string, unknown> {
    return { type: 'InterruptVector', index: this.index, eventfd: this.eventfd.toJSON() };
  }
}
