// What each interrupt of an index is connected to, as far as this process did it.
import type { EventfdLike } from '../host/eventfd.js';
import type { InterruptVector } from './interrupt-vector.js';

/** The kernel and KVM forget a connection whose eventfd is closed: it is kept here, and with it from being collected. */
interface Wire {
  readonly eventfd: EventfdLike;
  /** Where the eventfd is the library's own. */
  readonly vector?: InterruptVector;
}

export class Wires {
  readonly #wires = new Map<number, Wire>();

  /** The numbers of what is connected. */
  get numbers(): number[] {
    return [...this.#wires.keys()].sort((a, b) => a - b);
  }
  get size(): number {
    return this.#wires.size;
  }
  has(number: number): boolean {
    return this.#wires.has(number);
  }

  set(number: number, eventfd: EventfdLike, vector?: InterruptVector): void {
    this.#wires.set(number, vector === undefined ? { eventfd } : { eventfd, vector });
  }
  /** Takes one out, which others may have put in; what is answered is to be closed. */
  take(number: number): Wire | undefined {
    const wire = this.#wires.get(number);
    this.#wires.delete(number);
    return wire;
  }
  /** Takes one out and closes it, if it is still to this eventfd. */
  drop(number: number, eventfd: EventfdLike): void {
    if (this.#wires.get(number)?.eventfd === eventfd) closeWire(this.take(number));
  }
  /** Takes all out, and closes them. */
  clear(): void {
    const wires = [...this.#wires.values()];
    this.#wires.clear();
    for (const wire of wires) closeWire(wire);
  }
}

/** Closes an eventfd of the library's own; the caller's stay. */
export function closeWire(wire: Wire | undefined): void {
  wire?.vector?.eventfd.close();
}
