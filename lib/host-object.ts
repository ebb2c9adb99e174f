// A host as people hold it: what is opened on it, and memory of it.
import { toFd, type U64 } from './host/arguments.js';
import { createEventfd, type Eventfd } from './host/eventfd.js';
import { noteMade } from './host/made.js';
import { allocateMemory, type DmaMemory, importMemory, type MemoryOptions } from './host/memory.js';
import type { HostKind, Seam } from './host/seam.js';
import type { AdoptIommufdOptions } from './objects/adopt.js';
import type { HandoverState } from './objects/handover-state.js';
import { type Iommufd, type IommufdOptions, openIommufd } from './objects/iommufd.js';
import type { VfioDevice } from './vfio/device.js';
import type { DeviceReport } from './vfio/device-report.js';
import { findDevice, type ListDevicesOptions, listDevices } from './vfio/discovery.js';
import { type AdoptedIommufd, adoptIommufd } from './vfio/live-update.js';
import { openVfioDevice } from './vfio/open.js';

let seamOf: (host: Host) => Seam;

/** A machine that IOMMUs, devices and memory belong to. What comes from one host cannot be used with another's. */
export class Host {
  readonly #seam: Seam;

  static {
    seamOf = (host) => host.#seam;
  }

  /** Not for callers: use `openHost`, or `createEmulatedHost` of iommufd/emulated. */
  constructor(seam: Seam) {
    this.#seam = seam;
    noteMade(this);
  }

  /** What stands behind it: 'kernel' is this machine's own, 'emulated' a program. */
  get kind(): HostKind {
    return this.#seam.kind;
  }
  /** Its kernel, as `uname -r` names it: '7.3.4-amd64'. An emulated one says '7.3-emulated'; '' where it is not known. */
  get release(): string {
    return this.#seam.release;
  }
  /** Bytes of an ordinary page. */
  get pageSize(): number {
    return this.#seam.pageSize;
  }

  /**
   * Opens /dev/iommu.
   * @throws IommufdError EACCES (no permission), ENOENT (no such node), ENXIO (nothing behind the node), EMFILE
   */
  openIommufd(options: IommufdOptions = {}): Iommufd {
    return openIommufd(this, options);
  }

  /**
   * Opens a device that a VFIO driver has. On an emulated host it is one of that machine's. Nothing about the device changes
   * until it is bound.
   * @param address its PCI address ('0000:01:00.0'), the UUID of a mediated device, or the path of its node
   * ('/dev/vfio/devices/vfio0')
   * @throws UsageError ERR_IOMMUFD_UNAVAILABLE, saying what is missing and the command that mends it; IommufdError EMFILE,
   * ENFILE, ENOMEM, and for a path: EACCES (no permission), ENOENT (no such node). That it is in use elsewhere `bind` tells
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
   * An eventfd: a counter that interrupts of a device (`interrupts.connect`) or KVM add to, and that can be waited for.
   * @param initial what it starts with, 0 to 2^32 - 1
   * @throws IommufdError EMFILE
   */
  createEventfd(initial = 0): Eventfd {
    return createEventfd(this.#seam, initial);
  }

  /**
   * Goes on with an iommufd of another process, after `iommufd.handOver()` there: the objects and mappings of `state`, by
   * the ids they had. Nothing is changed by it; `iommufd.changeProcess()` next takes over the accounting of pinned memory.
   * The fds are closed unless they are borrowed, but for those that an object of this thread owns (a hand-over within one
   * thread: on an emulated host, whose files nobody else knows). Where it throws they are as they were.
   * @param state the hand-over's, after JSON
   * @param fds the hand-over's, in the same order, with the numbers they have here: 3, 4, 5... in a child that was spawned
   * with `stdio: ['inherit', 'inherit', 'inherit', ...handover.fds]`
   * @throws TypeError, RangeError (not a state, or one that makes no sense); UsageError ERR_IOMMUFD_UNAVAILABLE (of a library
   * with another idea of states), ERR_IOMMUFD_FOREIGN_HOST; IommufdError EBADF (not open), ENOTTY (not an iommufd, or not a
   * VFIO device), EINVAL (not bound; not a memfd, or too short)
   */
  adoptIommufd(state: HandoverState, fds: readonly number[], options: AdoptIommufdOptions = {}): AdoptedIommufd {
    return adoptIommufd({ host: this, seam: this.#seam }, { state, fds, options });
  }

  /**
   * What the machine tells of a device, and what is missing before it can be used. Nothing is changed by asking; reading its
   * configuration space wakes a device that sleeps.
   * @param name its PCI address ('0000:01:00.0'), the UUID of a mediated device, or the path of a VFIO node
   * @throws UsageError ERR_IOMMUFD_UNAVAILABLE (no such device), TypeError, RangeError; IommufdError EMFILE,
   * ENFILE, ENOMEM
   */
  findDevice(name: string): DeviceReport {
    return findDevice(this.#seam, name);
  }

  /**
   * The devices that VFIO drivers have, or with `all` every PCI and mediated device: as `findDevice` tells of each, but for
   * the width of PASIDs, so that no device is woken.
   * @throws IommufdError EMFILE, ENFILE, ENOMEM
   */
  listDevices(options: ListDevicesOptions = {}): DeviceReport[] {
    return listDevices(this.#seam, options);
  }

  /**
   * Memory that devices may reach, zeroed.
   * @param size bytes, a multiple of the page size (of the huge page size, where one is given)
   * @throws RangeError (size); IommufdError ENOMEM (for huge pages: too few are reserved), EINVAL (no huge pages of
   * this size), EMFILE
   */
  allocateMemory(size: U64, options: MemoryOptions = {}): DmaMemory {
    return allocateMemory(this.#seam, size, options);
  }

  /**
   * Memory of a memfd that was made elsewhere: a guest's RAM. Unsafe: devices may write to it, whoever else uses it. The
   * memfd is sealed against shrinking; the fd itself stays the caller's. An emulated host knows its own memfds only.
   * @param size bytes, a multiple of the page size
   * @throws RangeError (size); IommufdError EBADF (no such fd), EINVAL (not a memfd, or shorter than `size`), EPERM (cannot
   * be sealed against shrinking)
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

let unnamed: (() => Host) | undefined;

/** Tells which host is meant where none is named: open.ts knows, and lies above what asks. */
export function setDefaultHost(open: () => Host): void {
  unnamed = open;
}
export function defaultHost(): Host {
  if (unnamed === undefined) throw new Error('lib/open.js was not loaded');
  return unnamed();
}
