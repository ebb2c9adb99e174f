// Events that a guest's IOMMU driver should see: translation faults, queue errors.
import { checkOptions, toU32 } from '../host/arguments.js';
import { outOfRange, UsageError } from '../host/errors.js';
import { EventReader, type EventSource, type ReadEventsOptions } from '../host/event-reader.js';
import { IOMMU_VEVENTQ_ALLOC } from '../uapi/iommufd.js';
import { call } from './call.js';
import { parseVevents, type Vevent } from './decode-events.js';
import { withEventFd } from './event-fd.js';
import { defaultVeventqType, VEVENT_PAYLOAD, type ViommuTypeName, veventqType } from './hardware-types.js';
import { checkAlive, context, idOf, KernelObject } from './kernel-object.js';
import type { Viommu } from './viommu.js';

export interface VeventqOptions {
  /** How many events may wait, 1 to 2^19: more are lost, and counted. */
  readonly depth: number;
  /** The kind of events; the vIOMMU's own kind if left out. */
  readonly type?: ViommuTypeName | number;
  /** For a kind given by number: bytes of an event's payload, which events do not tell themselves. */
  readonly payloadSize?: number;
}

/** Room for one read: far more than any event. */
const READ_SIZE = 64 * 1024;

/** What a queue is made from. */
export interface MadeVeventq {
  readonly source: EventSource;
  readonly type: number;
  readonly payload: number;
  readonly depth: number;
  /** The number that its next event should have; 0 if left out. */
  readonly expected?: number;
}

/** What only this package's own files see of a queue. */
interface VeventqInside {
  readonly reader: EventReader<Vevent>;
  readonly kind: number;
  readonly payload: number;
  readonly expected: number;
}

let insideOf: (queue: Veventq) => VeventqInside;

/** A queue of events of a vIOMMU (IOMMU_VEVENTQ_ALLOC, Linux 6.15): made by `viommu.allocVeventq`. */
export class Veventq extends KernelObject {
  readonly type = 'veventq';
  readonly viommu: Viommu;
  /** How many events may wait. */
  readonly depth: number;
  readonly #reader: EventReader<Vevent>;
  readonly #kind: number;
  readonly #payload: number;
  /** The number that the next event should have: a gap is what was lost. */
  #expected: number;

  static {
    insideOf = (queue) => ({
      reader: queue.#reader,
      kind: queue.#kind,
      payload: queue.#payload,
      expected: queue.#expected,
    });
  }

  /** Not for callers: use `viommu.allocVeventq`. */
  constructor(viommu: Viommu, id: number, made: MadeVeventq) {
    const letGo = () => {
      context(viommu).resources.eventSources.delete(made.source);
      this.#reader.close();
    };
    super(viommu.iommufd, context(viommu), id, [viommu], { before: letGo, abandon: letGo });
    this.viommu = viommu;
    this.depth = made.depth;
    const { type, payload } = made;
    this.#kind = type;
    this.#payload = payload;
    this.#expected = made.expected ?? 0;
    const parse = (view: DataView, at: number, length: number) => {
      const parsed = parseVevents(view, at, length, { type, payload, expected: this.#expected });
      this.#expected = parsed.expected;
      return parsed.events;
    };
    this.#reader = new EventReader(made.source, READ_SIZE, this.describe(), parse, this);
  }

  /** The fd that events are read from, for a VMM with an event loop of its own. Owned by this object. */
  get fd(): number {
    checkAlive(this);
    return this.#reader.fd;
  }

  /**
   * Waits for events: `for await (const event of queue.read({ signal }))`. Lost events are an event in their place, with
   * their count. One iterator at a time; it ends when the queue is destroyed; leaving it loses nothing. Keeps the process
   * alive unless `unref`'d.
   */
  read(options: ReadEventsOptions = {}): AsyncIterableIterator<Vevent> {
    checkAlive(this);
    return this.#reader.iterate(options);
  }

  /** The events that are there now. */
  drain(): Vevent[] {
    checkAlive(this);
    return this.#reader.drain();
  }

  /** Lets a wait keep the process alive, as it does at first. */
  ref(): void {
    checkAlive(this);
    this.#reader.ref();
  }
  /** Lets the process end while a wait is under way. */
  unref(): void {
    checkAlive(this);
    this.#reader.unref();
  }
}

/** How a queue is read, and what it is read by: for a live update. */
export function veventqBehind(queue: Veventq): VeventqInside {
  return insideOf(queue);
}

/** `viommu.allocVeventq`. */
export function allocVeventq(viommu: Viommu, options: VeventqOptions): Veventq {
  checkOptions(options, ['depth', 'type', 'payloadSize']);
  const depth = toU32(options?.depth, 'depth');
  if (depth < 1) throw outOfRange('depth', 'at least 1', depth);
  const { type: kind, payloadSize } = options;
  const type = kind === undefined ? defaultVeventqType(viommu.typeNumber) : veventqType(kind);
  if (type === undefined) {
    throw new UsageError(
      'ERR_IOMMUFD_UNAVAILABLE',
      `vIOMMU type ${viommu.viommuType} is not known here: give the type`,
    );
  }
  const payload = payloadSize === undefined ? VEVENT_PAYLOAD.get(type) : toU32(payloadSize, 'payloadSize');
  if (payload === undefined) {
    throw new UsageError('ERR_IOMMUFD_UNAVAILABLE', `event type ${type} is not known here: give payloadSize`);
  }
  if (payload < 1 || payload > READ_SIZE - 8)
    throw outOfRange('payloadSize', `between 1 and ${READ_SIZE - 8}`, payload);
  // After the options: reading them may run code of the caller's.
  checkAlive(viommu);
  const ctx = context(viommu);
  const out = call(ctx, IOMMU_VEVENTQ_ALLOC, { viommu_id: idOf(viommu), type, veventq_depth: depth });
  const { out_veventq_id: id, out_veventq_fd: fd } = out;
  return withEventFd(ctx, id, fd, (source) => new Veventq(viommu, id, { source, type, payload, depth }));
}
