// The private interface of the kernel's mock IOMMU (CONFIG_IOMMUFD_TEST), in the form of the public tables. It is for
// tests only, and may change with every kernel.
import {
  type Constants,
  constants,
  type Fields,
  type Ioctl,
  ioctl,
  type Layout,
  placed,
  ptr,
  s32,
  struct,
  u32,
  u64,
} from '../../../uapi/layout.js';

const HEADER = {
  size: u32('Bytes of this struct'),
  op: u32('One of iommu_test_op'),
  id: u32('The object the operation is about'),
  __reserved: u32('Must be 0'),
};

/** Behind the union, whose longest member is `dirty`. */
const TRAILER = { last: placed(64, u32('Not used: it ends the struct')) };

/** A sub-operation of IOMMU_TEST_CMD: the union's member of this name, with the fields around the union. */
function testCmd<F extends Fields>(name: string, doc: string, fields: F) {
  return struct(`iommu_test_cmd.${name}`, doc, { ...HEADER, ...fields, ...TRAILER }, 8);
}

export const iommu_test_cmd = struct('iommu_test_cmd', 'Every operation of the mock.', { ...HEADER, ...TRAILER }, 8);

export const test_add_reserved = testCmd('add_reserved', 'ADD_RESERVED: reserves IOVAs of the IOAS id.', {
  start: u64('The first IOVA'),
  length: u64('Bytes'),
});

export const test_mock_domain = testCmd(
  'mock_domain',
  'MOCK_DOMAIN: makes a mock device and attaches it to the IOAS id.',
  {
    out_stdev_id: u32('The mock device, to detach it by destroying this'),
    out_hwpt_id: u32('The page table it got'),
    out_idev_id: u32('The device as iommufd knows it'),
  },
);

export const test_mock_domain_flags = testCmd('mock_domain_flags', 'MOCK_DOMAIN_FLAGS: MOCK_DOMAIN, with flags.', {
  out_stdev_id: u32('The mock device, to detach it by destroying this'),
  out_hwpt_id: u32('The page table it got'),
  out_idev_id: u32('The device as iommufd knows it'),
  dev_flags: u32('Bits of mock_flags_device'),
});

export const test_mock_domain_replace = testCmd(
  'mock_domain_replace',
  'MOCK_DOMAIN_REPLACE: attaches the mock device id to something else.',
  { pt_id: u32('In: an IOAS or page table. Out: the page table') },
);

export const test_check_map = testCmd(
  'check_map',
  'MD_CHECK_MAP: checks that the page table id maps IOVAs to memory.',
  {
    iova: u64('Where the range starts'),
    length: u64('Bytes'),
    uptr: ptr('in', 'The memory that must be there'),
  },
);

export const test_check_refs = testCmd('check_refs', 'MD_CHECK_REFS: checks how often pages are pinned.', {
  length: u64('Bytes'),
  uptr: ptr('in', 'The memory'),
  refs: u32('Pins that each page must have'),
});

export const test_create_access = testCmd('create_access', 'CREATE_ACCESS: makes an access to the IOAS id.', {
  out_access_fd: u32('A file that stands for it'),
  flags: u32('Bits of mock_flags_access_create'),
});

export const test_destroy_access_pages = testCmd(
  'destroy_access_pages',
  'DESTROY_ACCESS_PAGES: gives back pages pinned through the access id.',
  { access_pages_id: u32('Which pages') },
);

export const test_access_pages = testCmd('access_pages', 'ACCESS_PAGES: pins pages through the access id.', {
  flags: u32('Bits of mock_flags_access'),
  out_access_pages_id: u32('The pinned pages'),
  iova: u64('Where the range starts'),
  length: u64('Bytes'),
  uptr: ptr('in', 'The memory that must be there'),
});

export const test_access_rw = testCmd('access_rw', 'ACCESS_RW: reads or writes through the access id.', {
  iova: u64('Where the range starts'),
  length: u64('Bytes'),
  uptr: ptr('inout', 'The bytes, copied there or away'),
  flags: u32('Bits of mock_access_rw'),
});

export const test_memory_limit = testCmd(
  'memory_limit',
  'SET_TEMP_MEMORY_LIMIT: bounds the scratch memory of pinning.',
  {
    limit: u32('Bytes'),
  },
);

