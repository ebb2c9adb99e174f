// A guest's page table on the mock: it has no format, only an IOTLB of four entries to be invalidated
// (iommufd/selftest.c).
import { ERRNO } from '../../../uapi/errno.js';
import { type Domain, type IommuDevice, NestedDomain } from '../../kernel/driver.js';
import type { Kernel } from '../../kernel/kernel.js';
import type { UserArray, UserStruct } from '../../kernel/user-data.js';
import { type MockDomain, mockOf } from './mock-device.js';
import type { SelftestPagingDomain } from './paging-domain.js';
import {
  iommu_hwpt_invalidate_selftest,
  iommu_hwpt_selftest,
  iommu_test_invalidate_flags,
  iommu_test_numbers,
  mock_limits,
} from './uapi.js';
import type { SelftestViommu } from './viommu.js';

const NUMBERS = iommu_test_numbers.values;
const LIMITS = mock_limits.values;
const ALL = iommu_test_invalidate_flags.values.IOMMU_TEST_INVALIDATE_FLAG_ALL;
const INVALIDATE = iommu_hwpt_invalidate_selftest;

export class SelftestNestedDomain extends NestedDomain implements MockDomain {
  readonly tracksDirty = false;
  readonly iotlb = new Uint32Array(LIMITS.MOCK_NESTED_DOMAIN_IOTLB_NUM);

  /** `table`: the parent. A guest's IOVAs go straight to it, since there is nothing in between to translate them. */
  constructor(
    readonly table: SelftestPagingDomain,
    readonly viommu: SelftestViommu | undefined,
    iotlb: number,
  ) {
    super();
    this.iotlb.fill(iotlb);
  }

  attach(device: IommuDevice): number {
    return mockOf(device).attach(this);
  }
  attachPasid(device: IommuDevice, pasid: number, old: Domain): number {
    return mockOf(device).attachPasid(this, pasid, old);
  }
  free(): void {}

  invalidate(requests: UserArray): number {
    let done = 0;
    let refusal = requests.type === NUMBERS.IOMMU_HWPT_INVALIDATE_DATA_SELFTEST ? 0 : -ERRNO.EINVAL;
    while (refusal === 0 && done < requests.count) {
      refusal = this.#copyAndInvalidate(requests, done);
      if (refusal === 0) done++;
    }
    requests.count = done;
    return refusal;
  }
  #copyAndInvalidate(requests: UserArray, index: number): number {
    const bytes = new Uint8Array(INVALIDATE.size);
    const copied = requests.entry(index, requests.type, INVALIDATE.end('iotlb_id'), bytes);
    return copied < 0 ? copied : this.#invalidate(INVALIDATE.decode(new DataView(bytes.buffer), 0));
  }
  #invalidate({ flags, iotlb_id }: { flags: number; iotlb_id: number }): number {
    if ((flags & ~ALL) !== 0) return -ERRNO.EOPNOTSUPP;
    if (iotlb_id > LIMITS.MOCK_NESTED_DOMAIN_IOTLB_ID_MAX) return -ERRNO.EINVAL;
    if ((flags & ALL) !== 0) this.iotlb.fill(0);
    else this.iotlb[iotlb_id] = 0;
    return 0;
  }
}

/** Reads the driver data of a nested page table: what its IOTLB holds at first. */
export function readIotlb(data: UserStruct, { linux }: Kernel): { iotlb: number } | number {
  if (data.type !== NUMBERS.IOMMU_HWPT_DATA_SELFTEST) return -ERRNO.EOPNOTSUPP;
  const bytes = new Uint8Array(iommu_hwpt_selftest.size);
  // All that Linux 6.12 knows.
  const known = linux === '6.12' ? iommu_hwpt_selftest.end('iotlb') : bytes.length;
  const copied = data.copyIn(data.type, iommu_hwpt_selftest.end('iotlb'), bytes.subarray(0, known));
  return copied < 0 ? copied : iommu_hwpt_selftest.decode(new DataView(bytes.buffer), 0);
}
