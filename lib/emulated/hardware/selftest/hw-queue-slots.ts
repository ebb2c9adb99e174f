// The hardware queues of a vIOMMU of the mock: two, of which the second one needs the first. They execute nothing
// (iommufd/selftest.c).
import { ERRNO } from '../../../uapi/errno.js';
import type { HwQueue } from '../../kernel/hw-queue.js';
import type { SelftestPagingDomain } from './paging-domain.js';
import { mock_limits } from './uapi.js';

const COUNT = mock_limits.values.IOMMU_TEST_HW_QUEUE_MAX;

export class HwQueueSlots {
  readonly #parent: SelftestPagingDomain;
  readonly #slots = new Array<HwQueue | undefined>(COUNT).fill(undefined);

  constructor(parent: SelftestPagingDomain) {
    this.#parent = parent;
  }

  /** Answers what undoes it. */
  init(queue: HwQueue, index: number, physical: number): (() => void) | number {
    if (index >= COUNT) return -ERRNO.EINVAL;
    if (this.#slots[index] !== undefined) return -ERRNO.EEXIST;
    const previous = index === 0 ? undefined : this.#slots[index - 1];
    if (index > 0 && previous === undefined) return -ERRNO.EIO;
    if (physical !== this.#parent.physical(Number(queue.baseAddress))) return -ERRNO.EFAULT;
    const refusal = previous === undefined ? 0 : queue.dependOn(previous);
    if (refusal < 0) return refusal;
    this.#slots[index] = queue;
    return () => this.#destroyed(queue, previous);
  }

  /** Linux 7.3 never notes a queue's index here, so that the first place is freed whichever queue goes. */
  #destroyed(queue: HwQueue, previous: HwQueue | undefined): void {
    this.#slots[0] = undefined;
    if (previous !== undefined) queue.undepend(previous);
  }
}