export const test_access_replace_ioas = testCmd(
  'access_replace_ioas',
  'ACCESS_REPLACE_IOAS: moves the access id to another IOAS.',
  { ioas_id: u32('The other IOAS') },
);

export const test_dirty = testCmd('dirty', 'DIRTY: marks pages of the page table id as written.', {
  flags: u32('Not used'),
  iova: u64('Where the range starts'),
  length: u64('Bytes'),
  page_size: u64('Bytes that one bit stands for'),
  uptr: ptr('in', 'The bitmap'),
  out_nr_dirty: u64('How many pages were marked'),
});

export const test_check_iotlb = testCmd(
  'check_iotlb',
  'MD_CHECK_IOTLB: checks an IOTLB entry of the nested page table id.',
  {
    check_iotlb_id: u32('Which entry'),
    iotlb: u32('What it must be'),
  },
);

export const test_trigger_iopf = testCmd('trigger_iopf', 'TRIGGER_IOPF: makes a device fault.', {
  dev_id: u32('The device'),
  pasid: u32('Its PASID; 0 for none'),
  grpid: u32('The page request group'),
  perm: u32('Bits of iommu_hwpt_pgfault_perm'),
  addr: u64('The address'),
});

export const test_check_dev_cache = testCmd(
  'check_dev_cache',
  'DEV_CHECK_CACHE: checks a cache entry of the device id.',
  {
    check_dev_cache_id: u32('Which entry'),
    cache: u32('What it must be'),
  },
);

export const test_trigger_vevent = testCmd('trigger_vevent', 'TRIGGER_VEVENT: raises a virtual event.', {
  dev_id: u32('The device it is about'),
});

export const test_pasid_attach = testCmd('pasid_attach', 'PASID_ATTACH: attaches a PASID of the mock device id.', {
  pasid: u32('The PASID'),
  pt_id: u32('In: an IOAS or page table. Out: the page table'),
});

export const test_pasid_replace = testCmd('pasid_replace', 'PASID_REPLACE: attaches it to something else.', {
  pasid: u32('The PASID'),
  pt_id: u32('In: an IOAS or page table. Out: the page table'),
});

export const test_pasid_detach = testCmd('pasid_detach', 'PASID_DETACH: detaches a PASID of the mock device id.', {
  pasid: u32('The PASID'),
});

export const test_pasid_check = testCmd('pasid_check', 'PASID_CHECK_HWPT: checks what a PASID is attached to.', {
  pasid: u32('The PASID'),
  hwpt_id: u32('The page table it must be; 0 for none'),
});

export const test_dmabuf_get = testCmd('dmabuf_get', 'DMABUF_GET: returns a new dma-buf.', {
  length: u32('Bytes'),
  open_flags: u32('Flags of the file, as for open(2)'),
});

export const test_dmabuf_revoke = testCmd('dmabuf_revoke', 'DMABUF_REVOKE: takes a dma-buf away, or gives it back.', {
  dmabuf_fd: s32('The dma-buf'),
  revoked: u32('1 takes it away, 0 gives it back'),
});

export const iommu_test_hw_info = struct('iommu_test_hw_info', 'What IOMMU_GET_HW_INFO says of the mock.', {
  flags: u32('0'),
  test_reg: u32('IOMMU_HW_INFO_SELFTEST_REGVAL'),
});

export const iommu_hwpt_selftest = struct('iommu_hwpt_selftest', 'A page table of the mock.', {
  iotlb: u32('What every IOTLB entry of a nested one is at first'),
  pagetable_type: u32('One of mock_iommupt, for one that is not nested'),
});

export const iommu_hwpt_invalidate_selftest = struct(
  'iommu_hwpt_invalidate_selftest',
  'An IOTLB entry of a nested page table to set to 0.',
  { flags: u32('Bits of iommu_test_invalidate_flags'), iotlb_id: u32('Which entry, unless all') },
);

export const iommu_viommu_selftest = struct('iommu_viommu_selftest', 'Driver data of a vIOMMU of the mock.', {
  in_data: u32('Anything'),
  out_data: u32('The same'),
  out_mmap_offset: u64('Offset to mmap /dev/iommu at'),
  out_mmap_length: u64('Bytes that can be mapped'),
});

export const iommu_viommu_invalidate_selftest = struct(
  'iommu_viommu_invalidate_selftest',
  'A cache entry of a virtual device to set to 0.',
  {
    flags: u32('Bits of iommu_test_invalidate_flags'),
    vdev_id: u32("The guest's id of the device"),
    cache_id: u32('Which entry, unless all'),
  },
);

