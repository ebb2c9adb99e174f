// The mock IOMMU and its driver (mock_ops of iommufd/selftest.c).
import { ERRNO } from '../../../uapi/errno.js';
import { iommufd_hwpt_alloc_flags } from '../../../uapi/iommufd-constants.js';
import type { Iommu, IommuDevice, NestedDomain, PagingDomain, ViommuDriver } from '../../kernel/driver.js';
import type { Kernel } from '../../kernel/kernel.js';
import type { UserStruct } from '../../kernel/user-data.js';
import type { Viommu } from '../../kernel/viommu.js';
import { SelftestBlockedDomain } from './blocked-domain.js';
import { readIotlb, SelftestNestedDomain } from './nested-domain.js';
import { allocPagingDomain, SelftestPagingDomain } from './paging-domain.js';
import { iommu_test_hw_info, iommu_test_numbers } from './uapi.js';
import { SelftestViommu } from './viommu.js';

const NUMBERS = iommu_test_numbers.values;
const { IOMMU_HWPT_ALLOC_PASID } = iommufd_hwpt_alloc_flags.values;

export class SelftestIommu implements Iommu {
  readonly name = 'iommufd_selftest_iommu.0';
  readonly blocked = new SelftestBlockedDomain();
  readonly userPasidTable = true;
  readonly #kernel: Kernel;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  hwInfo(_device: IommuDevice, type: number): { type: number; data: Uint8Array } | number {
    if (type !== 0 && type !== NUMBERS.IOMMU_HW_INFO_TYPE_SELFTEST) return -ERRNO.EOPNOTSUPP;
    if (!this.#kernel.allocates()) return -ERRNO.ENOMEM;
    const data = new Uint8Array(iommu_test_hw_info.size);
    const test_reg = NUMBERS.IOMMU_HW_INFO_SELFTEST_REGVAL;
    iommu_test_hw_info.encode(new DataView(data.buffer), 0, { test_reg });
    return { type: NUMBERS.IOMMU_HW_INFO_TYPE_SELFTEST, data };
  }

  allocPaging(device: IommuDevice, flags: number, data: UserStruct | undefined): PagingDomain | number {
    return allocPagingDomain(this.#kernel, device, flags, data);
  }

  allocNested(_device: IommuDevice, parent: PagingDomain, flags: number, data: UserStruct): NestedDomain | number {
    if ((flags & ~IOMMU_HWPT_ALLOC_PASID) !== 0) return -ERRNO.EOPNOTSUPP;
    if (!(parent instanceof SelftestPagingDomain)) return -ERRNO.EINVAL;
    const config = readIotlb(data, this.#kernel);
    if (typeof config === 'number') return config;
    return this.#kernel.allocates() ? new SelftestNestedDomain(parent, undefined, config.iotlb) : -ERRNO.ENOMEM;
  }

  hasViommu(_device: IommuDevice, type: number): boolean {
    return type === NUMBERS.IOMMU_VIOMMU_TYPE_SELFTEST;
  }
  initViommu(viommu: Viommu, parent: PagingDomain, data: UserStruct | undefined): ViommuDriver | number {
    if (!(parent instanceof SelftestPagingDomain)) throw new Error('the parent is not a page table of the mock');
    const driver = new SelftestViommu(viommu, parent, this.#kernel);
    const refusal = data === undefined ? 0 : driver.lendRegisters(data);
    return refusal < 0 ? refusal : driver;
  }

  /** Nothing waits for the answer. */
  pageResponse(): void {}
}
