// The structs of linux/iommufd.h that every IOMMU shares: the argument of each ioctl, and the records that travel with
// it or come out of a queue. What only one kind of hardware understands is in iommufd-driver-data.ts.
import { array, overlay, ptr, s32, struct, u8, u16, u32, u64 } from './layout.js';

const SIZE = 'Bytes of this struct that the caller filled in. Too few: EINVAL; more, but not zero: E2BIG';
const NO_FLAGS = 'Must be 0 (EOPNOTSUPP)';
const ZERO = 'Must be 0';
const MAP_FLAGS = 'Bits of iommufd_ioas_map_flags';
const MAP_IOVA =
  'Where the mapping starts: in with IOMMU_IOAS_MAP_FIXED_IOVA, out without. ' +
  'Taken: EEXIST; outside the usable ranges: EINVAL; no room: ENOSPC';
const MAP_LENGTH = "Bytes, a multiple of the IOAS's IOVA alignment; 0 is EINVAL";

export const iommu_destroy = struct('iommu_destroy', 'Argument of IOMMU_DESTROY.', {
  size: u32(SIZE),
  id: u32('The object, of any kind but a device or access. In use: EBUSY; none: ENOENT'),
});

export const iommu_ioas_alloc = struct('iommu_ioas_alloc', 'Argument of IOMMU_IOAS_ALLOC.', {
  size: u32(SIZE),
  flags: u32(NO_FLAGS),
  out_ioas_id: u32('The new IOAS'),
});

export const iommu_iova_range = struct('iommu_iova_range', 'An interval of IOVAs, both ends included.', {
  start: u64('The first IOVA'),
  last: u64('The last IOVA'),
});

export const iommu_ioas_iova_ranges = struct('iommu_ioas_iova_ranges', 'Argument of IOMMU_IOAS_IOVA_RANGES.', {
  size: u32(SIZE),
  ioas_id: u32('The IOAS'),
  num_iovas: u32('In: how many ranges the array holds. Out: how many there are, also with EMSGSIZE'),
  __reserved: u32(ZERO),
  allowed_iovas: ptr('out', 'An array of iommu_iova_range, filled as far as it goes, in ascending order'),
  out_iova_alignment: u64(
    'Start and end of every mapping must be multiples of this; a power of two up to the page size',
  ),
});

export const iommu_ioas_allow_iovas = struct('iommu_ioas_allow_iovas', 'Argument of IOMMU_IOAS_ALLOW_IOVAS.', {
  size: u32(SIZE),
  ioas_id: u32('The IOAS'),
  num_iovas: u32('How many ranges the array holds; 0 takes all promises back'),
  __reserved: u32(ZERO),
  allowed_iovas: ptr('in', 'An array of iommu_iova_range: each start below its last, none overlapping (EINVAL)'),
});

export const iommu_ioas_map = struct('iommu_ioas_map', 'Argument of IOMMU_IOAS_MAP.', {
  size: u32(SIZE),
  flags: u32(MAP_FLAGS),
  ioas_id: u32('The IOAS'),
  __reserved: u32(ZERO),
  user_va: ptr('inout', "The memory: an address in the caller's process, remembered until the last mapping of it goes"),
  length: u64(MAP_LENGTH),
  iova: u64(MAP_IOVA),
});

export const iommu_ioas_noiommu_get_pa = struct('iommu_ioas_noiommu_get_pa', 'Argument of IOMMU_IOAS_NOIOMMU_GET_PA.', {
  size: u32(SIZE),
  flags: u32(NO_FLAGS),
  ioas_id: u32('The IOAS'),
  __reserved: u32(ZERO),
  iova: u64('The IOVA to look up; it must be mapped'),
  length: u64('In: how many bytes are of interest, not 0 (EINVAL). Out: how many of them are physically contiguous'),
  out_phys: u64('The physical address of iova'),
});

export const iommu_ioas_map_file = struct('iommu_ioas_map_file', 'Argument of IOMMU_IOAS_MAP_FILE.', {
  size: u32(SIZE),
  flags: u32(MAP_FLAGS),
  ioas_id: u32('The IOAS'),
  fd: s32('A memfd, or a dma-buf of a VFIO PCI region with a single range'),
  start: u64('Byte offset in the file'),
  length: u64(MAP_LENGTH),
  iova: u64(MAP_IOVA),
});

export const iommu_ioas_copy = struct('iommu_ioas_copy', 'Argument of IOMMU_IOAS_COPY.', {
  size: u32(SIZE),
  flags: u32(MAP_FLAGS),
  dst_ioas_id: u32('The IOAS that gets the mapping'),
  src_ioas_id: u32('The IOAS that has it; may be the same'),
  length: u64('Bytes; 0 is EINVAL'),
  dst_iova: u64(MAP_IOVA),
  src_iova: u64('Where the source starts; all of the range must be mapped (ENOENT)'),
});

