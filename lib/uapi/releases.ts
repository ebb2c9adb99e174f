// Releases of Linux: which of two is the older, and what later ones brought to calls that were there before. What brought
// a whole call stands with the call (`since` in iommufd-ioctls.ts, vfio-ioctls.ts).
import { iommu_hwpt_data_type, iommufd_hw_info_flags, iommufd_hwpt_alloc_flags } from './iommufd-constants.js';
import {
  vfio_device_attach_flags,
  vfio_device_bind_flags,
  vfio_device_detach_flags,
  type vfio_device_feature_index,
} from './vfio-constants.js';

/** Something that a release brought to a call that was there before. */
export interface Addition {
  /** The call. */
  readonly call: string;
  /** Its name in the header. */
  readonly what: string;
  /** The Linux release from which on the call knows it. */
  readonly since: string;
  /** What older kernels answer. */
  readonly code: string;
  /** Whether a call with these arguments uses it. */
  readonly used: (args: Readonly<Record<string, unknown>>) => boolean;
}

const hasFlag = (flag: number) => (args: Readonly<Record<string, unknown>>) =>
  typeof args.flags === 'number' && (args.flags & flag) !== 0;

const { IOMMU_HWPT_DATA_NONE: NO_DATA } = iommu_hwpt_data_type.values;
const HWPT = iommufd_hwpt_alloc_flags.values;

function hwptFlag(what: keyof typeof HWPT, since: string): Addition {
  return { call: 'IOMMU_HWPT_ALLOC', what, since, code: 'EOPNOTSUPP', used: hasFlag(HWPT[what]) };
}

/** iommufd/hw_pagetable.c and device.c, and vfio/device_cdev.c, of the releases; each refuses flags it does not know. */
export const additions: readonly Addition[] = [
  hwptFlag('IOMMU_HWPT_ALLOC_NEST_PARENT', '6.7'),
  hwptFlag('IOMMU_HWPT_ALLOC_DIRTY_TRACKING', '6.7'),
  hwptFlag('IOMMU_HWPT_FAULT_ID_VALID', '6.11'),
  {
    ...hwptFlag('IOMMU_HWPT_FAULT_ID_VALID', '6.13'),
    what: 'IOMMU_HWPT_FAULT_ID_VALID for page tables that are not nested',
    used: ({ flags, data_type = NO_DATA }) =>
      hasFlag(HWPT.IOMMU_HWPT_FAULT_ID_VALID)({ flags }) && data_type === NO_DATA,
  },
  hwptFlag('IOMMU_HWPT_ALLOC_PASID', '6.15'),
  {
    call: 'IOMMU_HWPT_ALLOC',
    what: 'IOMMU_HWPT_DATA_ARM_SMMUV3',
    since: '6.13',
    code: 'EOPNOTSUPP',
    used: ({ data_type }) => data_type === iommu_hwpt_data_type.values.IOMMU_HWPT_DATA_ARM_SMMUV3,
  },
  {
    call: 'IOMMU_GET_HW_INFO',
    what: 'IOMMU_HW_INFO_FLAG_INPUT_TYPE',
    since: '6.17',
    code: 'EOPNOTSUPP',
    used: hasFlag(iommufd_hw_info_flags.values.IOMMU_HW_INFO_FLAG_INPUT_TYPE),
  },
  {
    call: 'VFIO_DEVICE_BIND_IOMMUFD',
    what: 'VFIO_DEVICE_BIND_FLAG_TOKEN',
    since: '6.18',
    code: 'EINVAL',
    used: hasFlag(vfio_device_bind_flags.values.VFIO_DEVICE_BIND_FLAG_TOKEN),
  },
  {
    call: 'VFIO_DEVICE_ATTACH_IOMMUFD_PT',
    what: 'VFIO_DEVICE_ATTACH_PASID',
    since: '6.15',
    code: 'EINVAL',
    used: hasFlag(vfio_device_attach_flags.values.VFIO_DEVICE_ATTACH_PASID),
  },
  {
    call: 'VFIO_DEVICE_DETACH_IOMMUFD_PT',
    what: 'VFIO_DEVICE_DETACH_PASID',
    since: '6.15',
    code: 'EINVAL',
    used: hasFlag(vfio_device_detach_flags.values.VFIO_DEVICE_DETACH_PASID),
  },
];

/** Since when VFIO_DEVICE_FEATURE knows a feature; one it does not know is ENOTTY (vfio/vfio_main.c). */
export const featureSince: Readonly<Record<keyof typeof vfio_device_feature_index.values, string>> = {
  VFIO_DEVICE_FEATURE_PCI_VF_TOKEN: '5.7',
  VFIO_DEVICE_FEATURE_MIGRATION: '5.18',
  VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE: '5.18',
  VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY: '6.1',
  VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP: '6.1',
  VFIO_DEVICE_FEATURE_LOW_POWER_EXIT: '6.1',
  VFIO_DEVICE_FEATURE_DMA_LOGGING_START: '6.1',
  VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP: '6.1',
  VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT: '6.1',
  VFIO_DEVICE_FEATURE_MIG_DATA_SIZE: '6.2',
  VFIO_DEVICE_FEATURE_BUS_MASTER: '6.6',
  VFIO_DEVICE_FEATURE_DMA_BUF: '6.19',
  VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2: '7.1',
  VFIO_DEVICE_FEATURE_ZPCI_ERROR: '7.3',
};

/** 'major.minor' at the beginning of a release, as one number to compare; NaN where there is none. */
function rank(release: string): number {
  const found = /^(\d+)\.(\d+)/.exec(release);
  return found === null ? Number.NaN : Number(found[1]) * 1000 + Number(found[2]);
}

/** Whether a kernel ('6.12.95+deb12-amd64') is older than a release ('6.13'); false where it does not say. */
export function isOlder(running: string, since: string): boolean {
  return rank(running) < rank(since);
}
