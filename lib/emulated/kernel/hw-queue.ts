// HW queues: memory of the guest's that hardware reads commands from, by itself (iommufd/viommu.c).
import { ERRNO } from '../../uapi/errno.js';
import { iommu_hw_queue_type } from '../../uapi/iommufd-constants.js';
import { iommu_hw_queue_alloc } from '../../uapi/iommufd-structs.js';
import { PAGE_SIZE } from '../memory/backing.js';
import { type Access, createInternalAccess } from './access.js';
import type { Command } from './command.js';
import type { PinnedPage } from './driver.js';
import type { Ioas } from './ioas.js';
import { IommufdObject } from './object-table.js';
import { Viommu } from './viommu.js';

const AT = iommu_hw_queue_alloc.at;
const PAGE = BigInt(PAGE_SIZE);
const END = 1n << 64n;
/** Pages whose list the kernel can allocate: it must be shorter than 2 GiB, at 8 bytes a page. */
const MAX_PAGES = 2n ** 28n;

export class HwQueue extends IommufdObject {
  readonly kind = 'hw-queue';
  /** Keeps the memory where it is: the hardware knows only its physical address. */
  #access: Access | undefined;
  #undo: (() => void) | undefined;

  constructor(
    readonly viommu: Viommu,
    readonly type: number,
    /** Which of the vIOMMU's queues. */
    readonly index: number,
    /** Where it starts in the guest's physical memory. */
    readonly baseAddress: bigint,
    readonly length: bigint,
  ) {
    super();
    viommu.users++;
  }

  /** Pins the memory and tells the driver; 0 or -errno. */
  init(): number {
    const physical = this.#pin();
    if (physical < 0) return physical;
    const undo = this.viommu.driver.initHwQueue?.(this, this.index, physical);
    if (typeof undo === 'number') return undo;
    this.#undo = undo;
    return 0;
  }

  destroy(): void {
    this.#undo?.();
    if (this.#access !== undefined) {
      this.#access.unpinPages(this.#start, this.#pinned);
      this.#access.detach();
      this.#access.destroyUser();
    }
    this.viommu.users--;
  }

  /** This queue needs another one: that stays until `undepend`. */
  dependOn(other: HwQueue): number {
    if (other === this) return -ERRNO.EINVAL;
    other.users++;
    return 0;
  }
  undepend(other: HwQueue): void {
    other.users--;
  }

  get #offset(): bigint {
    return this.baseAddress % PAGE;
  }
  get #start(): bigint {
    return this.baseAddress - this.#offset;
  }
  /** Bytes of the pages it lies in. */
  get #pinned(): bigint {
    return ((this.#offset + this.length + PAGE - 1n) / PAGE) * PAGE;
  }

  /** Answers the physical address, or -errno. */
  #pin(): number {
    const { context, hwpt } = this.viommu;
    if (this.#offset + this.length + PAGE - 1n >= END) return -ERRNO.ERANGE;
    if (this.#pinned / PAGE >= MAX_PAGES || !context.kernel.allocates()) return -ERRNO.ENOMEM;
    const access = createInternalAccess(context);
    if (typeof access === 'number') return access;
    const attached = access.attachInternal(hwpt.ioas);
    if (attached < 0) {
      access.destroyUser();
      return attached;
    }
    const pages = access.pinPages(this.#start, this.#pinned, false);
    if (typeof pages === 'number') {
      access.detach();
      access.destroyUser();
      return pages;
    }
    this.#access = access;
    return contiguous(pages) ? frameOf(pages[0]) * PAGE_SIZE + Number(this.#offset) : -ERRNO.EFAULT;
  }
}

function frameOf(page: PinnedPage | undefined): number {
  if (page === undefined) throw new Error('nothing is pinned');
  return page.backing.frame(page.page);
}

/** Whether pages follow each other in physical memory. */
function contiguous(pages: readonly PinnedPage[]): boolean {
  const first = frameOf(pages[0]);
  return pages.every((page, i) => frameOf(page) === first + i);
}

function isMapped({ iopt }: Ioas, iova: bigint): boolean {
  return iopt.contiguous(iova, iova, () => undefined) !== 'gap';
}

/** IOMMU_HW_QUEUE_ALLOC. */
export function hwQueueAlloc(command: Command): number {
  const { context } = command;
  const { objects, kernel } = context;
  const type = command.get(AT.type);
  const base = command.get64(AT.nesting_parent_iova);
  const length = command.get64(AT.length);
  if (command.get(AT.flags) !== 0 || type === iommu_hw_queue_type.values.IOMMU_HW_QUEUE_TYPE_DEFAULT) {
    return -ERRNO.EOPNOTSUPP;
  }
  if (length === 0n || (kernel.dialect === 'vqueue-v3' && base === 0n)) return -ERRNO.EINVAL;
  if (base + length > END) return -ERRNO.EOVERFLOW;
  const viommu = objects.get(command.get(AT.viommu_id), Viommu);
  if (viommu === undefined) return -ERRNO.ENOENT;
  const { driver, hwpt } = viommu;
  if (driver.initHwQueue === undefined || driver.hasHwQueue?.(type) !== true) return -ERRNO.EOPNOTSUPP;
  if (kernel.dialect === 'vqueue-v3' && !isMapped(hwpt.ioas, base)) return -ERRNO.ENXIO;
  if (!kernel.allocates()) return -ERRNO.ENOMEM;
  const queue = new HwQueue(viommu, type, command.get(AT.index), base, length);
  objects.reserve(queue);
  command.made = queue;
  const refusal = queue.init();
  if (refusal < 0) return refusal;
  command.set(AT.out_hw_queue_id, queue.id);
  return command.respond(iommu_hw_queue_alloc.size);
}
