// The files that a device's state goes through: streams without positions, one way each (as mlx5, mtty and other drivers of
// Linux make them). A file outlives what it was made for: it is disabled then.
import { ERRNO } from '../../../uapi/errno.js';
import { vfio_precopy_info_flags } from '../../../uapi/vfio-constants.js';
import { VFIO_MIG_GET_PRECOPY_INFO } from '../../../uapi/vfio-ioctls.js';
import { vfio_precopy_info } from '../../../uapi/vfio-structs.js';
import { type ArgumentMemory, type MmioMapping, OpenFile } from '../file.js';
import type { Process } from '../process.js';
import type { UserBuffer } from './driver.js';
import { addressBuffer, argumentBuffer } from './user-buffer.js';

const INFO = vfio_precopy_info;
const { VFIO_PRECOPY_INFO_REINIT } = vfio_precopy_info_flags.values;

abstract class MigrationFile extends OpenFile {
  /** The state went on without it. */
  protected disabled = false;
  disable(): void {
    this.disabled = true;
  }
  override pread(): number {
    return -ERRNO.ESPIPE;
  }
  override pwrite(): number {
    return -ERRNO.ESPIPE;
  }
  /** It lacks one of the rights that a mapping to read and write takes: nobody asks whether it could be mapped. */
  override mmap(): MmioMapping | number {
    return -ERRNO.EACCES;
  }
  protected override closed(): void {
    this.disabled = true;
  }
}

/** What VFIO_MIG_GET_PRECOPY_INFO tells, in bytes. */
export interface PrecopyInfo {
  readonly initial: bigint;
  readonly dirty: bigint;
  /** Initial data starts anew. */
  readonly reinitialized?: boolean;
}

/** What a file that is read asks of the driver that made it. */
export interface SavingDevice {
  /** -errno in a state that is not one of copying before. */
  precopyInfo?(): PrecopyInfo | number;
  /** Flags of struct vfio_precopy_info count. */
  readonly precopyInfoV2: boolean;
  /** What a read answers where there is nothing: 0 at the end, or -errno; 0 if left out. */
  atEnd?(): number;
}

/** A state on its way out. */
export class SavingFile extends MigrationFile {
  readonly #process: Process;
  readonly #device: SavingDevice;
  readonly #parts: Uint8Array[] = [];

  constructor(process: Process, device: SavingDevice) {
    super();
    this.#process = process;
    this.#device = device;
  }

  /** More of the state is there. */
  append(bytes: Uint8Array): void {
    this.#parts.push(bytes.slice());
  }
  /** Bytes that were not read yet. */
  get left(): number {
    return this.#parts.reduce((sum, { length }) => sum + length, 0);
  }

  override read(into: Uint8Array): number {
    if (this.disabled) return -ERRNO.ENODEV;
    let done = 0;
    while (done < into.length) {
      const part = this.#parts[0];
      if (part === undefined) break;
      const taken = part.subarray(0, into.length - done);
      into.set(taken, done);
      done += taken.length;
      if (taken.length === part.length) this.#parts.shift();
      else this.#parts[0] = part.subarray(taken.length);
    }
    return done === 0 && into.length > 0 ? (this.#device.atEnd?.() ?? 0) : done;
  }
  override write(): number {
    return -ERRNO.EBADF;
  }

  override ioctl(request: number, memory: ArgumentMemory, at: number): number {
    return this.#precopyInfo(request, argumentBuffer(this.#process, memory, at));
  }
  override ioctlValue(request: number, value: number): number {
    return this.#precopyInfo(request, addressBuffer(this.#process, value));
  }
  #precopyInfo(request: number, argument: UserBuffer): number {
    if (request !== VFIO_MIG_GET_PRECOPY_INFO.request) return -ERRNO.ENOTTY;
    const bytes = new Uint8Array(INFO.size);
    const view = new DataView(bytes.buffer);
    if (!argument.copyIn(0, bytes)) return -ERRNO.EFAULT;
    if (view.getUint32(INFO.at.argsz, true) < INFO.end('dirty_bytes')) return -ERRNO.EINVAL;
    if (this.#device.precopyInfo === undefined) return -ERRNO.ENOTTY;
    const info = this.#device.precopyInfo();
    if (typeof info === 'number') return info;
    if (this.disabled) return -ERRNO.ENODEV;
    // Before that, nobody had said that the flags are written: the caller gets its own back.
    if (this.#device.precopyInfoV2) {
      view.setUint32(INFO.at.flags, info.reinitialized === true ? VFIO_PRECOPY_INFO_REINIT : 0, true);
    }
    view.setBigUint64(INFO.at.initial_bytes, info.initial, true);
    view.setBigUint64(INFO.at.dirty_bytes, info.dirty, true);
    return argument.copyOut(0, bytes) ? 0 : -ERRNO.EFAULT;
  }
}

/** A state on its way in. */
export class ResumingFile extends MigrationFile {
  readonly #bytes: Uint8Array;
  readonly #check: ((state: Uint8Array, before: number) => boolean) | undefined;
  #filled = 0;

  /**
   * @param limit bytes that the state may have
   * @param check what arrived so far, after every write, and how much of it had been there before: false fails that write
   * with EFAULT, though its bytes count
   */
  constructor(limit: number, check?: (state: Uint8Array, before: number) => boolean) {
    super();
    this.#bytes = new Uint8Array(limit);
    this.#check = check;
  }

  /** Also how far it was written is forgotten. */
  override disable(): void {
    super.disable();
    this.#filled = 0;
  }
  /** What arrived. */
  get state(): Uint8Array {
    return this.#bytes.subarray(0, this.#filled);
  }

  override write(from: Uint8Array): number {
    if (this.#filled + from.length > this.#bytes.length) return -ERRNO.ENOMEM;
    if (this.disabled) return -ERRNO.ENODEV;
    const before = this.#filled;
    this.#bytes.set(from, before);
    this.#filled += from.length;
    return this.#check === undefined || this.#check(this.state, before) ? from.length : -ERRNO.EFAULT;
  }
  override read(): number {
    return -ERRNO.EBADF;
  }
}
