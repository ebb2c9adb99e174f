// A virtual SMMUv3: struct arm_vsmmu (arm-smmu-v3-iommufd.c). An implementation's own types are made on top of it.
import { ERRNO } from '../../../../uapi/errno.js';
import { iommu_hwpt_data_type, iommu_hwpt_invalidate_data_type } from '../../../../uapi/iommufd-constants.js';
import { iommu_hwpt_arm_smmuv3, iommu_viommu_arm_smmuv3_invalidate } from '../../../../uapi/iommufd-driver-data.js';
import type { NestedDomain, ViommuDriver } from '../../../kernel/driver.js';
import type { UserArray, UserStruct } from '../../../kernel/user-data.js';
import type { Viommu } from '../../../kernel/viommu.js';
import type { Smmu } from '../smmu.js';
import { smmuDeviceOf } from './device.js';
import { GuestQueue } from './guest-queue.js';
import type { Smmuv3Iommu } from './iommu.js';
import { Smmuv3NestedDomain } from './nested-domain.js';
import type { Smmuv3PagingDomain } from './paging-domain.js';
import { checkEntry, STE_WORDS } from './stream-table-entry.js';

const ENTRY = iommu_hwpt_arm_smmuv3;
const ENTRY_TYPE = iommu_hwpt_data_type.values.IOMMU_HWPT_DATA_ARM_SMMUV3;
const COMMAND = iommu_viommu_arm_smmuv3_invalidate;
const COMMAND_TYPE = iommu_hwpt_invalidate_data_type.values.IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3;
/** The kernel gets no array longer than this from its allocator. */
const LONGEST_ARRAY = 4 * 1024 * 1024;
const WORD_BYTES = 4;

export class Smmuv3Viommu implements ViommuDriver {
  readonly #iommu: Smmuv3Iommu;
  readonly #queue: GuestQueue;

  constructor(
    readonly core: Viommu,
    /** Stage 2: the guest's physical memory. */
    readonly parent: Smmuv3PagingDomain,
    iommu: Smmuv3Iommu,
  ) {
    this.#iommu = iommu;
    this.#queue = new GuestQueue(iommu, parent.vmid, (virtId) => this.#streamOf(virtId));
  }

  get smmu(): Smmu {
    return this.#iommu.smmu;
  }
  get vmid(): number {
    return this.parent.vmid;
  }
  destroy(): void {}

  allocNested(flags: number, data: UserStruct): NestedDomain | number {
    if (flags !== 0) return -ERRNO.EOPNOTSUPP;
    const bytes = new Uint8Array(ENTRY.size);
    const copied = data.copyIn(ENTRY_TYPE, ENTRY.end('ste'), bytes);
    if (copied < 0) return copied;
    const view = new DataView(bytes.buffer);
    const entry = checkEntry(Uint32Array.from({ length: STE_WORDS }, (_, i) => view.getUint32(i * WORD_BYTES, true)));
    if (typeof entry === 'number') return entry;
    return this.#iommu.kernel.allocates() ? new Smmuv3NestedDomain(this, entry) : -ERRNO.ENOMEM;
  }

  /** Each device has one StreamID, as all PCI devices have, so that none is refused. */
  initVdevice(): () => void {
    return () => {};
  }

  /** Carries out commands of the guest's (arm_vsmmu_cache_invalidate). */
  invalidate(requests: UserArray): number {
    const { count } = requests;
    const size = count * COMMAND.size;
    if (count > 0 && (size > LONGEST_ARRAY || !this.#iommu.kernel.allocates())) return -ERRNO.ENOMEM;
    const bytes = new Uint8Array(size);
    const copied = requests.all(COMMAND_TYPE, COMMAND.size, bytes);
    const answer = copied < 0 ? copied : this.#queue.run(new DataView(bytes.buffer), count);
    requests.count = copied < 0 ? 0 : this.#queue.done;
    return answer;
  }
  /** The StreamID of the device that the guest knows by its own; -1 where it knows none. */
  #streamOf(virtId: number): number {
    const device = this.core.findDevice(BigInt(virtId));
    return device === undefined ? -1 : smmuDeviceOf(device).streamId;
  }
}
