// Page requests of devices: a fault queue delivers them, and answers go back through it.
import { oneOf, toU32 } from '../host/arguments.js';
import { IommufdError, invalidType } from '../host/errors.js';
import { EventReader, type EventSource, type ReadEventsOptions } from '../host/event-reader.js';
import {
  IOMMU_FAULT_QUEUE_ALLOC,
  iommu_hwpt_page_response,
  iommu_hwpt_pgfault,
  iommufd_page_response_code,
} from '../uapi/iommufd.js';
import { call } from './call.js';
import type { Context } from './context.js';
import { groupFaults, type PageFaultGroup, parseFaults } from './decode-events.js';
import { withEventFd } from './event-fd.js';
import type { Iommufd } from './iommufd.js';
import { checkAlive, KernelObject } from './kernel-object.js';

/** `success`: the page is there now, try again. `invalid`: it cannot be had, give up. */
export type FaultResponse = 'success' | 'invalid';

const CODES: Readonly<Record<FaultResponse, number>> = {
  success: iommufd_page_response_code.values.IOMMUFD_PAGE_RESP_SUCCESS,
  invalid: iommufd_page_response_code.values.IOMMUFD_PAGE_RESP_INVALID,
};
/** A read must be a multiple of the record size, and hold the largest group: far more than a device may have open. */
const READ_SIZE = iommu_hwpt_pgfault.size * 2048;

let readerOf: (queue: FaultQueue) => EventReader<PageFaultGroup>;

/** Where page requests arrive (IOMMU_FAULT_QUEUE_ALLOC, Linux 6.11): made by `iommufd.allocFaultQueue()`. */
export class FaultQueue extends KernelObject {
  readonly type = 'fault-queue';
  readonly #context: Context;
  readonly #reader: EventReader<PageFaultGroup>;

  static {
    readerOf = (queue) => queue.#reader;
  }

  /** Not for callers: use `iommufd.allocFaultQueue()`. */
  constructor(iommufd: Iommufd, ctx: Context, id: number, source: EventSource) {
    super(iommufd, ctx, id, [], {
      before: () => {
        // While a page table sends faults here the kernel refuses: the queue must go on then.
        if (this.heldBy.length > 0) return;
        ctx.resources.eventSources.delete(source);
        this.#reader.close();
      },
      abandon: () => {
        ctx.resources.eventSources.delete(source);
        this.#reader.close();
      },
    });
    this.#context = ctx;
    const parse = (view: DataView, at: number, length: number) => groupFaults(parseFaults(view, at, length));
    this.#reader = new EventReader(source, READ_SIZE, this.describe(), parse, this);
  }

  /** The fd that requests are read from, for a VMM with an event loop of its own. Owned by this object. */
  get fd(): number {
    checkAlive(this);
    return this.#reader.fd;
  }

  /**
   * Waits for page requests: `for await (const group of queue.read({ signal }))`. Each group must be answered with
   * `respond`. One iterator at a time; it ends when the queue is destroyed. Keeps the process alive unless `unref`'d.
   */
  read(options: ReadEventsOptions = {}): AsyncIterableIterator<PageFaultGroup> {
    checkAlive(this);
    return this.#reader.iterate(options);
  }

  /** The page requests that are there now. */
  drain(): PageFaultGroup[] {
    checkAlive(this);
    return this.#reader.drain();
  }

  /**
   * Answers a group of page requests.
   * @param group the group, or its cookie
   * @throws IommufdError EINVAL (no unanswered group has this cookie: it was answered, or its device detached)
   */
  respond(group: PageFaultGroup | number, response: FaultResponse): void {
    checkAlive(this);
    if (typeof group !== 'number' && (typeof group !== 'object' || group === null)) {
      throw invalidType('group', 'a page fault group or its cookie', group);
    }
    const cookie = toU32(typeof group === 'number' ? group : group.cookie, 'cookie');
    const code = CODES[oneOf(response, ['success', 'invalid'], 'response')];
    const { fd } = this.#reader;
    const { arena } = this.#context.seam;
    const mark = arena.mark();
    const at = arena.take(iommu_hwpt_page_response.size);
    iommu_hwpt_page_response.encode(arena.view, at, { cookie, code });
    const result = this.#context.seam.write(fd, at, iommu_hwpt_page_response.size);
    arena.release(mark);
    if (result < 0) throw new IommufdError('write', result, { cookie, response }, 'page response');
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

/** How a queue is read: for a live update. */
export function faultReader(queue: FaultQueue): EventReader<PageFaultGroup> {
  return readerOf(queue);
}

/** `iommufd.allocFaultQueue`. */
export function allocFaultQueue(iommufd: Iommufd, ctx: Context): FaultQueue {
  const { out_fault_id: id, out_fault_fd: fd } = call(ctx, IOMMU_FAULT_QUEUE_ALLOC, {});
  return withEventFd(ctx, id, fd, (source) => new FaultQueue(iommufd, ctx, id, source));
}