export const iommu_ioas_unmap = struct('iommu_ioas_unmap', 'Argument of IOMMU_IOAS_UNMAP.', {
  size: u32(SIZE),
  ioas_id: u32('The IOAS'),
  iova: u64('Where the range starts'),
  length: u64(
    'In: bytes; with iova 0 and all bits set, everything. Out: bytes unmapped. ' +
      'A mapping that is only partly inside: ENOENT; one that a vIOMMU queue holds: EBUSY',
  ),
});

export const iommu_option = struct('iommu_option', 'Argument of IOMMU_OPTION.', {
  size: u32(SIZE),
  option_id: u32('One of iommufd_option'),
  op: u16('One of iommufd_option_ops'),
  __reserved: u16(ZERO),
  object_id: u32('The object whose option it is; 0 for one of the whole file'),
  val64: u64('The value: in to set, out to get'),
});

export const iommu_vfio_ioas = struct('iommu_vfio_ioas', 'Argument of IOMMU_VFIO_IOAS.', {
  size: u32(SIZE),
  ioas_id: u32('The IOAS: in to set, out to get'),
  op: u16('One of iommufd_vfio_ioas_op'),
  __reserved: u16(ZERO),
});

export const iommu_hwpt_alloc = struct('iommu_hwpt_alloc', 'Argument of IOMMU_HWPT_ALLOC.', {
  size: u32(SIZE),
  flags: u32('Bits of iommufd_hwpt_alloc_flags'),
  dev_id: u32("The device whose IOMMU's format the page table has"),
  pt_id: u32('What it hangs from: an IOAS, or for a nested one a nest parent or a vIOMMU; anything else is EINVAL'),
  out_hwpt_id: u32('The new page table'),
  __reserved: u32(ZERO),
  data_type: u32('One of iommu_hwpt_data_type'),
  data_len: u32('Bytes of driver data; 0 exactly with IOMMU_HWPT_DATA_NONE (EINVAL)'),
  data_uptr: ptr('in', 'The driver data'),
  fault_id: u32('The fault queue, with IOMMU_HWPT_FAULT_ID_VALID'),
  __reserved2: u32(ZERO),
});

export const iommu_hw_info = struct('iommu_hw_info', 'Argument of IOMMU_GET_HW_INFO.', {
  size: u32(SIZE),
  flags: u32('Bits of iommufd_hw_info_flags'),
  dev_id: u32('The device'),
  data_len: u32('In: bytes at data_uptr, 0 allowed. Out: bytes the driver has, which may be more or fewer'),
  data_uptr: ptr('out', 'Where the driver data goes: cut off when too long, filled up with zeros when too short'),
  in_data_type: u32('With IOMMU_HW_INFO_FLAG_INPUT_TYPE, the iommu_hw_info_type wanted; otherwise ignored'),
  out_data_type: overlay('in_data_type', 'The iommu_hw_info_type of the data'),
  out_max_pasid_log2: u8('Width of the PASIDs the device may use, in bits; 0 for none'),
  __reserved: array('u8', 3, ZERO),
  out_capabilities: u64('Bits of iommufd_hw_capabilities'),
});

export const iommu_hwpt_set_dirty_tracking = struct(
  'iommu_hwpt_set_dirty_tracking',
  'Argument of IOMMU_HWPT_SET_DIRTY_TRACKING.',
  {
    size: u32(SIZE),
    flags: u32('Bits of iommufd_hwpt_set_dirty_tracking_flags'),
    hwpt_id: u32('The page table; not a nested one. Without IOMMU_HWPT_ALLOC_DIRTY_TRACKING: EOPNOTSUPP'),
    __reserved: u32(ZERO),
  },
);

export const iommu_hwpt_get_dirty_bitmap = struct(
  'iommu_hwpt_get_dirty_bitmap',
  'Argument of IOMMU_HWPT_GET_DIRTY_BITMAP.',
  {
    size: u32(SIZE),
    hwpt_id: u32('The page table'),
    flags: u32('Bits of iommufd_hwpt_get_dirty_bitmap_flags'),
    __reserved: u32(ZERO),
    iova: u64('Where the range starts: a multiple of page_size and of the IOVA alignment (EINVAL)'),
    length: u64('Bytes of the range: a multiple of both, not 0 (EINVAL)'),
    page_size: u64('Bytes that one bit stands for: a power of two'),
    data: ptr('inout', 'The bitmap: bit 0 is the page at iova. Bits of dirty pages are set, no bit is ever cleared'),
  },
);

export const iommu_hwpt_invalidate = struct('iommu_hwpt_invalidate', 'Argument of IOMMU_HWPT_INVALIDATE.', {
  size: u32(SIZE),
  hwpt_id: u32('A nested page table or a vIOMMU; anything else is EINVAL'),
  data_uptr: ptr('in', 'An array of entries; not 0 when there are any (EINVAL)'),
  data_type: u32('One of iommu_hwpt_invalidate_data_type'),
  entry_len: u32('Bytes of one entry: 1 to the page size (EINVAL)'),
  entry_num: u32(
    'In: how many entries, up to 2^19 (EINVAL); 0 asks whether the type is supported. ' +
      'Out: how many were carried out, also on an error',
  ),
  __reserved: u32(ZERO),
});

