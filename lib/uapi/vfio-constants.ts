// The constants of linux/vfio.h that a VFIO device cdev and the type1 compatibility calls use. Enums without a name and
// #defines that belong together have a group name of ours: that of the struct or field they are for.
import { constants } from './layout.js';

export const vfio_base = constants(
  'vfio_base',
  'Parts of the request numbers, and the version of the whole interface.',
  {
    VFIO_API_VERSION: [0, 'What VFIO_GET_API_VERSION returns'],
    VFIO_TYPE: [0x3b, "The character ';'"],
    VFIO_BASE: [100, 'Number of the first VFIO ioctl'],
  },
);

export const vfio_extension = constants(
  'vfio_extension',
  'What VFIO_CHECK_EXTENSION asks about; those that name an IOMMU model are what VFIO_SET_IOMMU takes.',
  {
    VFIO_TYPE1_IOMMU: [1, 'The ordinary model, where a part of a mapping can be unmapped'],
    VFIO_TYPE1v2_IOMMU: [3, 'The ordinary model, where mappings are unmapped as a whole'],
    VFIO_DMA_CC_IOMMU: [4, 'All DMA is cache-coherent, whatever the device asks for'],
    VFIO_NOIOMMU_IOMMU: [8, 'No translation and no protection'],
    VFIO_UNMAP_ALL: [9, 'VFIO_DMA_UNMAP_FLAG_ALL is understood'],
    VFIO_UPDATE_VADDR: [10, 'Addresses of mappings can be exchanged; /dev/iommu says no'],
  },
);

export const vfio_device_flags = constants('vfio_device_flags', 'What a device is and can do.', {
  VFIO_DEVICE_FLAGS_RESET: [1 << 0, 'VFIO_DEVICE_RESET works'],
  VFIO_DEVICE_FLAGS_PCI: [1 << 1, 'A PCI device'],
  VFIO_DEVICE_FLAGS_PLATFORM: [1 << 2, 'A platform device'],
  VFIO_DEVICE_FLAGS_AMBA: [1 << 3, 'An AMBA device'],
  VFIO_DEVICE_FLAGS_CCW: [1 << 4, 'A channel device (s390)'],
  VFIO_DEVICE_FLAGS_AP: [1 << 5, 'A cryptographic adapter (s390)'],
  VFIO_DEVICE_FLAGS_FSL_MC: [1 << 6, 'A Freescale management complex device'],
  VFIO_DEVICE_FLAGS_CAPS: [1 << 7, 'There is a capability chain'],
  VFIO_DEVICE_FLAGS_CDX: [1 << 8, 'A CDX device'],
});

export const vfio_device_info_cap = constants('vfio_device_info_cap', 'Capabilities in VFIO_DEVICE_GET_INFO.', {
  VFIO_DEVICE_INFO_CAP_PCI_ATOMIC_COMP: [5, 'struct vfio_device_info_cap_pci_atomic_comp'],
});

export const vfio_pci_atomic_comp = constants(
  'vfio_pci_atomic_comp',
  'Widths of PCIe AtomicOps the root port completes.',
  {
    VFIO_PCI_ATOMIC_COMP32: [1 << 0, '32 bits'],
    VFIO_PCI_ATOMIC_COMP64: [1 << 1, '64 bits'],
    VFIO_PCI_ATOMIC_COMP128: [1 << 2, '128 bits, compare and swap'],
  },
);

export const vfio_region_info_flags = constants('vfio_region_info_flags', 'What a region can do.', {
  VFIO_REGION_INFO_FLAG_READ: [1 << 0, 'It can be read'],
  VFIO_REGION_INFO_FLAG_WRITE: [1 << 1, 'It can be written'],
  VFIO_REGION_INFO_FLAG_MMAP: [1 << 2, 'It can be mapped, all of it unless a sparse capability says otherwise'],
  VFIO_REGION_INFO_FLAG_CAPS: [1 << 3, 'There is a capability chain'],
});

export const vfio_region_info_cap = constants('vfio_region_info_cap', 'Capabilities in VFIO_DEVICE_GET_REGION_INFO.', {
  VFIO_REGION_INFO_CAP_SPARSE_MMAP: [1, 'struct vfio_region_info_cap_sparse_mmap'],
  VFIO_REGION_INFO_CAP_TYPE: [2, 'struct vfio_region_info_cap_type'],
  VFIO_REGION_INFO_CAP_MSIX_MAPPABLE: [3, 'Only a header: the pages of the MSI-X table can be mapped too'],
});

