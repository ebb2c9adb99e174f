// The structs of linux/vfio.h that the ioctls of a VFIO device cdev take or return.
import { flex, nested, overlay, ptr, s32, struct, u8, u16, u32, u64 } from './layout.js';

const SIZE = 'Bytes that the caller provides; too few for the fixed fields: EINVAL';
const SIZE_INOUT = `${SIZE}. Out: bytes needed for everything there is`;
const RESERVED = 'Not used; 0';
const INFO_CAP = 'Offset of the first capability in this buffer; 0 without one, or when the buffer is too short';

export const vfio_info_cap_header = struct('vfio_info_cap_header', 'What every capability starts with.', {
  id: u16('Which capability; the numbers are different for each ioctl'),
  version: u16('Version of its layout'),
  next: u32('Offset of the next one in the whole buffer; 0 after the last'),
});

export const vfio_device_info = struct('vfio_device_info', 'Argument of VFIO_DEVICE_GET_INFO.', {
  argsz: u32(SIZE_INOUT),
  flags: u32('Bits of vfio_device_flags'),
  num_regions: u32('Highest region index, plus 1'),
  num_irqs: u32('Highest interrupt index, plus 1'),
  cap_offset: u32(INFO_CAP),
  pad: u32(RESERVED),
});

export const vfio_device_info_cap_pci_atomic_comp = struct(
  'vfio_device_info_cap_pci_atomic_comp',
  'Capability: which PCIe AtomicOps the root port completes.',
  {
    header: nested(vfio_info_cap_header, 'Id VFIO_DEVICE_INFO_CAP_PCI_ATOMIC_COMP'),
    flags: u32('Bits of vfio_pci_atomic_comp'),
    reserved: u32(RESERVED),
  },
);

export const vfio_region_info = struct('vfio_region_info', 'Argument of VFIO_DEVICE_GET_REGION_INFO.', {
  argsz: u32(SIZE_INOUT),
  flags: u32('Bits of vfio_region_info_flags'),
  index: u32('In: the region; one that does not exist: EINVAL'),
  cap_offset: u32(INFO_CAP),
  size: u64('Bytes; 0 where the device has no such region'),
  offset: u64('Where it starts in the file of the device, for pread, pwrite and mmap'),
});

export const vfio_region_sparse_mmap_area = struct(
  'vfio_region_sparse_mmap_area',
  'A part of a region that can be mapped.',
  {
    offset: u64('Where it starts in the region'),
    size: u64('Bytes'),
  },
);

export const vfio_region_info_cap_sparse_mmap = struct(
  'vfio_region_info_cap_sparse_mmap',
  'Capability: only these parts of a region can be mapped.',
  {
    header: nested(vfio_info_cap_header, 'Id VFIO_REGION_INFO_CAP_SPARSE_MMAP'),
    nr_areas: u32('How many'),
    reserved: u32(RESERVED),
    areas: flex(vfio_region_sparse_mmap_area, 'The parts'),
  },
);

export const vfio_region_info_cap_type = struct(
  'vfio_region_info_cap_type',
  'Capability: what a device-specific region is.',
  {
    header: nested(vfio_info_cap_header, 'Id VFIO_REGION_INFO_CAP_TYPE'),
    type: u32('One of vfio_region_type'),
    subtype: u32('One of vfio_region_subtype, of that type'),
  },
);

export const vfio_region_gfx_edid = struct(
  'vfio_region_gfx_edid',
  'What the EDID region of a virtual display starts with. To change the blob: link down, blob and size, link up.',
  {
    edid_offset: u32('Where the blob starts in the region; read-only'),
    edid_max_size: u32('Bytes it may have; read-only'),
    edid_size: u32('Bytes it has'),
    max_xres: u32('Widest display, in pixels; 0 for any; read-only'),
    max_yres: u32('Highest display, in pixels; 0 for any; read-only'),
    link_state: u32('One of vfio_gfx_link_state'),
  },
);

export const vfio_irq_info = struct('vfio_irq_info', 'Argument of VFIO_DEVICE_GET_IRQ_INFO.', {
  argsz: u32(SIZE),
  flags: u32('Bits of vfio_irq_info_flags'),
  index: u32('In: the interrupt index; one that does not exist: EINVAL'),
  count: u32('How many interrupts it has; 0 where the device has none of the kind'),
});

export const vfio_irq_set = struct('vfio_irq_set', 'Argument of VFIO_DEVICE_SET_IRQS.', {
  argsz: u32(`${SIZE}, data included`),
  flags: u32('Bits of vfio_irq_set_flags'),
  index: u32('The interrupt index'),
  start: u32('The first interrupt of it'),
  count: u32('How many; 0 only to turn an index off'),
  data: flex('u8', 'As the DATA bit says: nothing, count bytes, or count s32'),
});

export const vfio_pci_dependent_device = struct('vfio_pci_dependent_device', 'A device that a hot reset resets too.', {
  group_id: u32('Its IOMMU group, when asked through the group interface'),
  devid: overlay(
    'group_id',
    'Its id in the iommufd of the caller, or one of vfio_pci_devid, when asked through a cdev',
  ),
  segment: u16('PCI domain'),
  bus: u8('Bus'),
  devfn: u8('Device in bits 7:3, function in bits 2:0'),
});

