// A page table of the mock that the kernel fills: generic_pt's AMD format with pages of 2 KiB (fmt/iommu_mock.c).
import { ERRNO } from '../../../uapi/errno.js';
import { iommufd_hwpt_alloc_flags } from '../../../uapi/iommufd-constants.js';
import { type Domain, type IommuDevice, PagingDomain } from '../../kernel/driver.js';
import type { Kernel } from '../../kernel/kernel.js';
import type { UserStruct } from '../../kernel/user-data.js';
import { PAGE_SIZE } from '../../memory/backing.js';
import { MockDirtyTracker } from './dirty-tracker.js';
import { type MockDevice, type MockDomain, mockOf } from './mock-device.js';
import { iommu_hwpt_selftest, iommu_test_numbers, mock_iommu, mock_iommupt } from './uapi.js';

const MOCK = mock_iommu.values;
const TYPES = mock_iommupt.values;
const DATA_SELFTEST = iommu_test_numbers.values.IOMMU_HWPT_DATA_SELFTEST;

/** Three levels of 512 entries and 2 KiB pages: addresses have 38 bits. */
const ADDRESSES = 2 ** 38;
/** Every power of two from 2 KiB on; one entry is a quarter of what the table spans at most. */
const ALL_SIZES = BigInt(ADDRESSES / 2 - MOCK.MOCK_PAGE_SIZE);

interface Format {
  readonly pageSizes: bigint;
  readonly aperture: { readonly start: bigint; readonly last: bigint };
}
const DEFAULT_APERTURE = { start: BigInt(MOCK.MOCK_APERTURE_START), last: BigInt(MOCK.MOCK_APERTURE_LAST) };
const FORMATS: { readonly [type: number]: Format } = {
  [TYPES.MOCK_IOMMUPT_DEFAULT]: {
    pageSizes: ALL_SIZES,
    aperture: DEFAULT_APERTURE,
  },
  // iommufd takes no page table without the pages of the system.
  [TYPES.MOCK_IOMMUPT_HUGE]: {
    pageSizes: BigInt(MOCK.MOCK_HUGE_PAGE_SIZE | PAGE_SIZE),
    aperture: { start: 0n, last: BigInt(ADDRESSES - 1) },
  },
};

export class SelftestPagingDomain extends PagingDomain implements MockDomain {
  readonly pageSizes: bigint;
  readonly aperture: Format['aperture'];
  readonly dirty: MockDirtyTracker | undefined;
  readonly viommu = undefined;

  constructor(
    format: Format,
    readonly tracksDirty: boolean,
    readsWhileOff: boolean,
  ) {
    super();
    this.pageSizes = format.pageSizes;
    this.aperture = format.aperture;
    this.dirty = tracksDirty ? new MockDirtyTracker(this, readsWhileOff) : undefined;
  }

  get table(): this {
    return this;
  }
  attach(device: IommuDevice): number {
    return mockOf(device).attach(this);
  }
  attachPasid(device: IommuDevice, pasid: number, old: Domain): number {
    return mockOf(device).attachPasid(this, pasid, old);
  }
  free(): void {}

  /** The physical address behind an IOVA, whatever may be done there; -1 where nothing is mapped. */
  physical(iova: number): number {
    const { translation } = this;
    if (translation === undefined || iova >= ADDRESSES) return -1;
    const page = Math.floor(iova / PAGE_SIZE);
    const readable = translation.translate(page, iova % PAGE_SIZE, false);
    return readable >= 0 ? readable : translation.translate(page, iova % PAGE_SIZE, true);
  }

  override mapped(iova: bigint, length: bigint): void {
    this.dirty?.forget(Number(iova), Number(length));
  }
  override unmapped(iova: bigint, length: bigint): void {
    this.dirty?.forget(Number(iova), Number(length));
  }
}

const { IOMMU_HWPT_ALLOC_DIRTY_TRACKING: TRACK_DIRTY, ...OTHERS } = iommufd_hwpt_alloc_flags.values;
const KNOWN_FLAGS = TRACK_DIRTY | OTHERS.IOMMU_HWPT_ALLOC_NEST_PARENT | OTHERS.IOMMU_HWPT_ALLOC_PASID;

/** Makes one for a device, of the format that driver data asks for. */
export function allocPagingDomain(
  kernel: Kernel,
  device: IommuDevice,
  flags: number,
  data: UserStruct | undefined,
): SelftestPagingDomain | number {
  const tracksDirty = (flags & TRACK_DIRTY) !== 0;
  // Linux 6.12 has one format, and takes no data.
  if (data !== undefined && kernel.linux === '6.12') return -ERRNO.EOPNOTSUPP;
  if ((flags & ~KNOWN_FLAGS) !== 0 || (tracksDirty && !mockOf(device).tracksDirty)) return -ERRNO.EOPNOTSUPP;
  if (kernel.linux === '6.12') return allocOldDomain(kernel, mockOf(device), tracksDirty);
  const type = data === undefined ? TYPES.MOCK_IOMMUPT_DEFAULT : readType(data);
  if (type < 0) return type;
  if (!kernel.allocates()) return -ERRNO.ENOMEM;
  const format = FORMATS[type];
  return format === undefined ? -ERRNO.EOPNOTSUPP : new SelftestPagingDomain(format, tracksDirty, true);
}

/** Linux 6.12 has pages of one size, and large ones only for devices that ask for them. */
function allocOldDomain(
  kernel: Kernel,
  { largePages }: MockDevice,
  tracksDirty: boolean,
): SelftestPagingDomain | number {
  if (!kernel.allocates()) return -ERRNO.ENOMEM;
  const pageSizes = BigInt(MOCK.MOCK_PAGE_SIZE | (largePages ? MOCK.MOCK_HUGE_PAGE_SIZE : 0));
  return new SelftestPagingDomain({ pageSizes, aperture: DEFAULT_APERTURE }, tracksDirty, false);
}

function readType(data: UserStruct): number {
  // Data of no type is let through here, and is then not of the right one.
  if (data.type !== DATA_SELFTEST) return data.type === 0 ? -ERRNO.EINVAL : -ERRNO.EOPNOTSUPP;
  const bytes = new Uint8Array(iommu_hwpt_selftest.size);
  const copied = data.copyIn(DATA_SELFTEST, iommu_hwpt_selftest.end('iotlb'), bytes);
  return copied < 0 ? copied : iommu_hwpt_selftest.decode(new DataView(bytes.buffer), 0).pagetable_type;
}