export const vfio_region_type = constants('vfio_region_type', 'Types of device-specific regions.', {
  VFIO_REGION_TYPE_PCI_VENDOR_TYPE: [0x8000_0000, "Set for a PCI vendor's own type"],
  VFIO_REGION_TYPE_PCI_VENDOR_MASK: [0xffff, 'Then, the bits that hold the vendor id'],
  VFIO_REGION_TYPE_GFX: [1, 'Graphics'],
  VFIO_REGION_TYPE_CCW: [2, 'Channel devices (s390)'],
});

export const vfio_region_subtype = constants('vfio_region_subtype', 'Subtypes; each belongs to one type or vendor.', {
  VFIO_REGION_SUBTYPE_INTEL_IGD_OPREGION: [1, 'Vendor 8086: the OpRegion of a graphics device'],
  VFIO_REGION_SUBTYPE_INTEL_IGD_HOST_CFG: [2, 'Vendor 8086: configuration space of the host bridge'],
  VFIO_REGION_SUBTYPE_INTEL_IGD_LPC_CFG: [3, 'Vendor 8086: configuration space of the LPC bridge'],
  VFIO_REGION_SUBTYPE_GFX_EDID: [1, 'Graphics: struct vfio_region_gfx_edid'],
});

export const vfio_gfx_link_state = constants('vfio_gfx_link_state', 'Whether a virtual display is connected.', {
  VFIO_DEVICE_GFX_LINK_STATE_UP: [1, 'Connected'],
  VFIO_DEVICE_GFX_LINK_STATE_DOWN: [2, 'Not connected'],
});

export const vfio_irq_info_flags = constants('vfio_irq_info_flags', 'What the interrupts of an index can do.', {
  VFIO_IRQ_INFO_EVENTFD: [1 << 0, 'They can be signalled through an eventfd'],
  VFIO_IRQ_INFO_MASKABLE: [1 << 1, 'They can be masked and unmasked'],
  VFIO_IRQ_INFO_AUTOMASKED: [1 << 2, 'Each masks itself when it fires, until it is unmasked'],
  VFIO_IRQ_INFO_NORESIZE: [1 << 3, 'More vectors are only to be had by turning all off first'],
});

export const vfio_irq_set_flags = constants(
  'vfio_irq_set_flags',
  'What VFIO_DEVICE_SET_IRQS does: exactly one DATA bit says what data is, exactly one ACTION bit what happens.',
  {
    VFIO_IRQ_SET_DATA_NONE: [1 << 0, 'No data: the action applies to the whole range at once'],
    VFIO_IRQ_SET_DATA_BOOL: [1 << 1, 'A byte an interrupt: the action applies where it is not 0'],
    VFIO_IRQ_SET_DATA_EVENTFD: [1 << 2, 'An s32 an interrupt: an eventfd to bind the action to, -1 to unbind'],
    VFIO_IRQ_SET_ACTION_MASK: [1 << 3, 'Mask'],
    VFIO_IRQ_SET_ACTION_UNMASK: [1 << 4, 'Unmask'],
    VFIO_IRQ_SET_ACTION_TRIGGER: [
      1 << 5,
      'Fire; with eventfds, signal them when the device fires. With no data and count 0: turn the index off',
    ],
    VFIO_IRQ_SET_DATA_TYPE_MASK: [0x07, 'All DATA bits'],
    VFIO_IRQ_SET_ACTION_TYPE_MASK: [0x38, 'All ACTION bits'],
  },
);

export const vfio_pci_region_index = constants('vfio_pci_region_index', 'The regions of a PCI device.', {
  VFIO_PCI_BAR0_REGION_INDEX: 0,
  VFIO_PCI_BAR1_REGION_INDEX: 1,
  VFIO_PCI_BAR2_REGION_INDEX: 2,
  VFIO_PCI_BAR3_REGION_INDEX: 3,
  VFIO_PCI_BAR4_REGION_INDEX: 4,
  VFIO_PCI_BAR5_REGION_INDEX: 5,
  VFIO_PCI_ROM_REGION_INDEX: [6, 'The expansion ROM'],
  VFIO_PCI_CONFIG_REGION_INDEX: [7, 'Configuration space'],
  VFIO_PCI_VGA_REGION_INDEX: [8, 'Legacy VGA: a port or address is the offset in the region'],
  VFIO_PCI_NUM_REGIONS: [9, 'From here on, regions that a type capability describes'],
});

export const vfio_pci_irq_index = constants('vfio_pci_irq_index', 'The interrupt indexes of a PCI device.', {
  VFIO_PCI_INTX_IRQ_INDEX: [0, 'The legacy interrupt pin'],
  VFIO_PCI_MSI_IRQ_INDEX: [1, 'MSI'],
  VFIO_PCI_MSIX_IRQ_INDEX: [2, 'MSI-X'],
  VFIO_PCI_ERR_IRQ_INDEX: [3, 'An uncorrectable error was reported'],
  VFIO_PCI_REQ_IRQ_INDEX: [4, 'The host wants the device back'],
  VFIO_PCI_NUM_IRQS: [5, 'How many indexes there are'],
});

