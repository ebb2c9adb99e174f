// /dev/iommu, opened: the ids, and where ioctls and mmap(2) arrive.
import { ERRNO } from '../../uapi/errno.js';
import { IOMMU_HW_QUEUE_ALLOC } from '../../uapi/iommufd-ioctls.js';
import type { AddressSpace } from '../memory/address-space.js';
import { PAGE_SIZE } from '../memory/backing.js';
import { Command } from './command.js';
import { copyArgument } from './copied-argument.js';
import { type ArgumentMemory, argumentMemory, type MmioMapping, OpenFile } from './file.js';
import { Ioas } from './ioas.js';
import { findIoctl, isInTable } from './ioctls.js';
import type { IommuGroup } from './iommu-group.js';
import type { IommufdGroup } from './iommufd-group.js';
import type { Kernel } from './kernel.js';
import { MmapTable } from './mmap-table.js';
import { type IommufdObject, ObjectTable } from './object-table.js';
import { PageStore } from './pages.js';
import type { Process } from './process.js';
import type { UserBuffer } from './vfio/driver.js';
import { addressBuffer, argumentBuffer } from './vfio/user-buffer.js';
import { findCompatCall } from './vfio-compat/ioctl.js';

/** What an argument is as a number where it is an address: none that a call takes for one. */
const NO_VALUE = -1;

/** A call that is none, with the number of one: the struct's length is read before that is seen (iommufd/main.c). */
function unknownInTable(readable: boolean): number {
  return readable ? -ERRNO.ENOTTY : -ERRNO.EFAULT;
}

/** struct iommufd_ctx. */
export class IommufdContext {
  readonly objects = new ObjectTable();
  /** Groups with a device bound here. */
  readonly groups = new Map<IommuGroup, IommufdGroup>();
  readonly mmaps: MmapTable;
  /** The memory that is mapped. */
  readonly pages: PageStore;
  /** Who is charged for pinned pages: the user (RLIMIT_MODE 0) or the process's memory (RLIMIT_MODE 1). */
  accountMode: 'user' | 'mm' = 'user';
  /** The IOAS that VFIO's old calls work on. */
  vfioIoas: Ioas | undefined;

  constructor(
    readonly kernel: Kernel,
    /** Who calls: one process for now. */
    readonly process: Process,
    /** The open file itself: devices and mappings keep it open. */
    readonly file: IommufdFile,
  ) {
    this.mmaps = new MmapTable(kernel.dialect);
    this.pages = new PageStore(process);
    this.pages.onRevoked = (slot) => {
      for (const object of this.objects.all()) if (object instanceof Ioas) object.iopt.revoked(slot);
    };
  }
}

export class IommufdFile extends OpenFile {
  readonly context: IommufdContext;
  readonly #command = new Command();
  readonly #onClosed: (file: IommufdFile) => void;

  constructor(kernel: Kernel, process: Process, onClosed: (file: IommufdFile) => void) {
    super();
    this.context = new IommufdContext(kernel, process, this);
    this.#onClosed = onClosed;
  }

  override ioctl(request: number, memory: ArgumentMemory, at: number): number {
    const op = findIoctl(this.context.kernel, request);
    if (op === undefined) {
      if (isInTable(this.context.kernel, request)) return unknownInTable(at >= 0 && at + 4 <= memory.bytes.length);
      return this.#ioctlCompat(request, argumentBuffer(this.context.process, memory, at), NO_VALUE);
    }
    const command = this.#command;
    const refusal = command.load(this.context, memory, at, op.size, op.minSize);
    if (refusal < 0) return refusal;
    const result = op.run(command);
    const { made } = command;
    if (made !== undefined) this.#settle(made, result);
    command.unload();
    return result;
  }
  #settle(made: IommufdObject, result: number): void {
    const { objects } = this.context;
    if (result >= 0) {
      objects.publish(made);
      return;
    }
    made.destroy();
    objects.abort(made);
  }

  /** The struct's address as a number: it may lie anywhere in the process. */
  override ioctlValue(request: number, value: number): number {
    const { process } = this.context;
    if (findCompatCall(request) !== undefined) return this.#ioctlCompat(request, addressBuffer(process, value), value);
    const { memory } = process;
    if (memory.foreign !== undefined) return this.#ioctlCopied(request, memory, value);
    const placement = memory.find(value);
    if (placement?.backing === undefined) {
      return isInTable(this.context.kernel, request) ? -ERRNO.EFAULT : -ERRNO.ENOTTY;
    }
    const within = value % PAGE_SIZE;
    const page = placement.offset + value - placement.start - within;
    return this.ioctl(request, argumentMemory(placement.backing, page), within);
  }

  /** What VFIO's containers answered. */
  #ioctlCompat(request: number, memory: UserBuffer, value: number): number {
    return findCompatCall(request)?.(this.context, { memory, value }) ?? -ERRNO.ENOTTY;
  }

  /** A struct in memory that is not at hand: the kernel works on a copy, and puts back what it answers. */
  #ioctlCopied(request: number, memory: AddressSpace, address: number): number {
    if (!isInTable(this.context.kernel, request)) return -ERRNO.ENOTTY;
    const argument = copyArgument(memory, address);
    return argument === undefined ? -ERRNO.EFAULT : this.ioctl(request, argument, 0);
  }

  override mmap(offset: number, length: number): MmioMapping | number {
    // Before that there is nothing to map.
    if (!this.context.kernel.has(IOMMU_HW_QUEUE_ALLOC.since)) return -ERRNO.ENODEV;
    return this.context.mmaps.map(offset, length, this);
  }

  protected override closed(): void {
    this.context.objects.destroyAll();
    this.#onClosed(this);
  }
}
