// CMDQVs as Linux's driver of the SMMU has them (tegra241-cmdqv.c): what user space is told, and vIOMMUs with an interface.
import { ERRNO } from '../../../../uapi/errno.js';
import { iommu_hw_info_type, iommu_viommu_type } from '../../../../uapi/iommufd-constants.js';
import { iommu_hw_info_tegra241_cmdqv } from '../../../../uapi/iommufd-driver-data.js';
import type { ViommuDriver } from '../../../kernel/driver.js';
import type { Kernel } from '../../../kernel/kernel.js';
import type { UserStruct } from '../../../kernel/user-data.js';
import type { SmmuImpl } from '../../smmuv3/driver/impl.js';
import type { Smmuv3Viommu } from '../../smmuv3/driver/viommu.js';
import type { Smmu } from '../../smmuv3/smmu.js';
import { LOG2_QUEUES, LOG2_STREAMS, VERSION } from '../parameters.js';
import { CmdqvUnit } from './cmdqv-unit.js';
import { Tegra241Viommu } from './viommu.js';

const HW_INFO = iommu_hw_info_type.values.IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV;
const LAYOUT = iommu_hw_info_tegra241_cmdqv;

export class Cmdqv implements SmmuImpl {
  readonly viommuType = iommu_viommu_type.values.IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV;
  readonly #kernel: Kernel;
  readonly #units = new Map<Smmu, CmdqvUnit>();

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  hwInfo(type: number): { readonly type: number; readonly data: Uint8Array } | number {
    if (type !== HW_INFO) return -ERRNO.EOPNOTSUPP;
    if (!this.#kernel.allocates()) return -ERRNO.ENOMEM;
    const data = new Uint8Array(LAYOUT.size);
    const fields = { version: VERSION, log2vcmdqs: LOG2_QUEUES, log2vsids: LOG2_STREAMS };
    LAYOUT.encode(new DataView(data.buffer), 0, fields);
    return { type: HW_INFO, data };
  }

  initViommu(base: Smmuv3Viommu, data: UserStruct | undefined): ViommuDriver | number {
    const viommu = new Tegra241Viommu(this.#kernel, base, this.#unitOf(base.smmu));
    const refusal = viommu.init(data);
    return refusal < 0 ? refusal : viommu;
  }
  #unitOf(smmu: Smmu): CmdqvUnit {
    const made = this.#units.get(smmu) ?? new CmdqvUnit(this.#kernel, smmu);
    this.#units.set(smmu, made);
    return made;
  }
}
