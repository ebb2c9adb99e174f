// What usually causes a refusal, and what to do about it: the one table. A hint never claims more than is known; where
// an errno has several causes, the likely ones are listed. Facts are from drivers/iommu/iommufd of Linux 7.3.

const ATTACH_EINVAL =
  'several causes: the page table belongs to another physical IOMMU (allocate one for this device); another device ' +
  'of the same group is attached elsewhere; PASID use does not match the page table (allocate it with pasid: true); ' +
  'the mappings fall into a range the device reserves; a virtual function with page requests; not a page table or IOAS';

const ATTACH_EADDRINUSE =
  'something is mapped, or promised with allowIovas, where the device cannot reach, or not aligned to the page size of ' +
  'its IOMMU: unmap that, and attach before mapping to see what fits in ioas.iovaRanges()';

const ATTACH: Readonly<Record<string, string>> = {
  EINVAL: ATTACH_EINVAL,
  EADDRINUSE: ATTACH_EADDRINUSE,
  ENOENT:
    'no such page table or IOAS; or a nested page table of a vIOMMU that does not know the device yet: make its vDEVICE ' +
    'first (viommu.allocVdevice)',
  EFAULT: 'pages of the IOAS cannot be pinned: memory is pinned when the first page table meets the mapping',
  ENOMEM: 'usually RLIMIT_MEMLOCK, not memory: memory is pinned when the first page table meets the mapping',
};

const DMA: Readonly<Record<string, string>> = {
  EFAULT:
    'the device is attached to nothing, or an IOVA of the range is not mapped, or not for this direction: see ' +
    'device.attachedTo() and host.inspect().mappings',
};

