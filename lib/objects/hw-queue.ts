// The vQUEUE: a queue in guest memory that the IOMMU hardware reads by itself, with registers that a VMM maps into the
// guest. Linux calls it HW_QUEUE.
import { checkOptions, toU32, toU64, type U64 } from '../host/arguments.js';
import { outOfRange, UsageError } from '../host/errors.js';
import type { MmioRegion } from '../host/mmio.js';
import { IOMMU_HW_QUEUE_ALLOC } from '../uapi/iommufd.js';
import { call } from './call.js';
import { defaultHwQueueType, type HwQueueTypeName, hwQueueType } from './hardware-types.js';
import { checkAlive, context, holders, idOf, KernelObject } from './kernel-object.js';
import type { MmapOptions, MmapRegion, Viommu } from './viommu.js';

export interface HwQueueOptions {
  /** Which of the vIOMMU's queues: from 0 in ascending order. */
  readonly index: number;
  /** Where the queue lies in the guest's physical memory: an IOVA of the nesting parent, aligned to its length. */
  readonly iova: U64;
  /** Bytes: a power of two on Tegra241, at least 32. Its pages must be physically contiguous. */
  readonly length: U64;
  /** The kind of queue; the vIOMMU's own kind if left out. */
  readonly type?: HwQueueTypeName | number;
}

/**
 * A hardware queue (IOMMU_HW_QUEUE_ALLOC, Linux 6.17): made by `viommu.allocHwQueue`. Its pages stay pinned while it
 * lives, and cannot be unmapped from the IOAS. Queues are made in ascending index and destroyed in descending index.
 */
export class HwQueue extends KernelObject {
  readonly type = 'hw-queue';
  readonly viommu: Viommu;
  readonly index: number;
  /** Where it lies in the guest's physical memory. */
  readonly iova: bigint;
  /** Bytes. */
  readonly length: bigint;
  readonly #type: number;

  /** Not for callers: use `viommu.allocHwQueue`. */
  constructor(viommu: Viommu, id: number, made: { type: number; index: number; iova: bigint; length: bigint }) {
    const before = queueBefore(viommu, made.type, made.index);
    super(viommu.iommufd, context(viommu), id, before === undefined ? [viommu] : [viommu, before]);
    this.viommu = viommu;
    this.index = made.index;
    this.iova = made.iova;
    this.length = made.length;
    this.#type = made.type;
  }

  /** The number of its kind. */
  get typeNumber(): number {
    return this.#type;
  }

  /** What mmap(2) takes to map the registers: the vIOMMU's pair, shared by all of its queues. */
  get mmapRegion(): MmapRegion {
    checkAlive(this);
    return this.viommu.mmapRegion;
  }

  /**
   * Maps the registers, of any length up to the region's, always from its start. Destroying the queue leaves the mapping
   * alone; it holds the vIOMMU.
   * @throws RangeError (longer than the region, or empty), UsageError ERR_IOMMUFD_UNAVAILABLE (no registers)
   */
  mmap(options: MmapOptions = {}): MmioRegion {
    checkAlive(this);
    return this.viommu.mmap(options);
  }
}

/** A queue holds the one with the index before it. */
function queueBefore(viommu: Viommu, type: number, index: number): HwQueue | undefined {
  return holders(viommu).find(
    (holder): holder is HwQueue =>
      holder instanceof HwQueue && holder.typeNumber === type && holder.index === index - 1,
  );
}

/** `viommu.allocHwQueue`. */
export function allocHwQueue(viommu: Viommu, options: HwQueueOptions): HwQueue {
  checkOptions(options, ['index', 'iova', 'length', 'type']);
  const index = toU32(options?.index, 'index');
  const iova = toU64(options.iova, 'iova');
  const length = toU64(options.length, 'length');
  if (length === 0n) throw outOfRange('length', 'at least 1', length);
  const { type: kind } = options;
  const type = kind === undefined ? defaultHwQueueType(viommu.typeNumber) : hwQueueType(kind);
  // After the options: reading them may run code of the caller's.
  checkAlive(viommu);
  if (type === undefined) {
    throw new UsageError(
      'ERR_IOMMUFD_UNAVAILABLE',
      `vIOMMU type ${viommu.viommuType} has no hardware queue known here: give the type`,
    );
  }
  const input = { viommu_id: idOf(viommu), type, index, nesting_parent_iova: iova, length };
  const out = call(context(viommu), IOMMU_HW_QUEUE_ALLOC, input);
  return new HwQueue(viommu, out.out_hw_queue_id, { type, index, iova, length });
}
