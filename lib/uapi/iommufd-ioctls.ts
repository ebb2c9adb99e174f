// The ioctls of /dev/iommu. minSize is where the struct ended in the release that brought the ioctl.

import * as s from './iommufd-structs.js';
import { ioctl } from './layout.js';

export const IOMMU_DESTROY = ioctl('IOMMU_DESTROY', 0x80, s.iommu_destroy, {
  since: '6.2',
  doc: 'Destroys an object. EBUSY while another object hangs from it, or something of it is mmapped.',
});

export const IOMMU_IOAS_ALLOC = ioctl('IOMMU_IOAS_ALLOC', 0x81, s.iommu_ioas_alloc, {
  since: '6.2',
  doc: 'Makes an I/O address space: an empty map from IOVAs to memory.',
});

export const IOMMU_IOAS_ALLOW_IOVAS = ioctl('IOMMU_IOAS_ALLOW_IOVAS', 0x82, s.iommu_ioas_allow_iovas, {
  since: '6.2',
  doc:
    'Promises that these ranges, instead of those promised before, stay usable: a device that cannot reach them is ' +
    'refused on attach, and IOVAs are picked from them only. EADDRINUSE if they are not all usable now.',
});

export const IOMMU_IOAS_COPY = ioctl('IOMMU_IOAS_COPY', 0x83, s.iommu_ioas_copy, {
  since: '6.2',
  doc: 'Maps memory that is mapped already again, elsewhere or in another IOAS. The pages stay pinned and charged once.',
});

export const IOMMU_IOAS_IOVA_RANGES = ioctl('IOMMU_IOAS_IOVA_RANGES', 0x84, s.iommu_ioas_iova_ranges, {
  since: '6.2',
  doc: 'Tells which IOVAs can be mapped. Every attached device may narrow them. EMSGSIZE if the array is too short.',
});

export const IOMMU_IOAS_MAP = ioctl('IOMMU_IOAS_MAP', 0x85, s.iommu_ioas_map, {
  since: '6.2',
  doc: 'Maps memory of the process. An IOVA in use is never replaced (EEXIST).',
});

export const IOMMU_IOAS_UNMAP = ioctl('IOMMU_IOAS_UNMAP', 0x86, s.iommu_ioas_unmap, {
  since: '6.2',
  doc: 'Unmaps every mapping in a range. Mappings are not split. ENOENT if there was none.',
});

export const IOMMU_OPTION = ioctl('IOMMU_OPTION', 0x87, s.iommu_option, {
  since: '6.2',
  doc: 'Reads or changes an option of the file or of an object.',
});

export const IOMMU_VFIO_IOAS = ioctl('IOMMU_VFIO_IOAS', 0x88, s.iommu_vfio_ioas, {
  since: '6.2',
  doc: 'Tells or changes which IOAS the VFIO type1 calls on this file work on.',
});

export const IOMMU_HWPT_ALLOC = ioctl('IOMMU_HWPT_ALLOC', 0x89, s.iommu_hwpt_alloc, {
  since: '6.6',
  minSize: s.iommu_hwpt_alloc.end('__reserved'),
  doc:
    'Makes a hardware page table: one that the kernel keeps equal to an IOAS, or a nested one whose first stage the ' +
    'guest owns.',
});

export const IOMMU_GET_HW_INFO = ioctl('IOMMU_GET_HW_INFO', 0x8a, s.iommu_hw_info, {
  since: '6.6',
  minSize: s.iommu_hw_info.end('__reserved'),
  doc: "Describes a device's IOMMU: its registers in the driver's own form, and what it can do.",
});

export const IOMMU_HWPT_SET_DIRTY_TRACKING = ioctl(
  'IOMMU_HWPT_SET_DIRTY_TRACKING',
  0x8b,
  s.iommu_hwpt_set_dirty_tracking,
  { since: '6.7', doc: 'Starts or stops tracking of pages written through a page table. Starting forgets older ones.' },
);

export const IOMMU_HWPT_GET_DIRTY_BITMAP = ioctl('IOMMU_HWPT_GET_DIRTY_BITMAP', 0x8c, s.iommu_hwpt_get_dirty_bitmap, {
  since: '6.7',
  doc: 'Tells which pages were written through a page table, and by default forgets it.',
});

export const IOMMU_HWPT_INVALIDATE = ioctl('IOMMU_HWPT_INVALIDATE', 0x8d, s.iommu_hwpt_invalidate, {
  since: '6.8',
  doc: "Invalidates what the IOMMU or devices cached of a guest's page tables. Entries are carried out in order.",
});

export const IOMMU_FAULT_QUEUE_ALLOC = ioctl('IOMMU_FAULT_QUEUE_ALLOC', 0x8e, s.iommu_fault_alloc, {
  since: '6.11',
  doc: 'Makes a queue for I/O page faults.',
});

export const IOMMU_IOAS_MAP_FILE = ioctl('IOMMU_IOAS_MAP_FILE', 0x8f, s.iommu_ioas_map_file, {
  since: '6.13',
  doc: 'Maps memory by its file instead of an address, so that the mapping outlives the process that made it.',
});

export const IOMMU_VIOMMU_ALLOC = ioctl('IOMMU_VIOMMU_ALLOC', 0x90, s.iommu_viommu_alloc, {
  since: '6.13',
  minSize: s.iommu_viommu_alloc.end('out_viommu_id'),
  doc: "Makes a virtual IOMMU: a virtual machine's own slice of a physical one.",
});

export const IOMMU_VDEVICE_ALLOC = ioctl('IOMMU_VDEVICE_ALLOC', 0x91, s.iommu_vdevice_alloc, {
  since: '6.13',
  doc: 'Tells a vIOMMU by which id the guest knows a device.',
});

export const IOMMU_IOAS_CHANGE_PROCESS = ioctl('IOMMU_IOAS_CHANGE_PROCESS', 0x92, s.iommu_ioas_change_process, {
  since: '6.13',
  doc: 'Charges all pinned pages to the calling process from now on. EINVAL unless every mapping was made by file.',
});

export const IOMMU_VEVENTQ_ALLOC = ioctl('IOMMU_VEVENTQ_ALLOC', 0x93, s.iommu_veventq_alloc, {
  since: '6.15',
  minSize: s.iommu_veventq_alloc.end('out_veventq_fd'),
  doc: 'Makes a queue of events that the hardware raises for a vIOMMU.',
});

export const IOMMU_HW_QUEUE_ALLOC = ioctl('IOMMU_HW_QUEUE_ALLOC', 0x94, s.iommu_hw_queue_alloc, {
  since: '6.17',
  doc: "Makes a queue in guest memory that the hardware reads by itself, such as a vIOMMU's command queue.",
});

export const IOMMU_IOAS_NOIOMMU_GET_PA = ioctl('IOMMU_IOAS_NOIOMMU_GET_PA', 0x95, s.iommu_ioas_noiommu_get_pa, {
  since: '7.3',
  doc:
    'Tells the physical address behind an IOVA, for a device without an IOMMU. Wants CAP_SYS_RAWIO (EPERM) and a kernel ' +
    'built for it.',
});
