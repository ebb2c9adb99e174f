// The public members of every class: those that need the object alive, and those that still answer afterwards.
import { IOVA } from './address-space.js';
import type { WholeGraph } from './whole-graph.js';

const TYPE_NUMBER = 0xdead_beef;
const DATA = { data: { type: 1, bytes: new Uint8Array(8) } };
const ENTRIES = { type: 1, entryLength: 8, entries: new Uint8Array(8) };

/** Looked at only where the address space lives. */
const NO_REGION = {
  exportDmaBuf: () => {
    throw new Error('nothing is exported');
  },
};

export type Uses = Readonly<Record<string, (g: WholeGraph) => unknown>>;

/** For each class of object: its own public members that need it alive. */
export const USES: Readonly<
  Record<string, { readonly of: keyof WholeGraph; readonly uses: Uses; readonly still: string[] }>
> = {
  ioas: {
    of: 'ioas',
    uses: {
      map: (g) => g.ioas.map(g.ram),
      mapAsync: (g) => g.ioas.mapAsync(g.ram),
      mapFile: (g) => g.ioas.mapFile(g.ram),
      mapDmaBuf: (g) => g.ioas.mapDmaBuf(NO_REGION),
      unsafeMapFd: (g) => g.ioas.unsafeMapFd(0, 0, { length: 1 }),
      unsafeMapAddress: (g) => g.ioas.unsafeMapAddress(0, { length: 1 }),
      copy: (g) => g.ioas.copy(g.ioas, { sourceIova: 0, length: 1 }),
      unmap: (g) => g.ioas.unmap(0, 1),
      unmapAll: (g) => g.ioas.unmapAll(),
      iovaRanges: (g) => g.ioas.iovaRanges(),
      allowIovas: (g) => g.ioas.allowIovas([]),
      hugePages: (g) => g.ioas.hugePages,
      physicalAddress: (g) => g.ioas.physicalAddress(0, 1),
      allocHwpt: (g) => g.ioas.allocHwpt(g.device),
      allocHwptAsync: (g) => g.ioas.allocHwptAsync(g.device),
    },
    still: ['mappingCount'],
  },
  'hwpt-paging': {
    of: 'parent',
    uses: {
      setDirtyTracking: (g) => g.parent.setDirtyTracking(true),
      dirtyBitmap: (g) => g.parent.dirtyBitmap({ iova: 0, length: 0x1000 }),
      allocViommu: (g) => g.parent.allocViommu(g.device, { type: TYPE_NUMBER }),
      allocNestedHwpt: (g) => g.parent.allocNestedHwpt(g.device, DATA),
    },
    still: ['settle'],
  },
  'hwpt-nested': {
    of: 'nested',
    uses: {
      invalidate: (g) => g.nested.invalidate(ENTRIES),
      tryInvalidate: (g) => g.nested.tryInvalidate(ENTRIES),
    },
    still: [],
  },
  'fault-queue': {
    of: 'faultQueue',
    uses: {
      fd: (g) => g.faultQueue.fd,
      read: (g) => g.faultQueue.read(),
      drain: (g) => g.faultQueue.drain(),
      respond: (g) => g.faultQueue.respond(1, 'success'),
      ref: (g) => g.faultQueue.ref(),
      unref: (g) => g.faultQueue.unref(),
    },
    still: [],
  },
  viommu: {
    of: 'viommu',
    uses: {
      mmapRegion: (g) => g.viommu.mmapRegion,
      mmap: (g) => g.viommu.mmap(),
      allocVdevice: (g) => g.viommu.allocVdevice(g.device, { virtId: 1 }),
      allocVeventq: (g) => g.viommu.allocVeventq({ depth: 1, type: TYPE_NUMBER, payloadSize: 4 }),
      allocHwQueue: (g) => g.viommu.allocHwQueue({ type: TYPE_NUMBER, index: 1, iova: IOVA, length: 0x1000 }),
      allocNestedHwpt: (g) => g.viommu.allocNestedHwpt(g.device, DATA),
      invalidate: (g) => g.viommu.invalidate(ENTRIES),
      tryInvalidate: (g) => g.viommu.tryInvalidate(ENTRIES),
    },
    still: ['typeNumber'],
  },
  vdevice: { of: 'vdevice', uses: {}, still: [] },
  veventq: {
    of: 'veventq',
    uses: {
      fd: (g) => g.veventq.fd,
      read: (g) => g.veventq.read(),
      drain: (g) => g.veventq.drain(),
      ref: (g) => g.veventq.ref(),
      unref: (g) => g.veventq.unref(),
    },
    still: [],
  },
  'hw-queue': {
    of: 'queue',
    uses: { mmapRegion: (g) => g.queue.mmapRegion, mmap: (g) => g.queue.mmap() },
    still: ['typeNumber'],
  },
  device: {
    of: 'device',
    uses: {
      hwInfo: (g) => g.device.hwInfo(),
      attach: (g) => g.device.attach(g.ioas),
      tryAttach: (g) => g.device.tryAttach(g.ioas),
      attachAsync: (g) => g.device.attachAsync(g.ioas),
      detach: (g) => g.device.detach(),
    },
    still: ['attachedTo'],
  },
  memory: {
    of: 'ram',
    uses: {
      address: (g) => g.ram.address,
      fd: (g) => g.ram.fd,
      window: (g) => g.ram.window(),
      read: (g) => g.ram.read(0, 1),
      write: (g) => g.ram.write(0, new Uint8Array(1)),
      prefault: (g) => g.ram.prefault(),
    },
    still: ['size', 'freed', 'mappings', 'free'],
  },
  mmio: {
    of: 'mmio',
    uses: {
      address: (g) => g.mmio.address,
      read8: (g) => g.mmio.read8(0),
      read16: (g) => g.mmio.read16(0),
      read32: (g) => g.mmio.read32(0),
      read64: (g) => g.mmio.read64(0),
      write8: (g) => g.mmio.write8(0, 0),
      write16: (g) => g.mmio.write16(0, 0),
      write32: (g) => g.mmio.write32(0, 0),
      write64: (g) => g.mmio.write64(0, 0n),
      subregion: (g) => g.mmio.subregion(0, 1),
      unsafeView: (g) => g.mmio.unsafeView(),
    },
    still: ['mapped', 'unmap'],
  },
  'dirty-bitmap': {
    of: 'bitmap',
    uses: { read: (g) => g.bitmap.read() },
    still: ['ranges', 'dirtyPages', 'isDirty', 'free'],
  },
  iommufd: {
    of: 'iommufd',
    uses: {
      fd: (g) => g.iommufd.fd,
      allocIoas: (g) => g.iommufd.allocIoas(),
      allocFaultQueue: (g) => g.iommufd.allocFaultQueue(),
      adoptDevice: (g) => g.iommufd.adoptDevice(1),
      adoptIoas: (g) => g.iommufd.adoptIoas(1),
      rlimitMode: (g) => g.iommufd.rlimitMode,
      changeProcess: (g) => g.iommufd.changeProcess(),
      handOver: (g) => g.iommufd.handOver(),
      probe: (g) => g.iommufd.probe(),
    },
    still: ['closed', 'objects', 'drawGraph', 'close', 'closeAsync'],
  },
};

/** Members that every object has, or that only its own kind may call. */
export const COMMON = ['constructor', 'toJSON', 'checkDestroy', 'beforeDestroy', 'destroyInKernel', 'afterDestroy'];
