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

/** What a wait came to: an event, its end with that of the iterator, or an error. */
type Outcome =
  | DeviceEvent
  | { readonly type: EventType; readonly left: true }
  | { readonly type: EventType; readonly failure: unknown };

/** The events of one device. They are listened to from the first `iterate` on, so that leaving a loop loses nothing. */
export class DeviceEvents {
  readonly #name: string;
  readonly #interrupts: (type: EventType) => VfioInterrupts;
  readonly #vectors = new Map<EventType, InterruptVector>();
  /** Waits under way, and those that came to an event which nobody has taken yet. */
  readonly #waits = new Map<EventType, Promise<Outcome>>();
  /** Stands for the iterator that runs, and ends its waits. */
  #current: AbortController | undefined;

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
    const current = new AbortController();
    this.#current = current;
    const events = this.#generate(current, signal);
    return {
      next: () => events.next(),
      // A wait would go on otherwise until there is an event.
      return: () => {
        this.#end(current);
        return events.return(undefined);
      },
      [Symbol.asyncIterator]() {
        return this;
      },
    };
  }

  async *#generate(current: AbortController, signal: AbortSignal | undefined): AsyncGenerator<DeviceEvent, undefined> {
    const left = current.signal;
    try {
      for (;;) {
        signal?.throwIfAborted();
        const outcome = await this.#first(left, signal === undefined ? [left] : [left, signal]);
        signal?.throwIfAborted();
        if (outcome === undefined || left.aborted) return undefined;
        this.#waits.delete(outcome.type);
        if ('count' in outcome) yield outcome;
        // It ended with the iterator before this one.
        else if ('left' in outcome) continue;
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
  async #first(left: AbortSignal, stops: readonly AbortSignal[]): Promise<Outcome | undefined> {
    for (const [type, { eventfd }] of this.#vectors) {
      if (!this.#waits.has(type)) this.#waits.set(type, outcomeOf(type, eventfd, left));
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

  /** The iterator is at its end, and so are its waits: what is waited for is kept, and keeps the process. */
  #end(current: AbortController): void {
    current.abort();
    if (this.#current === current) this.#current = undefined;
  }
}

/** A wait that never rejects. */
function outcomeOf(type: EventType, eventfd: Eventfd, left: AbortSignal): Promise<Outcome> {
  return eventfd.wait({ signal: left }).then(
    (count) => ({ type, count }),
    (failure: unknown) => (left.aborted && failure === left.reason ? { type, left: true } : { type, failure }),
  );
}
