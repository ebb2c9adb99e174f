// What happens to the device itself: errors that its bus reported, and the host's wish to have it back. They are two
// interrupt indexes, each with an eventfd; here they are one iterator.
import { checkOptions, checkSignal } from '../host/arguments.js';
import { IommufdError, UsageError } from '../host/errors.js';
import type { ReadEventsOptions } from '../host/event-reader.js';
import type { Eventfd } from '../host/eventfd.js';
import type { InterruptVector } from './interrupt-vector.js';
import type { VfioInterrupts } from './interrupts.js';

/**
 * `error`: the bus reported an uncorrectable error of the device (PCIe AER): what it does, and what its registers say, is
 * not to be trusted until it was reset. `request`: the host wants the device back, to give it to another driver or because
 * it is being unplugged, and waits until it is closed; it asks again every few seconds.
 */
export interface DeviceEvent {
  readonly type: 'error' | 'request';
  /** How often it came since the last event of this type. */
  readonly count: bigint;
}

type EventType = DeviceEvent['type'];
const TYPES: readonly EventType[] = ['error', 'request'];

/** What a wait came to. */
type Outcome = DeviceEvent | { readonly type: EventType; readonly failure: unknown };

/** The events of one device. They are listened to from the first `iterate` on, so that leaving a loop loses nothing. */
export class DeviceEvents {
  readonly #name: string;
  readonly #interrupts: (type: EventType) => VfioInterrupts;
  readonly #vectors = new Map<EventType, InterruptVector>();
  /** Waits under way, and those that came to an event which nobody has taken yet. */
  readonly #waits = new Map<EventType, Promise<Outcome>>();
  /** Stands for the iterator that runs. */
  #current: object | undefined;

  constructor(name: string, interrupts: (type: EventType) => VfioInterrupts) {
    this.#name = name;
    this.#interrupts = interrupts;
  }

  /** An iterator that waits for events; it ends when the device is closed. One at a time. */
  iterate(options: ReadEventsOptions): AsyncIterableIterator<DeviceEvent> {
    checkOptions(options, ['signal']);
    const { signal } = options;
    checkSignal(signal);
    if (this.#current !== undefined) {
      throw new UsageError(
        'ERR_IOMMUFD_BUSY',
        `events of ${this.#name} are being read already: one iterator at a time`,
      );
    }
    this.#listen();
    const left = new AbortController();
    const current = { left };
    this.#current = current;
    for (const vector of this.#vectors.values()) vector.ref();
    const events = this.#generate(current, left.signal, signal);
    return {
      next: () => events.next(),
      // A wait would go on otherwise until there is an event.
      return: () => {
        this.#end(current);
        left.abort();
        return events.return(undefined);
      },
      [Symbol.asyncIterator]() {
        return this;
      },
    };
  }

  async *#generate(
    current: object,
    left: AbortSignal,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<DeviceEvent, undefined> {
    try {
      for (;;) {
        signal?.throwIfAborted();
        const outcome = await this.#first(signal === undefined ? [left] : [left, signal]);
        signal?.throwIfAborted();
        if (outcome === undefined || left.aborted) return undefined;
        this.#waits.delete(outcome.type);
        if ('count' in outcome) yield outcome;
        else if (this.#vectors.get(outcome.type)?.eventfd.closed === false) throw outcome.failure;
        else return undefined;
      }
    } finally {
      this.#end(current);
    }
  }

  /** Turns on what the device has of the two; what is on stays so. */
  #listen(): void {
    const made: VfioInterrupts[] = [];
    try {
      for (const type of TYPES) {
        if (this.#vectors.get(type)?.eventfd.closed === false) continue;
        this.#vectors.delete(type);
        this.#waits.delete(type);
        const interrupts = this.#find(type);
        if (interrupts === undefined) continue;
        const [vector] = interrupts.enable({ count: 1 });
        made.push(interrupts);
        if (vector !== undefined) this.#vectors.set(type, vector);
      }
    } catch (error) {
      for (const interrupts of made) interrupts.disable();
      throw error;
    }
    if (this.#vectors.size > 0) return;
    throw new UsageError('ERR_IOMMUFD_UNAVAILABLE', `${this.#name} tells of neither errors nor requests`);
  }

  #find(type: EventType): VfioInterrupts | undefined {
    try {
      const interrupts = this.#interrupts(type);
      return interrupts.count > 0 ? interrupts : undefined;
    } catch (error) {
      // The answer of a device that has no such index: a mediated one, for example.
      if (error instanceof IommufdError && error.code === 'EINVAL') return undefined;
      throw error;
    }
  }

  /** What comes first; undefined where one of the signals does. */
  async #first(stops: readonly AbortSignal[]): Promise<Outcome | undefined> {
    for (const [type, { eventfd }] of this.#vectors) {
      if (!this.#waits.has(type)) this.#waits.set(type, outcomeOf(type, eventfd));
    }
    let stop = (): void => undefined;
    const stopped = new Promise<undefined>((resolve) => {
      stop = () => resolve(undefined);
      for (const signal of stops) signal.addEventListener('abort', stop);
      if (stops.some(({ aborted }) => aborted)) stop();
    });
    try {
      return await Promise.race([stopped, ...this.#waits.values()]);
    } finally {
      for (const signal of stops) signal.removeEventListener('abort', stop);
    }
  }

  /** The iterator is at its end: waits go on, but the process may end. */
  #end(current: object): void {
    if (this.#current !== current) return;
    this.#current = undefined;
    for (const vector of this.#vectors.values()) if (!vector.eventfd.closed) vector.unref();
  }
}

/** A wait that never rejects. It knows of nothing but the eventfd, so that a forgotten device can be collected. */
function outcomeOf(type: EventType, eventfd: Eventfd): Promise<Outcome> {
  return eventfd.wait().then(
    (count) => ({ type, count }),
    (failure: unknown) => ({ type, failure }),
  );
}