export const iommu_viommu_event_selftest = struct('iommu_viommu_event_selftest', 'A virtual event of the mock.', {
  virt_id: u32("The guest's id of the device"),
});

export const iommu_test_op = constants('iommu_test_op', 'Operations of IOMMU_TEST_CMD.', {
  IOMMU_TEST_OP_ADD_RESERVED: 1,
  IOMMU_TEST_OP_MOCK_DOMAIN: 2,
  IOMMU_TEST_OP_MD_CHECK_MAP: 3,
  IOMMU_TEST_OP_MD_CHECK_REFS: 4,
  IOMMU_TEST_OP_CREATE_ACCESS: 5,
  IOMMU_TEST_OP_DESTROY_ACCESS_PAGES: 6,
  IOMMU_TEST_OP_ACCESS_PAGES: 7,
  IOMMU_TEST_OP_ACCESS_RW: 8,
  IOMMU_TEST_OP_SET_TEMP_MEMORY_LIMIT: 9,
  IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE: 10,
  IOMMU_TEST_OP_ACCESS_REPLACE_IOAS: 11,
  IOMMU_TEST_OP_MOCK_DOMAIN_FLAGS: 12,
  IOMMU_TEST_OP_DIRTY: 13,
  IOMMU_TEST_OP_MD_CHECK_IOTLB: 14,
  IOMMU_TEST_OP_TRIGGER_IOPF: 15,
  IOMMU_TEST_OP_DEV_CHECK_CACHE: 16,
  IOMMU_TEST_OP_TRIGGER_VEVENT: 17,
  IOMMU_TEST_OP_PASID_ATTACH: 18,
  IOMMU_TEST_OP_PASID_REPLACE: 19,
  IOMMU_TEST_OP_PASID_DETACH: 20,
  IOMMU_TEST_OP_PASID_CHECK_HWPT: 21,
  IOMMU_TEST_OP_DMABUF_GET: 22,
  IOMMU_TEST_OP_DMABUF_REVOKE: 23,
});

/** The Linux that brought an operation, for those that did not come with Linux 6.12 or before. */
export const testOpSince: { readonly [op in keyof typeof iommu_test_op.values]?: string } = {
  IOMMU_TEST_OP_DEV_CHECK_CACHE: '6.13',
  IOMMU_TEST_OP_TRIGGER_VEVENT: '6.15',
  IOMMU_TEST_OP_PASID_ATTACH: '6.15',
  IOMMU_TEST_OP_PASID_REPLACE: '6.15',
  IOMMU_TEST_OP_PASID_DETACH: '6.15',
  IOMMU_TEST_OP_PASID_CHECK_HWPT: '6.15',
  IOMMU_TEST_OP_DMABUF_GET: '6.19',
  IOMMU_TEST_OP_DMABUF_REVOKE: '6.19',
};
/** The Linux from which on mock devices have PASIDs (MOCK_FLAGS_DEVICE_PASID). */
export const mockPasidSince = '6.15';

export const mock_iommupt = constants('mock_iommupt', 'Formats of page tables.', {
  MOCK_IOMMUPT_DEFAULT: [0, 'Pages of MOCK_PAGE_SIZE and MOCK_HUGE_PAGE_SIZE, in the mock aperture'],
  MOCK_IOMMUPT_HUGE: [1, 'Pages of MOCK_HUGE_PAGE_SIZE only; the page size of the system is named too'],
});

export const mock_iommu = constants('mock_iommu', 'The default format: IOVAs it has, and page sizes.', {
  MOCK_APERTURE_START: 1 << 24,
  MOCK_APERTURE_LAST: 0x7fff_ffff,
  MOCK_PAGE_SIZE: 2048,
  MOCK_HUGE_PAGE_SIZE: 512 * 2048,
  MOCK_PASID_WIDTH: [20, 'Bits of a PASID'],
});

export const mock_flags_access = constants('mock_flags_access', 'Flags of ACCESS_PAGES.', {
  MOCK_FLAGS_ACCESS_WRITE: [1 << 0, 'The pages are to be written'],
  MOCK_FLAGS_ACCESS_SYZ: [
    1 << 16,
    'The IOVA is the number of a mapping and an offset in it, for fuzzing; also of ACCESS_RW',
  ],
});

