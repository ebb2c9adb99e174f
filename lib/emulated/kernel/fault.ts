// Fault queues: page requests of devices, read from a file and answered there (iommufd/eventq.c).
import { ERRNO } from '../../uapi/errno.js';
import { iommu_hwpt_pgfault_flags } from '../../uapi/iommufd-constants.js';
import { iommu_fault_alloc, iommu_hwpt_page_response, iommu_hwpt_pgfault } from '../../uapi/iommufd-structs.js';
import type { Command } from './command.js';
import type { PageRequest } from './driver.js';
import { EventQueue } from './event-queue.js';
import { Fifo } from './fifo.js';
import type { AttachHandle } from './iommu-group.js';
import { type PageRequestGroup, RESPONSE } from './page-requests.js';

const AT = iommu_fault_alloc.at;
const FAULT = iommu_hwpt_pgfault;
const ANSWER = iommu_hwpt_page_response;
const { IOMMU_PGFAULT_FLAGS_PASID_VALID, IOMMU_PGFAULT_FLAGS_LAST_PAGE } = iommu_hwpt_pgfault_flags.values;

export class Fault extends EventQueue {
  readonly kind = 'fault-queue';
  readonly #unread = new Fifo<PageRequestGroup>();
  readonly #unanswered = new Unanswered();

  destroy(): void {
    this.#giveUp(() => true);
  }

  /** A group of requests through a domain that has this queue. */
  deliver(group: PageRequestGroup): void {
    this.#unread.push(group);
    this.wake();
  }

  /** A device leaves a domain: nobody will answer what it asked there. */
  autoRespond(handle: AttachHandle): void {
    this.#giveUp((group) => group.handle === handle);
  }
  #giveUp(matches: (group: PageRequestGroup) => boolean): void {
    for (const group of this.#unread.take(matches)) group.respond(RESPONSE.invalid);
    for (const group of this.#unanswered.take(matches)) group.respond(RESPONSE.invalid);
  }

  get pending(): boolean {
    return this.#unread.length > 0;
  }

  /** Whole groups only. */
  readEvents(into: Uint8Array): number {
    if (into.length % FAULT.size !== 0) return -ERRNO.ESPIPE;
    const view = new DataView(into.buffer, into.byteOffset, into.length);
    let done = 0;
    for (let group = this.#unread.first; group !== undefined; group = this.#unread.first) {
      const { requests } = group;
      if (requests.length * FAULT.size > into.length - done) {
        // Linux 6.12 calls that nothing to read.
        return done === 0 && this.context.kernel.linux !== '6.12' ? -ERRNO.EINVAL : done;
      }
      if (!this.context.kernel.allocates()) return done === 0 ? -ERRNO.ENOMEM : done;
      this.#unread.shift();
      const cookie = this.#unanswered.add(group);
      for (const request of requests) {
        putFault(view, done, request, group.handle.device.id, cookie);
        done += FAULT.size;
      }
    }
    return done;
  }

  /** Answers, each for a group that was read. */
  override writeEvents(from: Uint8Array): number {
    if (from.length % ANSWER.size !== 0) return -ERRNO.ESPIPE;
    const view = new DataView(from.buffer, from.byteOffset, from.length);
    for (let done = 0; done < from.length; done += ANSWER.size) {
      if (!this.#answer(view, done)) return done === 0 ? -ERRNO.EINVAL : done;
    }
    return from.length;
  }
  #answer(view: DataView, at: number): boolean {
    const code = view.getUint32(at + ANSWER.at.code, true);
    if (code !== RESPONSE.success && code !== RESPONSE.invalid) return false;
    const group = this.#unanswered.remove(view.getUint32(at + ANSWER.at.cookie, true));
    group?.respond(code);
    return group !== undefined;
  }
}

/** Groups that were read, by cookie: the lowest free number, from 1 on unless somebody has answered 0. */
class Unanswered {
  readonly #groups = new Map<number, PageRequestGroup>();
  /** No cookie below this one is free. */
  #lowest = 1;

  add(group: PageRequestGroup): number {
    let cookie = this.#lowest;
    while (this.#groups.has(cookie)) cookie++;
    this.#lowest = cookie + 1;
    this.#groups.set(cookie, group);
    return cookie;
  }
  remove(cookie: number): PageRequestGroup | undefined {
    const group = this.#groups.get(cookie);
    // The kernel's array holds 0 with an entry of its own as long as it holds any other, and gives that away here.
    if (cookie === 0 && group === undefined && this.#groups.size > 0) this.#lowest = 0;
    if (group === undefined) return undefined;
    this.#groups.delete(cookie);
    this.#lowest = Math.min(this.#lowest, cookie);
    return group;
  }
  /** Takes out all that match, by cookie. */
  take(matches: (group: PageRequestGroup) => boolean): PageRequestGroup[] {
    const found = [...this.#groups].filter(([, group]) => matches(group)).sort(([a], [b]) => a - b);
    for (const [cookie] of found) this.remove(cookie);
    return found.map(([, group]) => group);
  }
}

function putFault(view: DataView, at: number, request: PageRequest, device: number, cookie: number): void {
  const pasid = request.hasPasid ? IOMMU_PGFAULT_FLAGS_PASID_VALID : 0;
  FAULT.encode(view, at, {
    flags: pasid | (request.last ? IOMMU_PGFAULT_FLAGS_LAST_PAGE : 0),
    dev_id: device,
    pasid: request.pasid,
    grpid: request.group,
    perm: request.perm,
    addr: request.address,
    cookie,
  });
}

/** IOMMU_FAULT_QUEUE_ALLOC. */
export function faultQueueAlloc(command: Command): number {
  const { context } = command;
  if (command.get(AT.flags) !== 0) return -ERRNO.EOPNOTSUPP;
  if (!context.kernel.allocates()) return -ERRNO.ENOMEM;
  const queue = new Fault(context);
  context.objects.reserve(queue);
  command.made = queue;
  const fd = queue.open();
  if (fd < 0) return fd;
  command.set(AT.out_fault_id, queue.id);
  command.set(AT.out_fault_fd, fd);
  return command.respond(iommu_fault_alloc.size);
}
