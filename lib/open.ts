// The front door: which host, and what is opened on it. The one file above all rooms.
import { checkOptions, oneOf, toFd, type U64 } from './host/arguments.js';
import { IommufdError, UsageError } from './host/errors.js';
import { kernelSeam } from './host/kernel.js';
import { allocateMemory, type DmaMemory, importMemory, type MemoryOptions } from './host/memory.js';
import type { HostKind, Seam } from './host/seam.js';
import { type Iommufd, type IommufdOptions, openIommufd } from './objects/iommufd.js';
import { openVfioDevice, type VfioDevice } from './vfio/device.js';

export interface OpenHostOptions {
  /** Which host: there is the kernel's. Where it is left out, IOMMUFD_HOST may name it. */
  readonly kind?: 'kernel';
}

let seamOf: (host: Host) => Seam;

/** A machine that IOMMUs, devices and memory belong to. What comes from one host cannot be used with another's. */
export class Host {
  readonly #seam: Seam;

  static {
    seamOf = (host) => host.#seam;
  }

  /** Not for callers: use `openHost`. */
  constructor(seam: Seam) {
    this.#seam = seam;
  }

  /** What stands behind it: 'kernel' is this machine's own. */
  get kind(): HostKind {
    return this.#seam.kind;
  }
  /** Bytes of an ordinary page. */
  get pageSize(): number {
    return this.#seam.pageSize;
  }

  /**
   * Opens /dev/iommu.
   * @throws IommufdError EACCES (no permission), ENOENT (no such node), ENXIO (nothing behind the node)
   */
  openIommufd(options: IommufdOptions = {}): Iommufd {
    return openIommufd(this, options);
  }

  /**
   * Opens a device that vfio-pci drives.
   * @param address its PCI address ('0000:01:00.0'), or the path of its node ('/dev/vfio/devices/vfio0')
   * @throws UsageError ERR_IOMMUFD_UNAVAILABLE, saying what is missing and the command that mends it; IommufdError
   * EACCES (no permission), EBUSY (open elsewhere)
   */
  openDevice(address: string): VfioDevice {
    return openVfioDevice(this.#seam, address, 'iommu');
  }

  /**
   * As `openDevice`, for a device without an IOMMU too (VFIO's noiommu mode, Linux 7.3). Unsafe: such a device sees
   * physical addresses (`ioas.physicalAddress`) and reaches all of memory, whatever is mapped.
   */
  unsafeOpenDevice(address: string): VfioDevice {
    return openVfioDevice(this.#seam, address, 'unsafe-without');
  }

  /**
   * Memory that devices may reach, zeroed.
   * @param size bytes, a multiple of the page size (of the huge page size, where one is given)
   * @throws RangeError (size); IommufdError ENOMEM (for huge pages: too few are reserved), EINVAL (no huge pages of
   * this size)
   */
  allocateMemory(size: U64, options: MemoryOptions = {}): DmaMemory {
    return allocateMemory(this.#seam, size, options);
  }

  /**
   * Memory of a memfd that was made elsewhere: a guest's RAM. Unsafe: devices may write to it, whoever else uses it. The
   * memfd is sealed against shrinking; the fd itself stays the caller's.
   * @throws IommufdError EINVAL (not a memfd, or shorter than `size`), EPERM (cannot be sealed against shrinking)
   */
  unsafeImportMemory(fd: number, size: U64): DmaMemory {
    return importMemory(this.#seam, toFd(fd, 'fd'), size);
  }

  toJSON(): Record<string, unknown> {
    return { type: 'Host', kind: this.kind };
  }
}

/** The seam behind a host: for this package's own files, and `iommufd/unsafe`. */
export function hostSeam(host: Host): Seam {
  return seamOf(host);
}

let shared: Host | undefined;

/**
 * This machine's host. Production code says which it means: `openHost({ kind: 'kernel' })`, or IOMMUFD_HOST=kernel.
 * @throws UsageError ERR_IOMMUFD_NO_HOST where there is no /dev/iommu; IommufdError where it cannot be looked at; Error
 * ERR_IOMMUFD_ADDON_MISSING or ERR_IOMMUFD_ADDON_BROKEN where there is no addon, saying why and how to build it
 */
export function openHost(options: OpenHostOptions = {}): Host {
  checkOptions(options, ['kind']);
  const named = options.kind ?? process.env.IOMMUFD_HOST;
  if (named !== undefined) oneOf(named, ['kernel'], options.kind === undefined ? 'IOMMUFD_HOST' : 'kind');
  if (shared !== undefined) return shared;
  const seam = kernelSeam();
  const status = seam.status('/dev/iommu');
  if (status === -2) {
    throw new UsageError(
      'ERR_IOMMUFD_NO_HOST',
      'there is no /dev/iommu on this machine: the kernel was built without CONFIG_IOMMUFD, or its module is not loaded (modprobe iommufd)',
    );
  }
  if (typeof status === 'number') throw new IommufdError('stat', status, { path: '/dev/iommu' });
  shared = new Host(seam);
  return shared;
}
