// The structs of linux/vfio.h that VFIO_DEVICE_FEATURE carries in its data.
import { array, flex, ptr, s32, struct, u32, u64 } from './layout.js';

const RESERVED = 'Must be 0';

export const vfio_device_feature_migration = struct(
  'vfio_device_feature_migration',
  'Data of VFIO_DEVICE_FEATURE_MIGRATION.',
  { flags: u64('Bits of vfio_migration_flags') },
);

export const vfio_device_feature_mig_state = struct(
  'vfio_device_feature_mig_state',
  'Data of VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE.',
  {
    device_state: u32('One of vfio_device_mig_state'),
    data_fd: s32('Out: a new file for the state, where setting a state opened one; else -1'),
  },
);

export const vfio_device_low_power_entry_with_wakeup = struct(
  'vfio_device_low_power_entry_with_wakeup',
  'Data of VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP.',
  { wakeup_eventfd: s32('Signalled when the device has left low power'), reserved: u32(RESERVED) },
);

export const vfio_device_feature_dma_logging_range = struct(
  'vfio_device_feature_dma_logging_range',
  'IOVAs to watch for writes.',
  { iova: u64('Where they start'), length: u64('Bytes') },
);

export const vfio_device_feature_dma_logging_control = struct(
  'vfio_device_feature_dma_logging_control',
  'Data of VFIO_DEVICE_FEATURE_DMA_LOGGING_START.',
  {
    page_size: u64('In: bytes that one bit should stand for. Out: what the device chose'),
    num_ranges: u32('How many ranges; as many as fit into a page always work'),
    __reserved: u32(RESERVED),
    ranges: ptr('in', 'An array of vfio_device_feature_dma_logging_range'),
  },
);

export const vfio_device_feature_dma_logging_report = struct(
  'vfio_device_feature_dma_logging_report',
  'Data of VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT. What was reported is forgotten; on an error, ' +
    'all of it is to be taken as dirty.',
  {
    iova: u64('Where the range starts'),
    length: u64('Bytes of it'),
    page_size: u64('Bytes that one bit stands for: a power of two'),
    bitmap: ptr('inout', 'Bit 0 is the page at iova. Bits of written pages are set, no bit is ever cleared'),
  },
);

export const vfio_device_feature_mig_data_size = struct(
  'vfio_device_feature_mig_data_size',
  'Data of VFIO_DEVICE_FEATURE_MIG_DATA_SIZE.',
  { stop_copy_length: u64('Estimate of the bytes to be read while stopped') },
);

export const vfio_device_feature_bus_master = struct(
  'vfio_device_feature_bus_master',
  'Data of VFIO_DEVICE_FEATURE_BUS_MASTER; for CDX devices, PCI has a configuration bit for it.',
  { op: u32('One of vfio_bus_master_op') },
);

export const vfio_region_dma_range = struct('vfio_region_dma_range', 'A part of a region.', {
  offset: u64('Where it starts in the region'),
  length: u64('Bytes'),
});

export const vfio_device_feature_dma_buf = struct(
  'vfio_device_feature_dma_buf',
  'Data of VFIO_DEVICE_FEATURE_DMA_BUF.',
  {
    region_index: u32('The region'),
    open_flags: u32('Flags of the new file, as for open(2)'),
    flags: u32(RESERVED),
    nr_ranges: u32('How many parts'),
    dma_ranges: flex(vfio_region_dma_range, 'The parts'),
  },
);

export const vfio_device_feature_zpci_err = struct(
  'vfio_device_feature_zpci_err',
  'Data of VFIO_DEVICE_FEATURE_ZPCI_ERROR (s390). ENOMSG when no error is pending.',
  { data: ptr('out', 'A buffer for the error record, as long as the device says in its zPCI base capability') },
);

export const vfio_device_feature_pci_vf_token = struct(
  'vfio_device_feature_pci_vf_token',
  'Data of VFIO_DEVICE_FEATURE_PCI_VF_TOKEN; has no struct in the header.',
  { uuid: array('u8', 16, 'The UUID, in the order its text has') },
);