export const iommu_hwpt_pgfault = struct('iommu_hwpt_pgfault', 'An I/O page fault, as read from a fault queue.', {
  flags: u32('Bits of iommu_hwpt_pgfault_flags'),
  dev_id: u32('The device that faulted'),
  pasid: u32('Its PASID, with IOMMU_PGFAULT_FLAGS_PASID_VALID'),
  grpid: u32('The page request group the fault belongs to'),
  perm: u32('Bits of iommu_hwpt_pgfault_perm'),
  __reserved: u32('0'),
  addr: u64('The address that faulted'),
  length: u32('Bytes the device will want from there, as a hint; 0 without one'),
  cookie: u32("Names the group; the last fault's is the one to answer with"),
});

export const iommu_hwpt_page_response = struct(
  'iommu_hwpt_page_response',
  'The answer to a group of faults, as written to a fault queue.',
  {
    cookie: u32("The cookie of the group's last fault; one that is not waiting: EINVAL"),
    code: u32('One of iommufd_page_response_code'),
  },
);

export const iommu_fault_alloc = struct('iommu_fault_alloc', 'Argument of IOMMU_FAULT_QUEUE_ALLOC.', {
  size: u32(SIZE),
  flags: u32(NO_FLAGS),
  out_fault_id: u32('The new fault queue'),
  out_fault_fd: u32('A new file descriptor: faults are read from it, answers written to it'),
});

export const iommu_viommu_alloc = struct('iommu_viommu_alloc', 'Argument of IOMMU_VIOMMU_ALLOC.', {
  size: u32(SIZE),
  flags: u32(NO_FLAGS),
  type: u32('One of iommu_viommu_type; one the IOMMU does not offer: EOPNOTSUPP'),
  dev_id: u32('A device behind the IOMMU to take a slice of'),
  hwpt_id: u32("The nest parent: the guest's physical address space; another page table: EINVAL"),
  out_viommu_id: u32('The new vIOMMU'),
  data_len: u32('Bytes of driver data; 0 for a type without'),
  __reserved: u32(ZERO),
  data_uptr: ptr('inout', 'The driver data, which the driver may fill in'),
});

export const iommu_vdevice_alloc = struct('iommu_vdevice_alloc', 'Argument of IOMMU_VDEVICE_ALLOC.', {
  size: u32(SIZE),
  viommu_id: u32('The vIOMMU'),
  dev_id: u32('The device; behind the same IOMMU (EINVAL), and not a virtual device yet (EEXIST)'),
  out_vdevice_id: u32('The new virtual device; goes before its device, or its id stays taken until the file is closed'),
  virt_id: u64("The guest's id of the device: SMMUv3 stream id, AMD device id, VT-d requester id. Taken: EEXIST"),
});

export const iommu_ioas_change_process = struct('iommu_ioas_change_process', 'Argument of IOMMU_IOAS_CHANGE_PROCESS.', {
  size: u32(SIZE),
  __reserved: u32(ZERO),
});

export const iommufd_vevent_header = struct(
  'iommufd_vevent_header',
  'What precedes every virtual event read from a queue.',
  {
    flags: u32('Bits of iommu_veventq_flag'),
    sequence: u32('The number of the event: from 0, after 2^31 - 1 from 0 again. A gap is that many lost events'),
  },
);

export const iommu_veventq_alloc = struct('iommu_veventq_alloc', 'Argument of IOMMU_VEVENTQ_ALLOC.', {
  size: u32(SIZE),
  flags: u32(NO_FLAGS),
  viommu_id: u32('The vIOMMU'),
  type: u32('One of iommu_veventq_type; a vIOMMU has one queue of each type (EEXIST)'),
  veventq_depth: u32('How many events wait at most before some are lost: 1 to 2^19 (EINVAL)'),
  out_veventq_id: u32('The new queue'),
  out_veventq_fd: u32("A new file descriptor to read events from; closing it is the caller's job"),
  __reserved: u32(ZERO),
});

export const iommu_hw_queue_alloc = struct('iommu_hw_queue_alloc', 'Argument of IOMMU_HW_QUEUE_ALLOC.', {
  size: u32(SIZE),
  flags: u32(NO_FLAGS),
  viommu_id: u32('The vIOMMU'),
  type: u32('One of iommu_hw_queue_type'),
  index: u32('Which of the queues of its type'),
  out_hw_queue_id: u32('The new queue'),
  nesting_parent_iova: u64(
    "Where the queue's memory starts in the nest parent. It stays pinned; pages that are not contiguous: EFAULT",
  ),
  length: u64('Bytes of it; 0 is EINVAL'),
});
