// VFIO_DEVICE_IOEVENTFD: a write to a register whenever an eventfd is signalled (vfio_pci_rdwr.c).
import { ERRNO } from '../../../uapi/errno.js';
import { vfio_device_ioeventfd_flags } from '../../../uapi/vfio-constants.js';
import { vfio_device_ioeventfd } from '../../../uapi/vfio-structs.js';
import type { UserBuffer } from '../vfio/driver.js';
import { accessBar, msixTable } from './bars.js';
import type { PciBar } from './function.js';
import type { OpenFunction } from './open-function.js';
import { barOf } from './regions.js';
import { Virqfd } from './virqfd.js';

/** VFIO_PCI_IOEVENTFD_MAX. */
const MOST = 1000;
const REGION_BITS = 40n;
const OFFSETS = (1n << REGION_BITS) - 1n;
const LAST_BAR = 5n;
const SIZES = vfio_device_ioeventfd_flags.values.VFIO_DEVICE_IOEVENTFD_SIZE_MASK;

/** A write, and what it is done for. The eventfd may be gone: the write is still there to be taken back. */
interface Write {
  readonly bar: PciBar;
  readonly offset: number;
  readonly width: number;
  readonly data: bigint;
  virqfd: Virqfd | undefined;
}

export class Ioeventfds {
  readonly #open: OpenFunction;
  readonly #writes = new Set<Write>();

  constructor(open: OpenFunction) {
    this.#open = open;
  }

  stop(): void {
    for (const { virqfd } of this.#writes) virqfd?.disable();
    this.#writes.clear();
  }

  set(argument: UserBuffer): number {
    const size = vfio_device_ioeventfd.end('fd');
    const bytes = new Uint8Array(vfio_device_ioeventfd.size);
    if (!argument.copyIn(0, bytes.subarray(0, size))) return -ERRNO.EFAULT;
    const { argsz, flags, offset, data, fd } = vfio_device_ioeventfd.decode(new DataView(bytes.buffer), 0);
    if (argsz < size || (flags & ~SIZES) !== 0) return -ERRNO.EINVAL;
    if (![1, 2, 4, 8].includes(flags) || fd < -1) return -ERRNO.EINVAL;
    const place = this.#place(offset, flags);
    if (place === undefined) return -ERRNO.EINVAL;
    const write = { ...place, width: flags, data, virqfd: undefined };
    const present = this.#find(write);
    if (present !== undefined) return fd === -1 ? this.#remove(present) : -ERRNO.EEXIST;
    if (fd === -1) return -ERRNO.ENODEV;
    return this.#writes.size >= MOST ? -ERRNO.ENOSPC : this.#add(write, fd);
  }
  /** A place in a BAR, away from the MSI-X table. */
  #place(position: bigint, width: number): { readonly bar: PciBar; readonly offset: number } | undefined {
    if (position >> REGION_BITS > LAST_BAR) return undefined;
    const bar = barOf(this.#open, Number(position >> REGION_BITS));
    const offset = Number(position & OFFSETS);
    if (bar === undefined || offset + width > bar.size) return undefined;
    const table = msixTable(this.#open.hardware);
    const clear = table?.bar !== bar.index || offset + width <= table.start || offset >= table.end;
    return clear ? { bar, offset } : undefined;
  }
  #find({ bar, offset, width, data }: Write): Write | undefined {
    for (const write of this.#writes) {
      if (write.bar === bar && write.offset === offset && write.width === width && write.data === data) return write;
    }
    return undefined;
  }
  #remove(write: Write): number {
    write.virqfd?.disable();
    this.#writes.delete(write);
    return 0;
  }
  #add(write: Write, fd: number): number {
    const { kernel, process } = this.#open;
    if (!kernel.allocates()) return -ERRNO.ENOMEM;
    const virqfd = Virqfd.enable(
      kernel,
      process,
      fd,
      () => {
        this.#perform(write);
        return undefined;
      },
      undefined,
    );
    if (typeof virqfd === 'number') return virqfd;
    write.virqfd = virqfd;
    this.#writes.add(write);
    return 0;
  }
  #perform({ bar, offset, width, data }: Write): void {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, data, true);
    const allowed = (): boolean => bar.kind === 'io' || this.#open.config.memoryEnabled;
    const access = { offset, data: bytes.subarray(0, width), write: true };
    accessBar(this.#open.hardware, bar, access, undefined, allowed);
  }
}
