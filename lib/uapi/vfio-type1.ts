// The structs of linux/vfio.h for the type1 calls on a container, which /dev/iommu answers for an IOAS of its own.
import { flex, nested, ptr, struct, u32, u64 } from './layout.js';
import { vfio_info_cap_header } from './vfio-structs.js';

const SIZE = 'Bytes that the caller provides; too few for the fixed fields: EINVAL';
const RESERVED = 'Not used; 0';

export const vfio_iommu_type1_info = struct('vfio_iommu_type1_info', 'Argument of VFIO_IOMMU_GET_INFO.', {
  argsz: u32(`${SIZE}. Out: bytes needed for everything there is`),
  flags: u32('Bits of vfio_iommu_info_flags'),
  iova_pgsizes: u64('Page sizes, as a set: bit n stands for 2^n bytes'),
  cap_offset: u32('Offset of the first capability in this buffer; 0 when the buffer is too short'),
  pad: u32(RESERVED),
});

export const vfio_iova_range = struct('vfio_iova_range', 'An interval of IOVAs, both ends included.', {
  start: u64('The first IOVA'),
  end: u64('The last IOVA'),
});

export const vfio_iommu_type1_info_cap_iova_range = struct(
  'vfio_iommu_type1_info_cap_iova_range',
  'Capability: which IOVAs can be mapped.',
  {
    header: nested(vfio_info_cap_header, 'Id VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE'),
    nr_iovas: u32('How many ranges'),
    reserved: u32(RESERVED),
    iova_ranges: flex(vfio_iova_range, 'The ranges'),
  },
);

export const vfio_iommu_type1_info_cap_migration = struct(
  'vfio_iommu_type1_info_cap_migration',
  'Capability: dirty page tracking of the container.',
  {
    header: nested(vfio_info_cap_header, 'Id VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION'),
    flags: u32(RESERVED),
    pgsize_bitmap: u64('Page sizes it can track, as a set: bit n stands for 2^n bytes'),
    max_dirty_bitmap_size: u64('Bytes the longest bitmap may have'),
  },
);

export const vfio_iommu_type1_info_dma_avail = struct(
  'vfio_iommu_type1_info_dma_avail',
  'Capability: how many more mappings are allowed.',
  {
    header: nested(vfio_info_cap_header, 'Id VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL'),
    avail: u32('How many; always 2^32 - 1 on /dev/iommu'),
  },
);

export const vfio_iommu_type1_dma_map = struct('vfio_iommu_type1_dma_map', 'Argument of VFIO_IOMMU_MAP_DMA.', {
  argsz: u32(SIZE),
  flags: u32('Bits of vfio_dma_map_flags'),
  vaddr: ptr('inout', "The memory: an address in the caller's process"),
  iova: u64('Where the mapping starts'),
  size: u64('Bytes'),
});

export const vfio_bitmap = struct('vfio_bitmap', 'A bitmap of pages.', {
  pgsize: u64('Bytes that one bit stands for'),
  size: u64('Bytes of the bitmap'),
  data: ptr('inout', 'The bitmap, all 0 before the call'),
});

export const vfio_iommu_type1_dma_unmap = struct('vfio_iommu_type1_dma_unmap', 'Argument of VFIO_IOMMU_UNMAP_DMA.', {
  argsz: u32(SIZE),
  flags: u32('Bits of vfio_dma_unmap_flags'),
  iova: u64('Where the range starts'),
  size: u64('In: bytes. Out: bytes unmapped; none is no error'),
  data: flex('u8', 'A vfio_bitmap, with VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP'),
});
