// /dev/iommu, opened: the ids, and where ioctls and mmap(2) arrive.
import { ERRNO } from '../../uapi/errno.js';
import { IOMMU_HW_QUEUE_ALLOC } from '../../uapi/iommufd-ioctls.js';
import { PAGE_SIZE } from '../memory/backing.js';
import { Command } from './command.js';
import { type ArgumentMemory, argumentMemory, type MmioMapping, OpenFile } from './file.js';
import { Ioas } from './ioas.js';
import { findIoctl } from './ioctls.js';
import type { IommuGroup } from './iommu-group.js';
import type { IommufdGroup } from './iommufd-group.js';
import type { Kernel } from './kernel.js';
import { MmapTable } from './mmap-table.js';
import { type IommufdObject, ObjectTable } from './object-table.js';
import { PageStore } from './pages.js';
import type { Process } from './process.js';

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
    if (op === undefined) return -ERRNO.ENOTTY;
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
    const placement = this.context.process.memory.find(value);
    if (placement?.backing === undefined) {
      return findIoctl(this.context.kernel, request) === undefined ? -ERRNO.ENOTTY : -ERRNO.EFAULT;
    }
    const within = value % PAGE_SIZE;
    const page = placement.offset + value - placement.start - within;
    return this.ioctl(request, argumentMemory(placement.backing, page), within);
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
