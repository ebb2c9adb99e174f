// The enums of linux/iommufd.h. A constant's group is the C enum it belongs to.
import { constants } from './layout.js';

export const iommufd_cmd = constants(
  'iommufd_cmd',
  'Command numbers: the low byte of an ioctl request. The C enum has no name.',
  {
    IOMMUFD_CMD_BASE: [
      0x80,
      'The first command; numbers below it on /dev/iommu belong to the VFIO compatibility calls',
    ],
    IOMMUFD_CMD_DESTROY: 0x80,
    IOMMUFD_CMD_IOAS_ALLOC: 0x81,
    IOMMUFD_CMD_IOAS_ALLOW_IOVAS: 0x82,
    IOMMUFD_CMD_IOAS_COPY: 0x83,
    IOMMUFD_CMD_IOAS_IOVA_RANGES: 0x84,
    IOMMUFD_CMD_IOAS_MAP: 0x85,
    IOMMUFD_CMD_IOAS_UNMAP: 0x86,
    IOMMUFD_CMD_OPTION: 0x87,
    IOMMUFD_CMD_VFIO_IOAS: 0x88,
    IOMMUFD_CMD_HWPT_ALLOC: 0x89,
    IOMMUFD_CMD_GET_HW_INFO: 0x8a,
    IOMMUFD_CMD_HWPT_SET_DIRTY_TRACKING: 0x8b,
    IOMMUFD_CMD_HWPT_GET_DIRTY_BITMAP: 0x8c,
    IOMMUFD_CMD_HWPT_INVALIDATE: 0x8d,
    IOMMUFD_CMD_FAULT_QUEUE_ALLOC: 0x8e,
    IOMMUFD_CMD_IOAS_MAP_FILE: 0x8f,
    IOMMUFD_CMD_VIOMMU_ALLOC: 0x90,
    IOMMUFD_CMD_VDEVICE_ALLOC: 0x91,
    IOMMUFD_CMD_IOAS_CHANGE_PROCESS: 0x92,
    IOMMUFD_CMD_VEVENTQ_ALLOC: 0x93,
    IOMMUFD_CMD_HW_QUEUE_ALLOC: 0x94,
    IOMMUFD_CMD_IOAS_NOIOMMU_GET_PA: 0x95,
  },
);

export const iommufd_type = constants('iommufd_type', 'The type byte of every IOMMUFD and VFIO request.', {
  IOMMUFD_TYPE: [0x3b, "The character ';'"],
});

export const iommufd_ioas_map_flags = constants(
  'iommufd_ioas_map_flags',
  'How IOMMU_IOAS_MAP, IOMMU_IOAS_MAP_FILE and IOMMU_IOAS_COPY place and protect a mapping.',
  {
    IOMMU_IOAS_MAP_FIXED_IOVA: [1 << 0, 'Place it at the given IOVA; otherwise the kernel picks one and returns it'],
    IOMMU_IOAS_MAP_WRITEABLE: [1 << 1, 'Devices may write'],
    IOMMU_IOAS_MAP_READABLE: [1 << 2, 'Devices may read; at least one of the two must be set (EINVAL)'],
  },
);

export const iommufd_option = constants('iommufd_option', 'What IOMMU_OPTION reads or changes.', {
  IOMMU_OPTION_RLIMIT_MODE: [
    0,
    'Who pinned pages are charged to: 0 the user (default), 1 the process. For the whole file: object_id is 0. ' +
      'Setting it wants CAP_SYS_RESOURCE (EPERM) and no object yet (EBUSY)',
  ],
  IOMMU_OPTION_HUGE_PAGES: [
    1,
    'Whether neighbouring pages may share a large page-table entry: 1 yes (default), 0 no. object_id is an IOAS',
  ],
});

export const iommufd_option_ops = constants('iommufd_option_ops', 'What IOMMU_OPTION does with the option.', {
  IOMMU_OPTION_OP_SET: [0, 'Change it to val64'],
  IOMMU_OPTION_OP_GET: [1, 'Return it in val64'],
});

export const iommufd_vfio_ioas_op = constants('iommufd_vfio_ioas_op', 'What IOMMU_VFIO_IOAS does.', {
  IOMMU_VFIO_IOAS_GET: [0, 'Return the IOAS the VFIO compatibility calls work on; ENODEV without one'],
  IOMMU_VFIO_IOAS_SET: [1, 'Make ioas_id that IOAS'],
  IOMMU_VFIO_IOAS_CLEAR: [2, 'Leave them without an IOAS; none is destroyed'],
});

