// The ioctls of a VFIO device cdev, of its migration file, and the type1 ones that /dev/iommu answers. Some numbers mean
// different things on different files. minSize counts the fields that the kernel wants at least.
import { ioctl, noArgument, s32, struct, u32 } from './layout.js';
import * as s from './vfio-structs.js';
import * as type1 from './vfio-type1.js';

export const vfio_extension_argument = struct(
  'vfio_extension_argument',
  'Argument of VFIO_CHECK_EXTENSION, by value.',
  {
    extension: u32('One of vfio_extension'),
  },
);

export const vfio_set_iommu_argument = struct('vfio_set_iommu_argument', 'Argument of VFIO_SET_IOMMU, by value.', {
  type: s32('One of vfio_extension that names an IOMMU model'),
});

export const vfio_gfx_dmabuf_argument = struct('vfio_gfx_dmabuf_argument', 'Argument of VFIO_DEVICE_GET_GFX_DMABUF.', {
  dmabuf_id: u32('As VFIO_DEVICE_QUERY_GFX_PLANE gave it'),
});

export const VFIO_GET_API_VERSION = ioctl('VFIO_GET_API_VERSION', 100, noArgument, {
  since: '3.6',
  doc: 'Returns VFIO_API_VERSION. On a container or /dev/iommu.',
});

export const VFIO_CHECK_EXTENSION = ioctl('VFIO_CHECK_EXTENSION', 101, vfio_extension_argument, {
  since: '3.6',
  argument: 'value',
  doc: 'Returns whether an extension is there: 0, or a positive number. On a container or /dev/iommu.',
});

export const VFIO_SET_IOMMU = ioctl('VFIO_SET_IOMMU', 102, vfio_set_iommu_argument, {
  since: '3.6',
  argument: 'value',
  doc: 'Chooses the IOMMU model. On a container or /dev/iommu, which wants a compatibility IOAS first (ENODEV).',
});

export const VFIO_DEVICE_GET_INFO = ioctl('VFIO_DEVICE_GET_INFO', 107, s.vfio_device_info, {
  since: '3.6',
  minSize: s.vfio_device_info.end('num_irqs'),
  doc: 'Describes a device.',
});

export const VFIO_DEVICE_GET_REGION_INFO = ioctl('VFIO_DEVICE_GET_REGION_INFO', 108, s.vfio_region_info, {
  since: '3.6',
  doc: 'Describes a region of a device: a BAR, its configuration space, or something of its own.',
});

export const VFIO_DEVICE_GET_IRQ_INFO = ioctl('VFIO_DEVICE_GET_IRQ_INFO', 109, s.vfio_irq_info, {
  since: '3.6',
  doc: 'Describes an interrupt index of a device.',
});

export const VFIO_DEVICE_SET_IRQS = ioctl('VFIO_DEVICE_SET_IRQS', 110, s.vfio_irq_set, {
  since: '3.6',
  doc: 'Connects interrupts to eventfds, masks, unmasks or fires them.',
});

export const VFIO_DEVICE_RESET = ioctl('VFIO_DEVICE_RESET', 111, noArgument, {
  since: '3.6',
  doc: 'Resets a device.',
});

export const VFIO_DEVICE_GET_PCI_HOT_RESET_INFO = ioctl(
  'VFIO_DEVICE_GET_PCI_HOT_RESET_INFO',
  112,
  s.vfio_pci_hot_reset_info,
  { since: '3.12', doc: 'Tells which devices a reset of the bus or slot would reset.' },
);

export const VFIO_DEVICE_PCI_HOT_RESET = ioctl('VFIO_DEVICE_PCI_HOT_RESET', 113, s.vfio_pci_hot_reset, {
  since: '3.12',
  doc: 'Resets the bus or slot of a device. The caller must own all devices on it.',
});

export const VFIO_DEVICE_QUERY_GFX_PLANE = ioctl('VFIO_DEVICE_QUERY_GFX_PLANE', 114, s.vfio_device_gfx_plane_info, {
  since: '4.16',
  doc: 'Describes a plane of a virtual display.',
});

export const VFIO_DEVICE_GET_GFX_DMABUF = ioctl('VFIO_DEVICE_GET_GFX_DMABUF', 115, vfio_gfx_dmabuf_argument, {
  since: '4.16',
  doc: 'Returns a dma-buf for a plane of a virtual display.',
});

export const VFIO_DEVICE_IOEVENTFD = ioctl('VFIO_DEVICE_IOEVENTFD', 116, s.vfio_device_ioeventfd, {
  since: '4.17',
  minSize: s.vfio_device_ioeventfd.end('fd'),
  doc: 'Writes to a BAR of the device, inside the kernel, whenever an eventfd is signalled.',
});

export const VFIO_DEVICE_FEATURE = ioctl('VFIO_DEVICE_FEATURE', 117, s.vfio_device_feature, {
  since: '5.7',
  doc: 'Reads, changes or asks for a feature of a device. ENOTTY for one it does not have.',
});

export const VFIO_DEVICE_BIND_IOMMUFD = ioctl('VFIO_DEVICE_BIND_IOMMUFD', 118, s.vfio_device_bind_iommufd, {
  since: '6.6',
  minSize: s.vfio_device_bind_iommufd.end('out_devid'),
  doc: 'Puts a device under an iommufd, until its file is closed. Before that, nothing else works on the file.',
});

export const VFIO_DEVICE_ATTACH_IOMMUFD_PT = ioctl(
  'VFIO_DEVICE_ATTACH_IOMMUFD_PT',
  119,
  s.vfio_device_attach_iommufd_pt,
  {
    since: '6.6',
    minSize: s.vfio_device_attach_iommufd_pt.end('pt_id'),
    doc: 'Attaches a device, or a PASID of it, to a page table; replaces the one it has. EBUSY while it is being reset.',
  },
);

export const VFIO_DEVICE_DETACH_IOMMUFD_PT = ioctl(
  'VFIO_DEVICE_DETACH_IOMMUFD_PT',
  120,
  s.vfio_device_detach_iommufd_pt,
  {
    since: '6.6',
    minSize: s.vfio_device_detach_iommufd_pt.end('flags'),
    doc: 'Takes the page table away: DMA of the device, or of the PASID, is blocked.',
  },
);

export const VFIO_MIG_GET_PRECOPY_INFO = ioctl('VFIO_MIG_GET_PRECOPY_INFO', 121, s.vfio_precopy_info, {
  since: '6.2',
  doc: 'On a migration file in a PRE_COPY state: estimates what is still to be read. EINVAL in other states.',
});

export const VFIO_IOMMU_GET_INFO = ioctl('VFIO_IOMMU_GET_INFO', 112, type1.vfio_iommu_type1_info, {
  since: '3.6',
  minSize: type1.vfio_iommu_type1_info.end('iova_pgsizes'),
  doc: 'On a container or /dev/iommu: page sizes, usable IOVAs, how many mappings are left.',
});

export const VFIO_IOMMU_MAP_DMA = ioctl('VFIO_IOMMU_MAP_DMA', 113, type1.vfio_iommu_type1_dma_map, {
  since: '3.6',
  doc: 'On a container or /dev/iommu: maps memory of the process at a given IOVA.',
});

export const VFIO_IOMMU_UNMAP_DMA = ioctl('VFIO_IOMMU_UNMAP_DMA', 114, type1.vfio_iommu_type1_dma_unmap, {
  since: '3.6',
  doc: 'On a container or /dev/iommu: unmaps a range.',
});