/** By call and errno; `*` stands for every call. */
const HINTS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  open: {
    EACCES: 'no permission: run as a user that may open the node, or change its owner or mode (udev rule)',
    EPERM: 'no permission: a container or security policy forbids the device',
    ENOENT:
      'there is no such node: the kernel lacks it (CONFIG_IOMMUFD), or its module is not loaded (modprobe iommufd)',
    ENXIO: 'the node exists, but no driver is behind it: load the module',
    EBUSY: 'another process has the device open, or another driver owns it',
  },
  mmap: {
    ENXIO: 'offset and length are not a region that this iommufd handed out',
    EINVAL: 'not page-aligned, or not a mapping the file can give',
    ENOMEM:
      'address space, RLIMIT_AS or vm.max_map_count is used up; for huge pages, reserve some first: /proc/sys/vm/nr_hugepages',
    EAGAIN: 'RLIMIT_MEMLOCK is used up',
    EBADF: 'not an open file',
  },
  fcntl: {
    EBADF: 'not an open file',
  },
  write: {
    EINVAL: 'no unanswered group of page requests has this cookie: it was answered before, or its device detached',
  },
  memfd_create: {
    ENOMEM: 'no memory; for huge pages, reserve some first: /proc/sys/vm/nr_hugepages',
    EINVAL: 'the kernel does not have huge pages of this size',
  },
  IOMMU_DESTROY: {
    EBUSY:
      'something still holds it: destroy what was made from it first, detach devices, close event fds, unmap its MMIO; ' +
      'hardware queues go in descending index',
    ENOENT:
      'no object has this id: it was destroyed already, or the kernel removed it (a page table the kernel made goes with its last device)',
    ENOTTY: 'the file is not an iommufd: every kernel that has /dev/iommu has this call',
  },
  IOMMU_IOAS_MAP: {
    EEXIST: 'the range overlaps an existing mapping: unmap it first, or choose another IOVA',
    EINVAL:
      'the length is 0, or the range is not usable: reserved by a device (the MSI window, for one), or not aligned to ' +
      'ioas.iovaRanges().alignment',
    ENOSPC: 'no free IOVA range is large enough: see ioas.iovaRanges(), and what ioas.allowIovas() was given',
    EOVERFLOW: 'the range ends beyond the last IOVA, or the last address',
    ENOENT: 'no IOAS has this id',
    EFAULT: 'the memory cannot be pinned: not mapped, read-only, or device memory (export a dma-buf and use mapFile)',
    ENOMEM: 'usually RLIMIT_MEMLOCK, not memory: raise it (ulimit -l, LimitMEMLOCK=), or give CAP_IPC_LOCK',
  },
  IOMMU_IOAS_MAP_FILE: {
    EEXIST: 'the range overlaps an existing mapping: unmap it first, or choose another IOVA',
    EINVAL:
      'the length is 0; or the range is not usable: reserved by a device, not aligned; or the file is neither a memfd nor ' +
      'a dma-buf, or shorter than the range',
    ENOSPC: 'no free IOVA range is large enough: see ioas.iovaRanges(), and what ioas.allowIovas() was given',
    EOVERFLOW: 'the range ends beyond the last IOVA, or the last offset of a file',
    ENOENT: 'no IOAS has this id',
    ENOMEM: 'usually RLIMIT_MEMLOCK, not memory: raise it (ulimit -l, LimitMEMLOCK=), or give CAP_IPC_LOCK',
    ENOTTY: 'this kernel has no IOAS_MAP_FILE (Linux 6.13): map by address instead',
    EBADF: 'not an open file',
  },
  IOMMU_IOAS_COPY: {
    ENOENT: 'the source range is not mapped from end to end',
    EEXIST: 'the destination range overlaps an existing mapping',
    EINVAL: 'the length is 0, or the destination range is not usable (reserved, or not aligned)',
    EPERM: 'the source was mapped with writable: false, so its copy must be too',
    ENOSPC: 'no free IOVA range is large enough: see ioas.iovaRanges(), and what ioas.allowIovas() was given',
    EOVERFLOW: 'a range ends beyond the last IOVA',
  },
  IOMMU_IOAS_UNMAP: {
    ENOENT: 'nothing is mapped there, or the range covers only part of a mapping: unmap with the range that was mapped',
    EBUSY: 'pages of the range are in use by an access or a hardware queue: destroy that first',
    EINVAL: 'the length is 0',
    EOVERFLOW: 'the range ends beyond the last IOVA',
    EDEADLK: 'a driver keeps pinning the range while it is unmapped',
  },
  IOMMU_IOAS_ALLOW_IOVAS: {
    EINVAL: 'ranges overlap, or one does not have its start below its last',
    EADDRINUSE: 'a device reserves part of these ranges: see ioas.iovaRanges()',
  },
  IOMMU_IOAS_IOVA_RANGES: {
    EMSGSIZE: 'more ranges than slots',
  },
  IOMMU_IOAS_CHANGE_PROCESS: {
    EINVAL: 'a mapping was made by address: only mappings of files can change their process',
  },
  IOMMU_IOAS_NOIOMMU_GET_PA: {
    EPERM: 'CAP_SYS_RAWIO is needed',
    EOPNOTSUPP:
      'the address space has no page table of a device without an IOMMU, or this kernel has no noiommu support ' +
      '(CONFIG_VFIO_NOIOMMU)',
    EINVAL: 'the length is 0',
    ENOENT: 'nothing is mapped at this IOVA',
  },
  IOMMU_OPTION: {
    EPERM: 'CAP_SYS_RESOURCE is needed',
    EBUSY: 'RLIMIT_MODE must be set before any object exists',
    EOPNOTSUPP: 'this kernel does not know the option',
    EINVAL:
      'not a value of this option; or hugePages was turned off while a page table has something mapped: do that first',
    EADDRINUSE: 'hugePages cannot be turned off: something is mapped that is not aligned to pages',
    ENOENT: 'no IOAS has this id',
  },
  IOMMU_VFIO_IOAS: {
    ENODEV: 'no compatibility IOAS is set',
    ENOENT: 'no IOAS has this id',
  },
  IOMMU_HWPT_ALLOC: {
    EOPNOTSUPP:
      'the IOMMU driver does not support one of the flags or the data type: nestParent needs nested translation, ' +
      'dirtyTracking a capable IOMMU (device.hwInfo().capabilities), pasid a PASID-capable one',
    EINVAL:
      'several causes: the page table cannot be a parent (allocate it with nestParent: true), the device sits behind another ' +
      'physical IOMMU than the vIOMMU or parent, data and data type do not fit, the driver refuses the data, or the IOAS ' +
      'maps a file that is neither a memfd nor a dma-buf, or is shorter than the range',
    EADDRINUSE: ATTACH_EADDRINUSE,
    EIO: 'the driver refuses a field of the STE: only the fields that linux/iommufd.h lists may be set',
    ENOENT: 'no such device or fault queue; a device without an IOMMU (mdev) has no page tables of its own',
    EFAULT: 'pages of the IOAS cannot be pinned: memory is pinned when the first page table meets the mapping',
    ENOMEM: 'usually RLIMIT_MEMLOCK, not memory: memory is pinned when the first page table meets the mapping',
    ENODEV: 'the device has no IOMMU behind it',
  },
  IOMMU_HWPT_SET_DIRTY_TRACKING: {
    EOPNOTSUPP: 'the page table was not allocated with dirtyTracking: true',
    EINVAL: 'the page table was not allocated with dirtyTracking: true',
  },
  IOMMU_HWPT_GET_DIRTY_BITMAP: {
    EOPNOTSUPP: 'the page table was not allocated with dirtyTracking: true',
    EINVAL: 'iova and length must be multiples of the page size asked for and of the IOAS alignment',
  },
  IOMMU_HWPT_INVALIDATE: {
    EIO: 'the driver refuses a command: unsupported opcode or field',
    EINVAL: 'an entry is malformed, names an unknown device, or has the wrong length or data type',
    EOPNOTSUPP: 'the driver does not know a flag of an entry, or this data type here',
    ETIMEDOUT: 'the hardware did not answer: a device may be gone',
  },
  IOMMU_GET_HW_INFO: {
    ENOENT: 'no bound device has this id; a device without an IOMMU (mdev) has no hardware info',
    EOPNOTSUPP: 'the IOMMU has no info of this type',
  },
  IOMMU_VIOMMU_ALLOC: {
    EOPNOTSUPP:
      'the IOMMU driver has no vIOMMU of this type: SMMUv3 needs nested translation and a platform that declares PCI ' +
      'traffic cache-coherent; VT-d has none (nest straight from the parent page table)',
    EINVAL: 'the page table is not a nesting parent (nestParent: true), or belongs to another physical IOMMU',
    ENOENT: 'no such device or page table',
  },
  IOMMU_VDEVICE_ALLOC: {
    EEXIST: 'the device has a vDEVICE already, or this virtual id is taken on the vIOMMU',
    EINVAL: 'the device sits behind another physical IOMMU than the vIOMMU',
    ENOENT: 'no such vIOMMU or device, or the device is being closed',
  },
  IOMMU_VEVENTQ_ALLOC: {
    EEXIST: 'the vIOMMU has an event queue of this type already: one per type',
    EOPNOTSUPP: 'type 0 is no type of events',
    EINVAL: 'the depth must be between 1 and 2^19',
  },
  IOMMU_HW_QUEUE_ALLOC: {
    EOPNOTSUPP: 'the vIOMMU has no hardware queues of this type',
    EINVAL:
      'the index is beyond what the vIOMMU has, or length or base address break the rules of the hardware (Tegra241: a ' +
      'power of two between 32 bytes and 2^(CMDQS+4), base aligned to it), or the range is being unmapped',
    EEXIST: 'this index is taken',
    EIO: 'the queue with the index before must exist first: allocate in ascending order',
    ENOENT: 'the queue memory is not mapped from end to end in the IOAS of the nesting parent',
    EFAULT: 'the queue memory is not physically contiguous: use one huge page, or a queue of one page',
    EADDRINUSE: 'the IOAS maps at less than page granularity',
    EOVERFLOW: 'the queue ends beyond the last IOVA',
    ERANGE: 'the queue ends beyond the last IOVA, in whole pages',
    EPERM: 'the queue memory is mapped without read permission',
    ENOMEM: 'no memory for the page list: is the length right?',
  },
  VFIO_DEVICE_BIND_IOMMUFD: {
    EINVAL: 'bound already, or the token is wrong or missing (a virtual function of a driver with a VF token)',
    EBADFD: 'the fd is not an iommufd',
    EPERM: 'interrupts are not isolated on this platform (module parameter allow_unsafe_interrupts)',
  },
  VFIO_DEVICE_ATTACH_IOMMUFD_PT: { ...ATTACH, EBUSY: 'the group is attached in another way' },
  IOMMU_TEST_CMD: ATTACH,
  'DMA read': DMA,
  'DMA write': DMA,
  vEVENT: {
    ENOENT: 'the device must be attached to a nested page table of a vIOMMU that it has a vDEVICE with',
    EOPNOTSUPP: 'the vIOMMU has no event queue for such events: viommu.allocVeventq',
  },
  '*': {
    ENOTTY:
      'this kernel does not have the call (iommufd.probe() tells which it has), or the file is not of the kind that has it',
    E2BIG: 'this kernel does not know a field that was used: it is older than the field',
    EMFILE: 'the process has too many open files: raise RLIMIT_NOFILE',
    EBADF: 'the file descriptor was closed behind the library',
  },
};

/** The hint for a refusal, if there is one. */
export function hintFor(syscall: string, code: string): string | undefined {
  return HINTS[syscall]?.[code] ?? HINTS['*']?.[code];
}