export const iommufd_hwpt_alloc_flags = constants(
  'iommufd_hwpt_alloc_flags',
  'What a page table made by IOMMU_HWPT_ALLOC must be able to do; EOPNOTSUPP where the IOMMU cannot.',
  {
    IOMMU_HWPT_ALLOC_NEST_PARENT: [1 << 0, 'Be the parent (stage 2) of nested page tables or of a vIOMMU'],
    IOMMU_HWPT_ALLOC_DIRTY_TRACKING: [1 << 1, 'Track dirty pages; devices whose IOMMU cannot are refused on attach'],
    IOMMU_HWPT_FAULT_ID_VALID: [
      1 << 2,
      'fault_id names the fault queue its I/O page faults go to; not for a nest parent',
    ],
    IOMMU_HWPT_ALLOC_PASID: [
      1 << 3,
      'Be attachable to a PASID; what the device itself is attached to needs it as well',
    ],
  },
);

export const iommu_hwpt_vtd_s1_flags = constants(
  'iommu_hwpt_vtd_s1_flags',
  'Attributes of a VT-d stage-1 page table, named as in the PASID table entry.',
  {
    IOMMU_VTD_S1_SRE: [1 << 0, 'Supervisor requests are allowed'],
    IOMMU_VTD_S1_EAFE: [1 << 1, 'Extended accessed flags are kept in the entries'],
    IOMMU_VTD_S1_WPE: [1 << 2, 'Write protection holds for supervisor requests too'],
  },
);

export const iommu_hwpt_data_type = constants('iommu_hwpt_data_type', 'What the driver data of IOMMU_HWPT_ALLOC is.', {
  IOMMU_HWPT_DATA_NONE: [0, 'Nothing: a page table that the kernel fills from an IOAS'],
  IOMMU_HWPT_DATA_VTD_S1: [1, 'struct iommu_hwpt_vtd_s1'],
  IOMMU_HWPT_DATA_ARM_SMMUV3: [2, 'struct iommu_hwpt_arm_smmuv3'],
  IOMMU_HWPT_DATA_AMD_GUEST: [3, 'struct iommu_hwpt_amd_guest'],
});

export const iommu_hw_info_vtd_flags = constants('iommu_hw_info_vtd_flags', 'Errata of a VT-d unit.', {
  IOMMU_HW_INFO_VTD_ERRATA_772415_SPR17: [1 << 0, 'Read-only mappings must not be used in a nest parent'],
});

export const iommu_hw_info_arm_smmuv3_flags = constants('iommu_hw_info_arm_smmuv3_flags', 'Errata of an SMMUv3.', {
  IOMMU_HW_INFO_ARM_SMMUV3_ERRATA_REPEAT_TLBI_CFGI: [
    1 << 0,
    'TLBI and CFGI commands, with their SYNC, must each be issued twice (erratum T264-SMMU-3)',
  ],
});

export const iommu_hw_info_type = constants('iommu_hw_info_type', 'Which struct IOMMU_GET_HW_INFO fills in.', {
  IOMMU_HW_INFO_TYPE_NONE: [0, 'Output: the driver describes nothing'],
  IOMMU_HW_INFO_TYPE_DEFAULT: [0, "Input: the driver's main type"],
  IOMMU_HW_INFO_TYPE_INTEL_VTD: [1, 'struct iommu_hw_info_vtd'],
  IOMMU_HW_INFO_TYPE_ARM_SMMUV3: [2, 'struct iommu_hw_info_arm_smmuv3'],
  IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV: [3, 'struct iommu_hw_info_tegra241_cmdqv; to be asked for by type'],
  IOMMU_HW_INFO_TYPE_AMD: [4, 'struct iommu_hw_info_amd'],
});

export const iommufd_hw_capabilities = constants(
  'iommufd_hw_capabilities',
  'What every kind of IOMMU reports of a device in out_capabilities.',
  {
    IOMMU_HW_CAP_DIRTY_TRACKING: [1 << 0, 'Page tables for this device can track dirty pages'],
    IOMMU_HW_CAP_PCI_PASID_EXEC: [1 << 1, 'Requests with a PASID may ask to execute; only with out_max_pasid_log2 > 0'],
    IOMMU_HW_CAP_PCI_PASID_PRIV: [1 << 2, 'Requests with a PASID may be privileged; only with out_max_pasid_log2 > 0'],
    IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED: [1 << 3, 'ATS cannot be used with this device; clear means that it may be'],
  },
);

export const iommufd_hw_info_flags = constants('iommufd_hw_info_flags', 'Flags of IOMMU_GET_HW_INFO.', {
  IOMMU_HW_INFO_FLAG_INPUT_TYPE: [1 << 0, 'in_data_type says which struct is wanted'],
});