export const vfio_pci_hot_reset_info = struct(
  'vfio_pci_hot_reset_info',
  'Argument of VFIO_DEVICE_GET_PCI_HOT_RESET_INFO.',
  {
    argsz: u32(SIZE),
    flags: u32('Bits of vfio_pci_hot_reset_flags'),
    count: u32('How many devices there are; ENOSPC if they do not fit'),
    devices: flex(vfio_pci_dependent_device, 'The devices'),
  },
);

export const vfio_pci_hot_reset = struct('vfio_pci_hot_reset', 'Argument of VFIO_DEVICE_PCI_HOT_RESET.', {
  argsz: u32(SIZE),
  flags: u32(RESERVED),
  count: u32('How many group files follow; 0 on a cdev'),
  group_fds: flex('s32', 'Files of the groups, as proof of owning them'),
});

export const vfio_device_gfx_plane_info = struct(
  'vfio_device_gfx_plane_info',
  'Argument of VFIO_DEVICE_QUERY_GFX_PLANE. A plane that is off has format, size, width and height 0.',
  {
    argsz: u32(SIZE),
    flags: u32('In: bits of vfio_gfx_plane_type'),
    drm_plane_type: u32('In: the DRM plane type'),
    drm_format: u32('DRM pixel format'),
    drm_format_mod: u64('DRM format modifier'),
    width: u32('Pixels'),
    height: u32('Pixels'),
    stride: u32('Bytes from one line to the next'),
    size: u32('Bytes of the plane, whole pages'),
    x_pos: u32('Where a cursor plane is, in pixels'),
    y_pos: u32('Where a cursor plane is, in pixels'),
    x_hot: u32("The cursor's hotspot; all bits set for none"),
    y_hot: u32("The cursor's hotspot; all bits set for none"),
    region_index: u32('The region that holds it, with VFIO_GFX_PLANE_TYPE_REGION'),
    dmabuf_id: overlay('region_index', 'What VFIO_DEVICE_GET_GFX_DMABUF takes, with VFIO_GFX_PLANE_TYPE_DMABUF'),
    reserved: u32(RESERVED),
  },
);

export const vfio_device_ioeventfd = struct('vfio_device_ioeventfd', 'Argument of VFIO_DEVICE_IOEVENTFD.', {
  argsz: u32(SIZE),
  flags: u32('Exactly one of vfio_device_ioeventfd_flags'),
  offset: u64('Where to write, in the file of the device'),
  data: u64('What to write'),
  fd: s32('The eventfd; -1 takes the write back'),
  reserved: u32(RESERVED),
});

export const vfio_device_feature = struct('vfio_device_feature', 'Argument of VFIO_DEVICE_FEATURE.', {
  argsz: u32(`${SIZE}, data included`),
  flags: u32('A vfio_device_feature_index and bits of vfio_device_feature_flags'),
  data: flex('u8', "The feature's own struct; not needed to probe"),
});

export const vfio_device_bind_iommufd = struct('vfio_device_bind_iommufd', 'Argument of VFIO_DEVICE_BIND_IOMMUFD.', {
  argsz: u32(SIZE),
  flags: u32('Bits of vfio_device_bind_flags'),
  iommufd: s32('The open /dev/iommu'),
  out_devid: u32('The id of the device there'),
  token_uuid_ptr: ptr(
    'in',
    '16 bytes: the token of the physical function, with VFIO_DEVICE_BIND_FLAG_TOKEN; else ignored',
  ),
});

export const vfio_device_attach_iommufd_pt = struct(
  'vfio_device_attach_iommufd_pt',
  'Argument of VFIO_DEVICE_ATTACH_IOMMUFD_PT.',
  {
    argsz: u32(SIZE),
    flags: u32('Bits of vfio_device_attach_flags'),
    pt_id: u32('In: an IOAS or a page table. Out: the page table attached, which for an IOAS may be a new one'),
    pasid: u32('The PASID, with VFIO_DEVICE_ATTACH_PASID'),
  },
);

export const vfio_device_detach_iommufd_pt = struct(
  'vfio_device_detach_iommufd_pt',
  'Argument of VFIO_DEVICE_DETACH_IOMMUFD_PT.',
  {
    argsz: u32(SIZE),
    flags: u32('Bits of vfio_device_detach_flags'),
    pasid: u32('The PASID, with VFIO_DEVICE_DETACH_PASID'),
  },
);

export const vfio_precopy_info = struct('vfio_precopy_info', 'Argument of VFIO_MIG_GET_PRECOPY_INFO.', {
  argsz: u32(SIZE),
  flags: u32('Output: bits of vfio_precopy_info_flags, once MIG_PRECOPY_INFOv2 was set'),
  initial_bytes: u64('Estimate of the initial data still to be read; better not stop the device before it is 0'),
  dirty_bytes: u64('Estimate of what changed since it was read'),
});
