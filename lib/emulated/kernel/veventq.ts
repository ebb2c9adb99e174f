// Virtual event queues: what a vIOMMU's hardware has to tell the guest (iommufd/eventq.c, driver.c).
import { ERRNO } from '../../uapi/errno.js';
import { iommu_veventq_flag, iommu_veventq_type } from '../../uapi/iommufd-constants.js';
import { iommu_veventq_alloc, iommufd_vevent_header } from '../../uapi/iommufd-structs.js';
import type { Command } from './command.js';
import { EventQueue } from './event-queue.js';
import { Fifo } from './fifo.js';
import { Viommu } from './viommu.js';

const AT = iommu_veventq_alloc.at;
const HEADER = iommufd_vevent_header;
const { IOMMU_VEVENTQ_FLAG_LOST_EVENTS } = iommu_veventq_flag.values;
const MAX_DEPTH = 2 ** 19;
/** Sequence numbers go up to here, and on from 0. */
const LAST_SEQUENCE = 0x7fffffff;

interface Event {
  readonly sequence: number;
  readonly data: Uint8Array;
}

export class Veventq extends EventQueue {
  readonly kind = 'veventq';
  /** The place of the next event, lost or not. */
  sequence = 0;
  readonly #events = new Fifo<Event>();
  /** The place of the last event that was lost, while nothing came after it: it is told behind all others. */
  #lost: number | undefined;

  constructor(
    readonly viommu: Viommu,
    readonly type: number,
    /** Events that wait at most. */
    readonly depth: number,
  ) {
    super(viommu.context);
    viommu.users++;
    viommu.veventqs.push(this);
  }

  destroy(): void {
    const { veventqs } = this.viommu;
    veventqs.splice(veventqs.indexOf(this), 1);
    this.viommu.users--;
  }

  /** Queues an event; where the queue is full it is lost, and its place in the sequence taken all the same. */
  report(data: Uint8Array): number {
    const allocated = this.context.kernel.allocates();
    const { sequence } = this;
    this.sequence = sequence === LAST_SEQUENCE ? 0 : sequence + 1;
    if (!allocated || this.#events.length === this.depth) {
      this.#lost = sequence;
    } else {
      this.#lost = undefined;
      this.#events.push({ sequence, data: data.slice() });
    }
    this.wake();
    return allocated ? 0 : -ERRNO.ENOMEM;
  }

  get pending(): boolean {
    return this.#events.length > 0 || this.#lost !== undefined;
  }

  readEvents(into: Uint8Array): number {
    if (into.length < HEADER.size) return -ERRNO.EINVAL;
    const view = new DataView(into.buffer, into.byteOffset, into.length);
    let done = 0;
    for (let event = this.#events.first; event !== undefined; event = this.#events.first) {
      const room = into.length - done;
      if (HEADER.size > room) return done;
      if (HEADER.size + event.data.length > room) return done === 0 ? -ERRNO.EINVAL : done;
      this.#events.shift();
      putHeader(view, done, 0, event.sequence);
      into.set(event.data, done + HEADER.size);
      done += HEADER.size + event.data.length;
    }
    return this.#readLost(view, done);
  }
  /** The header that tells of lost events has no data, and comes last. */
  #readLost(view: DataView, done: number): number {
    if (this.#lost === undefined) return done;
    if (!this.context.kernel.allocates()) return done === 0 ? -ERRNO.ENOMEM : done;
    if (HEADER.size > view.byteLength - done) return done;
    putHeader(view, done, IOMMU_VEVENTQ_FLAG_LOST_EVENTS, this.#lost);
    this.#lost = undefined;
    return done + HEADER.size;
  }
}

function putHeader(view: DataView, at: number, flags: number, sequence: number): void {
  view.setUint32(at + HEADER.at.flags, flags, true);
  view.setUint32(at + HEADER.at.sequence, sequence, true);
}

/** IOMMU_VEVENTQ_ALLOC. */
export function veventqAlloc(command: Command): number {
  const { objects, kernel } = command.context;
  const type = command.get(AT.type);
  const depth = command.get(AT.veventq_depth);
  const reserved = command.get(AT.flags) !== 0 || command.get(AT.__reserved) !== 0;
  if (reserved || type === iommu_veventq_type.values.IOMMU_VEVENTQ_TYPE_DEFAULT) return -ERRNO.EOPNOTSUPP;
  if (depth === 0 || depth > MAX_DEPTH) return -ERRNO.EINVAL;
  const viommu = objects.get(command.get(AT.viommu_id), Viommu);
  if (viommu === undefined) return -ERRNO.ENOENT;
  if (viommu.findVeventq(type) !== undefined) return -ERRNO.EEXIST;
  if (!kernel.allocates()) return -ERRNO.ENOMEM;
  const queue = new Veventq(viommu, type, depth);
  objects.reserve(queue);
  const fd = queue.open();
  if (fd < 0) {
    queue.destroy();
    objects.abort(queue);
    return fd;
  }
  command.set(AT.out_veventq_id, queue.id);
  command.set(AT.out_veventq_fd, fd);
  objects.publish(queue);
  return command.respond(iommu_veventq_alloc.size);
}