export const mock_access_rw = constants('mock_access_rw', 'Flags of ACCESS_RW.', {
  MOCK_ACCESS_RW_WRITE: [1 << 0, 'Write'],
  MOCK_ACCESS_RW_SLOW_PATH: [1 << 2, 'Take the slow path'],
});

export const mock_flags_access_create = constants('mock_flags_access_create', 'Flags of CREATE_ACCESS.', {
  MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES: [1 << 0, 'The access pins pages'],
});

export const mock_flags_device = constants('mock_flags_device', 'What a mock device is like.', {
  MOCK_FLAGS_DEVICE_NO_DIRTY: [1 << 0, 'Its IOMMU cannot track dirty pages'],
  MOCK_FLAGS_DEVICE_PASID: [1 << 2, 'It has PASIDs'],
});

export const mock_limits = constants('mock_limits', 'How many of a kind there are.', {
  MOCK_NESTED_DOMAIN_IOTLB_ID_MAX: 3,
  MOCK_NESTED_DOMAIN_IOTLB_NUM: 4,
  MOCK_DEV_CACHE_ID_MAX: 3,
  MOCK_DEV_CACHE_NUM: 4,
  IOMMU_TEST_HW_QUEUE_MAX: 2,
});

export const iommu_test_numbers = constants('iommu_test_numbers', 'Types and values of the mock.', {
  IOMMU_TEST_PASID_RESERVED: [1024, 'Set aside for a test of replacing; to the mock it is like the others'],
  IOMMU_HW_INFO_TYPE_SELFTEST: 0xfeed_beef,
  IOMMU_HW_INFO_SELFTEST_REGVAL: 0xdead_beef,
  IOMMU_HWPT_DATA_SELFTEST: 0xdead,
  IOMMU_TEST_IOTLB_DEFAULT: 0xbad_beef,
  IOMMU_TEST_DEV_CACHE_DEFAULT: 0xbad_dad,
  IOMMU_HWPT_INVALIDATE_DATA_SELFTEST: 0xdead_beef,
  IOMMU_HWPT_INVALIDATE_DATA_SELFTEST_INVALID: 0xdad_beef,
  IOMMU_VIOMMU_TYPE_SELFTEST: 0xdead_beef,
  IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST: 0xdead_beef,
  IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST_INVALID: 0xdad_beef,
  IOMMU_VEVENTQ_TYPE_SELFTEST: 0xbeef_beef,
  IOMMU_HW_QUEUE_TYPE_SELFTEST: 0xdead_beef,
});

export const iommu_test_invalidate_flags = constants('iommu_test_invalidate_flags', 'Flags of an invalidation.', {
  IOMMU_TEST_INVALIDATE_FLAG_ALL: [1 << 0, 'All entries'],
});

export const IOMMU_TEST_CMD = ioctl('IOMMU_TEST_CMD', 0xa0, iommu_test_cmd, {
  since: '6.2',
  minSize: iommu_test_cmd.end('last'),
  doc: 'An operation of the mock.',
});

export const testStructs: readonly Layout<Fields>[] = [
  iommu_test_cmd,
  test_add_reserved,
  test_mock_domain,
  test_mock_domain_flags,
  test_mock_domain_replace,
  test_check_map,
  test_check_refs,
  test_create_access,
  test_destroy_access_pages,
  test_access_pages,
  test_access_rw,
  test_memory_limit,
  test_access_replace_ioas,
  test_dirty,
  test_check_iotlb,
  test_trigger_iopf,
  test_check_dev_cache,
  test_trigger_vevent,
  test_pasid_attach,
  test_pasid_replace,
  test_pasid_detach,
  test_pasid_check,
  test_dmabuf_get,
  test_dmabuf_revoke,
  iommu_test_hw_info,
  iommu_hwpt_selftest,
  iommu_hwpt_invalidate_selftest,
  iommu_viommu_selftest,
  iommu_viommu_invalidate_selftest,
  iommu_viommu_event_selftest,
];

export const testConstants: readonly Constants[] = [
  iommu_test_op,
  mock_iommupt,
  mock_iommu,
  mock_flags_access,
  mock_access_rw,
  mock_flags_access_create,
  mock_flags_device,
  mock_limits,
  iommu_test_numbers,
  iommu_test_invalidate_flags,
];

export const testIoctls: readonly Ioctl[] = [IOMMU_TEST_CMD];