export const iommufd_hwpt_set_dirty_tracking_flags = constants(
  'iommufd_hwpt_set_dirty_tracking_flags',
  'Flags of IOMMU_HWPT_SET_DIRTY_TRACKING.',
  { IOMMU_HWPT_DIRTY_TRACKING_ENABLE: [1, 'Turn tracking on; without it, off'] },
);

export const iommufd_hwpt_get_dirty_bitmap_flags = constants(
  'iommufd_hwpt_get_dirty_bitmap_flags',
  'Flags of IOMMU_HWPT_GET_DIRTY_BITMAP.',
  {
    IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR: [
      1,
      'Leave the dirty bits as they are: cheaper when the range is unmapped next',
    ],
  },
);

export const iommu_hwpt_invalidate_data_type = constants(
  'iommu_hwpt_invalidate_data_type',
  'What the entries of IOMMU_HWPT_INVALIDATE are.',
  {
    IOMMU_HWPT_INVALIDATE_DATA_VTD_S1: [0, 'struct iommu_hwpt_vtd_s1_invalidate, for a nested page table'],
    IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3: [1, 'struct iommu_viommu_arm_smmuv3_invalidate, for a vIOMMU'],
  },
);

export const iommu_hwpt_vtd_s1_invalidate_flags = constants(
  'iommu_hwpt_vtd_s1_invalidate_flags',
  'Flags of a VT-d invalidation.',
  { IOMMU_VTD_INV_FLAGS_LEAF: [1 << 0, 'Only cached leaf entries; otherwise cached paging structures as well'] },
);

export const iommu_hwpt_pgfault_flags = constants('iommu_hwpt_pgfault_flags', 'Flags of an I/O page fault.', {
  IOMMU_PGFAULT_FLAGS_PASID_VALID: [1 << 0, 'pasid counts'],
  IOMMU_PGFAULT_FLAGS_LAST_PAGE: [1 << 1, 'The last fault of its group: the one to answer'],
});

export const iommu_hwpt_pgfault_perm = constants('iommu_hwpt_pgfault_perm', 'The access a fault asks for.', {
  IOMMU_PGFAULT_PERM_READ: [1 << 0, 'Read'],
  IOMMU_PGFAULT_PERM_WRITE: [1 << 1, 'Write'],
  IOMMU_PGFAULT_PERM_EXEC: [1 << 2, 'Execute, as the PASID prefix asks'],
  IOMMU_PGFAULT_PERM_PRIV: [1 << 3, 'Privileged, as the PASID prefix asks'],
});

export const iommufd_page_response_code = constants(
  'iommufd_page_response_code',
  'How a group of I/O page faults ended.',
  {
    IOMMUFD_PAGE_RESP_SUCCESS: [0, 'The pages are there: the device tries again'],
    IOMMUFD_PAGE_RESP_INVALID: [1, 'They will not be: the device must not try again'],
  },
);

export const iommu_viommu_type = constants('iommu_viommu_type', 'Kinds of vIOMMU.', {
  IOMMU_VIOMMU_TYPE_DEFAULT: [0, 'Not usable (EOPNOTSUPP)'],
  IOMMU_VIOMMU_TYPE_ARM_SMMUV3: [1, 'A slice of an SMMUv3; takes no driver data'],
  IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV: [
    2,
    'An SMMUv3 with a CMDQV virtual interface; struct iommu_viommu_tegra241_cmdqv. The guest must see HYP_OWN as 0',
  ],
});

export const iommu_veventq_flag = constants('iommu_veventq_flag', 'Flags of a virtual event header.', {
  IOMMU_VEVENTQ_FLAG_LOST_EVENTS: [1 << 0, 'The queue overflowed at its end; no event follows this header'],
});

export const iommu_veventq_type = constants('iommu_veventq_type', 'Kinds of virtual event queue.', {
  IOMMU_VEVENTQ_TYPE_DEFAULT: [0, 'Not usable (EOPNOTSUPP)'],
  IOMMU_VEVENTQ_TYPE_ARM_SMMUV3: [1, 'struct iommu_vevent_arm_smmuv3'],
  IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV: [2, 'struct iommu_vevent_tegra241_cmdqv'],
});

export const iommu_hw_queue_type = constants('iommu_hw_queue_type', 'Kinds of hardware queue.', {
  IOMMU_HW_QUEUE_TYPE_DEFAULT: [0, 'Not usable (EOPNOTSUPP)'],
  IOMMU_HW_QUEUE_TYPE_TEGRA241_CMDQV: [
    1,
    'A VCMDQ of a Tegra241 CMDQV: indexes are taken from 0 upwards and given back from the last downwards; length is ' +
      'a power of two from 32 bytes to 16 << IDR1.CMDQS; the base is aligned to the length',
  ],
});