export const vfio_pci_devid = constants('vfio_pci_devid', 'Values of devid that are not ids.', {
  VFIO_PCI_DEVID_OWNED: [0, 'Not of this iommufd, but in an IOMMU group the caller owns'],
  VFIO_PCI_DEVID_NOT_OWNED: [0xffff_ffff, 'Not owned: it prevents a hot reset'],
});

export const vfio_pci_hot_reset_flags = constants('vfio_pci_hot_reset_flags', 'Who owns the devices of a hot reset.', {
  VFIO_PCI_HOT_RESET_FLAG_DEV_ID: [1 << 0, 'devid is meant, not group_id: the device was opened as a cdev'],
  VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED: [1 << 1, 'The caller owns them all: a hot reset is possible'],
});

export const vfio_gfx_plane_type = constants('vfio_gfx_plane_type', 'How a graphics plane is handed out.', {
  VFIO_GFX_PLANE_TYPE_PROBE: [1 << 0, 'Only ask whether the way given by the other bit works'],
  VFIO_GFX_PLANE_TYPE_DMABUF: [1 << 1, 'As a dma-buf'],
  VFIO_GFX_PLANE_TYPE_REGION: [1 << 2, 'As a region'],
});

export const vfio_device_ioeventfd_flags = constants('vfio_device_ioeventfd_flags', 'Width of the write.', {
  VFIO_DEVICE_IOEVENTFD_8: [1 << 0, '1 byte'],
  VFIO_DEVICE_IOEVENTFD_16: [1 << 1, '2 bytes'],
  VFIO_DEVICE_IOEVENTFD_32: [1 << 2, '4 bytes'],
  VFIO_DEVICE_IOEVENTFD_64: [1 << 3, '8 bytes'],
  VFIO_DEVICE_IOEVENTFD_SIZE_MASK: [0xf, 'All of them; exactly one is set'],
});

export const vfio_device_feature_flags = constants('vfio_device_feature_flags', 'Flags of VFIO_DEVICE_FEATURE.', {
  VFIO_DEVICE_FEATURE_MASK: [0xffff, 'The bits that hold the number of the feature'],
  VFIO_DEVICE_FEATURE_GET: [1 << 16, 'Read it into data'],
  VFIO_DEVICE_FEATURE_SET: [1 << 17, 'Write it from data'],
  VFIO_DEVICE_FEATURE_PROBE: [1 << 18, 'Only ask whether it is there; with GET or SET, whether that works'],
});

export const vfio_device_feature_index = constants('vfio_device_feature_index', 'Features of a device.', {
  VFIO_DEVICE_FEATURE_PCI_VF_TOKEN: [0, 'Set: the UUID that virtual functions must know; 16 bytes'],
  VFIO_DEVICE_FEATURE_MIGRATION: [1, 'Get: struct vfio_device_feature_migration'],
  VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE: [2, 'Get or set: struct vfio_device_feature_mig_state'],
  VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY: [3, 'Set: allow low power until the next access; no data'],
  VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP: [4, 'Set: struct vfio_device_low_power_entry_with_wakeup'],
  VFIO_DEVICE_FEATURE_LOW_POWER_EXIT: [5, 'Set: stay at full power; no data'],
  VFIO_DEVICE_FEATURE_DMA_LOGGING_START: [6, 'Set: struct vfio_device_feature_dma_logging_control'],
  VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP: [7, 'Set: no data'],
  VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT: [8, 'Get: struct vfio_device_feature_dma_logging_report'],
  VFIO_DEVICE_FEATURE_MIG_DATA_SIZE: [9, 'Get: struct vfio_device_feature_mig_data_size'],
  VFIO_DEVICE_FEATURE_BUS_MASTER: [10, 'Set: struct vfio_device_feature_bus_master'],
  VFIO_DEVICE_FEATURE_DMA_BUF: [11, 'Get: struct vfio_device_feature_dma_buf; the call returns a file descriptor'],
  VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2: [12, 'Set: flags of struct vfio_precopy_info count from now on; no data'],
  VFIO_DEVICE_FEATURE_ZPCI_ERROR: [13, 'Get: struct vfio_device_feature_zpci_err'],
});

export const vfio_device_bind_flags = constants('vfio_device_bind_flags', 'Flags of VFIO_DEVICE_BIND_IOMMUFD.', {
  VFIO_DEVICE_BIND_FLAG_TOKEN: [1 << 0, 'token_uuid_ptr counts'],
});

