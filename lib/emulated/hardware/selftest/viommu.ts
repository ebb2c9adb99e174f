// A virtual IOMMU of the mock: registers to map, caches of its devices to invalidate, and two hardware queues
// (iommufd/selftest.c).
import { ERRNO } from '../../../uapi/errno.js';
import { iommufd_hwpt_alloc_flags } from '../../../uapi/iommufd-constants.js';
import type { NestedDomain, ViommuDriver } from '../../kernel/driver.js';
import type { HwQueue } from '../../kernel/hw-queue.js';
import type { Kernel } from '../../kernel/kernel.js';
import type { UserArray, UserStruct } from '../../kernel/user-data.js';
import type { Viommu } from '../../kernel/viommu.js';
import { PAGE_SIZE } from '../../memory/backing.js';
import { HwQueueSlots } from './hw-queue-slots.js';
import { mockOf } from './mock-device.js';
import { readIotlb, SelftestNestedDomain } from './nested-domain.js';
import type { SelftestPagingDomain } from './paging-domain.js';
import { RegisterMemory } from './register-memory.js';
import {
  iommu_test_invalidate_flags,
  iommu_test_numbers,
  iommu_viommu_invalidate_selftest,
  iommu_viommu_selftest,
  mock_limits,
} from './uapi.js';

const NUMBERS = iommu_test_numbers.values;
const ALL = iommu_test_invalidate_flags.values.IOMMU_TEST_INVALIDATE_FLAG_ALL;
const { IOMMU_HWPT_ALLOC_PASID } = iommufd_hwpt_alloc_flags.values;
const DATA = iommu_viommu_selftest;
const INVALIDATE = iommu_viommu_invalidate_selftest;
/** The kernel gets no array longer than this from its allocator. */
const LONGEST_ARRAY = 4 * 1024 * 1024;

/** Registers that were lent to user space, and where. */
interface LentRegisters {
  readonly memory: RegisterMemory;
  readonly offset: number;
}

export class SelftestViommu implements ViommuDriver {
  readonly #kernel: Kernel;
  readonly #queues: HwQueueSlots;
  #registers: LentRegisters | undefined;

  constructor(
    readonly core: Viommu,
    readonly parent: SelftestPagingDomain,
    kernel: Kernel,
  ) {
    this.#kernel = kernel;
    this.#queues = new HwQueueSlots(parent);
  }

  /** Makes the registers that driver data asks for, and tells where to map them. */
  lendRegisters(data: UserStruct): number {
    const bytes = new Uint8Array(DATA.size);
    const view = new DataView(bytes.buffer);
    const copied = data.copyIn(NUMBERS.IOMMU_VIOMMU_TYPE_SELFTEST, DATA.end('out_data'), bytes);
    if (copied < 0) return copied;
    const { in_data } = DATA.decode(view, 0);
    // The vQUEUE patches had a single page.
    const length = this.#kernel.dialect === 'vqueue-v3' ? PAGE_SIZE : 2 * PAGE_SIZE;
    const backing = this.#kernel.allocates() ? this.#kernel.physical.allocate(length, length) : undefined;
    if (backing === undefined) return -ERRNO.ENOMEM;
    const memory = new RegisterMemory(backing);
    const region = this.core.allocMmap({ length, registers: memory });
    if (typeof region === 'number') {
      backing.drop();
      return region;
    }
    const { offset } = region;
    memory.write(0, 4, in_data);
    DATA.encode(view, 0, {
      in_data,
      out_data: in_data,
      out_mmap_offset: BigInt(offset),
      out_mmap_length: BigInt(length),
    });
    this.#registers = { memory, offset };
    const answered = data.copyOut(NUMBERS.IOMMU_VIOMMU_TYPE_SELFTEST, DATA.end('out_data'), bytes);
    if (answered < 0) this.destroy();
    return answered;
  }

  destroy(): void {
    if (this.#registers === undefined) return;
    const { memory, offset } = this.#registers;
    this.core.freeMmap(offset);
    memory.memory.drop();
    this.#registers = undefined;
  }

  allocNested(flags: number, data: UserStruct): NestedDomain | number {
    if ((flags & ~IOMMU_HWPT_ALLOC_PASID) !== 0) return -ERRNO.EOPNOTSUPP;
    const config = readIotlb(data, this.#kernel);
    if (typeof config === 'number') return config;
    return this.#kernel.allocates() ? new SelftestNestedDomain(this.parent, this, config.iotlb) : -ERRNO.ENOMEM;
  }

  invalidate(requests: UserArray): number {
    const { count } = requests;
    // An empty array only asks whether the type is known.
    if (count === 0 && requests.type === NUMBERS.IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST) return 0;
    if (count * INVALIDATE.size > LONGEST_ARRAY || !this.#kernel.allocates()) return -ERRNO.ENOMEM;
    const bytes = new Uint8Array(count * INVALIDATE.size);
    const view = new DataView(bytes.buffer);
    let refusal = requests.all(NUMBERS.IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST, INVALIDATE.size, bytes);
    let done = 0;
    while (refusal === 0 && done < count) {
      refusal = this.#invalidate(INVALIDATE.decode(view, done * INVALIDATE.size));
      if (refusal === 0) done++;
    }
    requests.count = done;
    return refusal;
  }
  #invalidate({ flags, vdev_id, cache_id }: { flags: number; vdev_id: number; cache_id: number }): number {
    if ((flags & ~ALL) !== 0) return -ERRNO.EOPNOTSUPP;
    if (cache_id > mock_limits.values.MOCK_DEV_CACHE_ID_MAX) return -ERRNO.EINVAL;
    const device = this.core.findDevice(BigInt(vdev_id));
    if (device === undefined) return -ERRNO.EINVAL;
    const { cache } = mockOf(device);
    if ((flags & ALL) !== 0) cache.fill(0);
    else cache[cache_id] = 0;
    return 0;
  }

  hasHwQueue(type: number): boolean {
    return type === NUMBERS.IOMMU_HW_QUEUE_TYPE_SELFTEST;
  }
  initHwQueue(queue: HwQueue, index: number, physical: number): (() => void) | number {
    return this.#queues.init(queue, index, physical);
  }
}
