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
  ENODEV:
    'the page table has a fault queue, and the device no page requests (PRI); behind an Intel IOMMU its DMA is blocked now, ' +
    'until it is attached to another one',
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

const REGION_EIO =
  "the device's memory is off (nic.config.enable({ memory: true }) turns it on), or it sleeps and would not wake";
const REGION_EFAULT = 'beyond the end of configuration space; on a mediated device, where its driver has no register';
const REGION_EINVAL = 'a region that is empty, or cannot be used so (a ROM is not written)';
const NO_PASIDS = 'PASIDs: the device has none, its IOMMU has none, or it is a device without an IOMMU (mdev)';

const CANNOT_MIGRATE =
  'the device, or its driver, cannot migrate: vfio-pci itself cannot, drivers for one kind of device can';
const NO_DMA_LOG =
  'the device keeps no notes of its DMA: track with a page table (dirtyTracking: true) if its IOMMU can';
const ASLEEP = 'it was let go to sleep already: lowPower.exit() comes first';
const NO_LOW_POWER = 'only PCI devices have it (Linux 6.1)';

/** By call and errno; `*` stands for every call. */
const HINTS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  open: {
    EACCES: 'no permission: run as a user that may open the node, or change its owner or mode (udev rule)',
    EPERM: 'no permission: a container or security policy forbids the device',
    ENOENT:
      'there is no such node. /dev/iommu: the kernel lacks it (CONFIG_IOMMUFD), or its module is not loaded (modprobe iommufd); ' +
      'a VFIO device: host.listDevices() tells which there are, host.findDevice what is missing',
    ENXIO: 'the node exists, but no driver is behind it: load the module',
    ENODEV: 'the device is just going away',
  },
  mmap: {
    EBUSY: 'another driver of this machine holds the BAR',
    ENXIO: 'offset and length are not a region that this iommufd handed out',
    EINVAL: 'not page-aligned, or not a mapping the file can give',
    ENOMEM:
      'address space, RLIMIT_AS or vm.max_map_count is used up; for huge pages, reserve some first: /proc/sys/vm/nr_hugepages',
    EAGAIN: 'RLIMIT_MEMLOCK is used up',
    EBADF: 'not an open file',
  },
  MMIO: {
    EIO:
      'the device did not take the access: its memory is off (config.enable({ memory: true })), or it is asleep, being reset, ' +
      'or gone; or the register does not know this width (on arm64 that is an error too)',
  },
  fcntl: {
    EBADF: 'not an open file',
    EEXIST: "an object of this thread owns it already: pass ownership: 'borrowed'",
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
    ENODEV:
      "the dma-buf is revoked: the device's memory is off (nic.config.enable({ memory: true })), it was let go to sleep, " +
      'or it is closed',
    EOPNOTSUPP: 'the dma-buf is of no VFIO device, or has several ranges; or this kernel cannot map one (Linux 6.19)',
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
    EINVAL: 'a mapping was made by address, or of a dma-buf: only mappings of memfds can change their process',
    EBUSY: 'a mapping is just being made or taken away: try again',
    ENOMEM: 'RLIMIT_MEMLOCK of this process: raise it (ulimit -l, LimitMEMLOCK=), or give CAP_IPC_LOCK',
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
      'the IOMMU driver does not support one of the flags or the data type: nestParent needs nested translation (VT-d: ' +
      'Linux 6.7, SMMUv3: 6.13), ' +
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
  pread: { EIO: REGION_EIO, EFAULT: REGION_EFAULT, EINVAL: REGION_EINVAL },
  pwrite: { EIO: REGION_EIO, EFAULT: REGION_EFAULT, EINVAL: REGION_EINVAL },
  VFIO_DEVICE_GET_INFO: {
    EINVAL: 'the device is not bound to an iommufd: until then it answers to nothing',
  },
  VFIO_DEVICE_GET_REGION_INFO: {
    EINVAL: 'the device has no such region: see info.regionCount, and nic.regions for those it has',
  },
  VFIO_DEVICE_BIND_IOMMUFD: {
    EINVAL:
      'bound already, here or by another program (VfioDevice.adopt takes a bound one); or a token was given to a device that takes none: only virtual ' +
      'functions and their physical one do',
    EACCES: 'a token is wanted, or is the wrong one: the physical function has it, by features.setVfToken or bind',
    ENOTTY: 'the file is not that of a VFIO device, or this kernel has no VFIO cdevs (Linux 6.6)',
    EBUSY: 'the device, or its group, is in use through the older container interface',
    EBADFD: 'the fd is not an iommufd',
    EPERM: 'interrupts are not isolated on this platform (module parameter allow_unsafe_interrupts)',
  },
  VFIO_DEVICE_FEATURE_PCI_VF_TOKEN: {
    ENOTTY: 'only a physical function that can have virtual ones (SR-IOV) and is driven by vfio-pci has a token',
  },
  VFIO_DEVICE_FEATURE_MIGRATION: { ENOTTY: CANNOT_MIGRATE },
  VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE: {
    ENOTTY: CANNOT_MIGRATE,
    EINVAL:
      'no way leads from one state to the other, the device does not have it (migration.supported), or what was written ' +
      "to the stream is no whole state for this device; out of 'error' only nic.reset() leads",
  },
  VFIO_DEVICE_FEATURE_MIG_DATA_SIZE: { ENOTTY: CANNOT_MIGRATE },
  VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2: {
    EINVAL: "the device has no 'pre-copy': see migration.supported",
    ENOTTY: 'this kernel does not have it (Linux 7.1)',
  },
  'migration read': { ENODEV: 'the device left the state that the stream is for, or was reset' },
  'migration write': {
    ENODEV: "the device left 'resuming', or was reset",
    EFAULT: 'the driver takes these bytes for no state of such a device',
    ENOMEM: 'more bytes than a state of this device has',
    EINVAL: 'the driver takes these bytes for no state of such a device',
    EIO: 'the driver took none of the bytes',
  },
  VFIO_MIG_GET_PRECOPY_INFO: {
    EINVAL: "the device is not in 'pre-copy' or 'pre-copy-p2p'",
    ENOTTY: "the device has no 'pre-copy': see migration.supported",
  },
  VFIO_DEVICE_FEATURE_DMA_LOGGING_START: {
    ENOTTY: NO_DMA_LOG,
    EINVAL: 'ranges overlap, or are no multiples of the page size; or it was started before: stop it first',
    E2BIG: 'more ranges than the kernel takes: 256 of them always work',
    EOVERFLOW: 'a range ends beyond the last IOVA',
    ENOMEM: 'more than the device can watch, or no memory for its notes: fewer or smaller ranges, larger pages',
    EOPNOTSUPP: 'more than the device can watch: fewer or smaller ranges, larger pages',
  },
  VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP: { ENOTTY: NO_DMA_LOG },
  VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT: { ENOTTY: NO_DMA_LOG, EINVAL: 'it was not started' },
  VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY: { EINVAL: ASLEEP, ENOTTY: NO_LOW_POWER },
  VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP: {
    EINVAL: `${ASLEEP}; or the fd is no eventfd`,
    EBADF: 'not an open file',
    ENOTTY: NO_LOW_POWER,
  },
  VFIO_DEVICE_FEATURE_LOW_POWER_EXIT: { ENOTTY: NO_LOW_POWER },
  VFIO_DEVICE_FEATURE_BUS_MASTER: {
    ENOTTY: 'only CDX devices have it; PCI devices have a bit: nic.config.enable({ busMaster: true })',
  },
  VFIO_DEVICE_FEATURE_DMA_BUF: {
    ENODEV: 'not a BAR, one that is empty, or one that another driver holds',
    EINVAL: 'the region has ports, not memory; or a range is not in whole pages, or beyond the end',
    EOPNOTSUPP: 'the driver of the device, or the platform, has no peer to peer',
    ENOTTY:
      'this kernel cannot (Linux 6.19 with CONFIG_PCI_P2PDMA and CONFIG_DMA_SHARED_BUFFER), or it is no PCI device',
  },
  VFIO_DEVICE_FEATURE_ZPCI_ERROR: {
    ENOMSG: 'no error is pending',
    ENOTTY: 'only PCI devices of s390 have such records',
  },
  VFIO_DEVICE_QUERY_GFX_PLANE: {
    ENOTTY: 'the device has no virtual display',
    EINVAL: 'the device does not hand out planes so: ask graphics.supports()',
  },
  VFIO_DEVICE_GET_GFX_DMABUF: {
    ENOENT: 'no plane has this id any more: ask for the plane again',
    ENOTTY: 'the device has no virtual display, or hands out no dma-bufs: ask graphics.supports()',
  },
  VFIO_DEVICE_ATTACH_IOMMUFD_PT: {
    ...ATTACH,
    ENOENT: `${ATTACH.ENOENT}; or a page table, for a device without an IOMMU (mdev), which is attached to IOASes only`,
    EBUSY: 'the group is attached in another way',
    EOPNOTSUPP: NO_PASIDS,
  },
  VFIO_DEVICE_DETACH_IOMMUFD_PT: { EOPNOTSUPP: NO_PASIDS },
  VFIO_DEVICE_GET_IRQ_INFO: {
    EINVAL: 'the device has no such interrupt index',
  },
  VFIO_DEVICE_SET_IRQS: {
    EINVAL:
      'several causes: another index is on (INTx, MSI and MSI-X exclude each other: disable() that first); the index is off; ' +
      'more vectors than were turned on first, where they are not resizable; not an eventfd',
    ENOTTY:
      'this index cannot do that: of PCI devices only INTx can be masked, and a mediated device has what its driver has',
    ENODEV: 'the platform connected the interrupt pin to nothing',
    ENOSPC: 'the machine has too few interrupt vectors: turn on fewer',
    EBADF: 'not an open eventfd',
    EBUSY: 'for unmaskOn: there is an eventfd already, take it back first with unmaskOn(undefined)',
  },
  VFIO_DEVICE_RESET: {
    EINVAL: 'the device cannot be reset alone (info.canReset): see hotResetInfo() for a reset of its bus or slot',
    EAGAIN: 'the device is busy this very moment: try again',
    ENOTTY: 'the device cannot be reset alone: see hotResetInfo() for a reset of its bus or slot',
  },
  VFIO_DEVICE_GET_PCI_HOT_RESET_INFO: {
    ENODEV: 'no bridge above the device could reset its bus, as on a root bus: only reset() can be had, if that',
  },
  VFIO_DEVICE_PCI_HOT_RESET: {
    EINVAL: 'all devices that would be reset must belong to the same iommufd: see hotResetInfo()',
    ENODEV: 'no bridge above the device could reset its bus, as on a root bus: only reset() can be had, if that',
    EBUSY: 'a device that would be reset is in use this very moment: try again',
    ENOTTY: 'the bus was reset, but its link or a device did not come back in time; or the device is not on a PCI bus',
  },
  VFIO_DEVICE_IOEVENTFD: {
    EINVAL: 'only BARs can be written so, not over the MSI-X table; and only with eventfds',
    EEXIST: 'the same value is written there already when another eventfd is signalled',
    ENODEV: 'no such write is there: it was taken back already',
    ENOSPC: 'a device has at most 1000 of them',
    EBADF: 'not an open eventfd',
    ENOTTY: 'this kernel, or the driver of the device, has no ioeventfds (vfio-pci has, since Linux 4.17)',
  },
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