export const vfio_device_attach_flags = constants(
  'vfio_device_attach_flags',
  'Flags of VFIO_DEVICE_ATTACH_IOMMUFD_PT.',
  {
    VFIO_DEVICE_ATTACH_PASID: [1 << 0, 'Attach the PASID given, not the device itself'],
  },
);

export const vfio_device_detach_flags = constants(
  'vfio_device_detach_flags',
  'Flags of VFIO_DEVICE_DETACH_IOMMUFD_PT.',
  {
    VFIO_DEVICE_DETACH_PASID: [1 << 0, 'Detach the PASID given, not the device itself'],
  },
);

export const vfio_migration_flags = constants('vfio_migration_flags', 'Migration states a device supports.', {
  VFIO_MIGRATION_STOP_COPY: [1 << 0, 'STOP, STOP_COPY and RESUMING; set whenever it can migrate'],
  VFIO_MIGRATION_P2P: [1 << 1, 'RUNNING_P2P'],
  VFIO_MIGRATION_PRE_COPY: [1 << 2, 'PRE_COPY; with the bit above PRE_COPY_P2P too'],
});

export const vfio_device_mig_state = constants('vfio_device_mig_state', 'States of a device that can migrate.', {
  VFIO_DEVICE_STATE_ERROR: [0, 'Broken until VFIO_DEVICE_RESET; cannot be asked for'],
  VFIO_DEVICE_STATE_STOP: [1, 'Stopped: nothing of it changes, no DMA, no interrupts'],
  VFIO_DEVICE_STATE_RUNNING: [2, 'At work'],
  VFIO_DEVICE_STATE_STOP_COPY: [3, 'Stopped, and its state can be read until the stream ends'],
  VFIO_DEVICE_STATE_RESUMING: [4, 'Stopped, and takes in a state'],
  VFIO_DEVICE_STATE_RUNNING_P2P: [5, 'At work, but it starts no DMA to other devices'],
  VFIO_DEVICE_STATE_PRE_COPY: [6, 'At work, and a first version of its state can be read'],
  VFIO_DEVICE_STATE_PRE_COPY_P2P: [7, 'The same, but it starts no DMA to other devices'],
  VFIO_DEVICE_STATE_NR: [8, 'How many states there are'],
});

export const vfio_precopy_info_flags = constants('vfio_precopy_info_flags', 'Flags of struct vfio_precopy_info.', {
  VFIO_PRECOPY_INFO_REINIT: [1 << 0, 'Output: initial data starts anew. Only after MIG_PRECOPY_INFOv2 was set'],
});

export const vfio_bus_master_op = constants('vfio_bus_master_op', 'Whether a device may do DMA.', {
  VFIO_DEVICE_FEATURE_CLEAR_MASTER: [0, 'No'],
  VFIO_DEVICE_FEATURE_SET_MASTER: [1, 'Yes'],
});

export const vfio_iommu_info_flags = constants('vfio_iommu_info_flags', 'What VFIO_IOMMU_GET_INFO filled in.', {
  VFIO_IOMMU_INFO_PGSIZES: [1 << 0, 'iova_pgsizes'],
  VFIO_IOMMU_INFO_CAPS: [1 << 1, 'cap_offset: there is a capability chain'],
});

export const vfio_iommu_type1_info_cap = constants(
  'vfio_iommu_type1_info_cap',
  'Capabilities in VFIO_IOMMU_GET_INFO.',
  {
    VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE: [1, 'struct vfio_iommu_type1_info_cap_iova_range'],
    VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION: [2, 'struct vfio_iommu_type1_info_cap_migration; never on /dev/iommu'],
    VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL: [3, 'struct vfio_iommu_type1_info_dma_avail'],
  },
);

export const vfio_dma_map_flags = constants('vfio_dma_map_flags', 'Flags of VFIO_IOMMU_MAP_DMA.', {
  VFIO_DMA_MAP_FLAG_READ: [1 << 0, 'Devices may read'],
  VFIO_DMA_MAP_FLAG_WRITE: [1 << 1, 'Devices may write'],
  VFIO_DMA_MAP_FLAG_VADDR: [1 << 2, 'Only exchange the address of a mapping; EINVAL on /dev/iommu'],
});

export const vfio_dma_unmap_flags = constants('vfio_dma_unmap_flags', 'Flags of VFIO_IOMMU_UNMAP_DMA.', {
  VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP: [1 << 0, 'Return the dirty pages; EINVAL on /dev/iommu'],
  VFIO_DMA_UNMAP_FLAG_ALL: [1 << 1, 'Everything; iova and size are 0'],
  VFIO_DMA_UNMAP_FLAG_VADDR: [1 << 2, 'Only forget the addresses; EINVAL on /dev/iommu'],
});
