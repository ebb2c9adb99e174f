// What an fd stands for, as the kernel sees it: counted references, and the calls that a file may answer.
import { ERRNO } from '../../uapi/errno.js';
import type { Backing } from '../memory/backing.js';

/** Memory that an ioctl's struct lies in: an arena, or a block for a call on the thread pool. */
export interface ArgumentMemory {
  readonly bytes: Uint8Array;
  /** The same bytes, for structs at a multiple of 4. */
  readonly u32: Uint32Array;
  /** Where these are a copy: puts bytes back to where they came from; false where that cannot be written. */
  store?(at: number, length: number): boolean;
}

/** Memory from a page on, as long as it lies in one piece. */
export function argumentMemory(backing: Backing, offset: number): ArgumentMemory {
  const bytes = backing.bytes(offset, backing.size - offset);
  return { bytes, u32: new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4) };
}

/** Registers that are mapped into a process: every access reaches the hardware at once. Offsets are checked before. */
export interface MmioMapping {
  read(offset: number, width: 1 | 2 | 4): number;
  read64(offset: number): bigint;
  write(offset: number, width: 1 | 2 | 4, value: number): void;
  write64(offset: number, value: bigint): void;
  /** munmap(2). */
  close(): void;
}

/** Who waits for a file to become readable. */
export class WaitQueue {
  readonly #waiters = new Set<() => void>();
  add(waiter: () => void): void {
    this.#waiters.add(waiter);
  }
  remove(waiter: () => void): void {
    this.#waiters.delete(waiter);
  }
  /** All of them, the last one that came first (add_wait_queue puts it there). */
  wake(): void {
    for (const waiter of [...this.#waiters].reverse()) waiter();
  }
}

export abstract class OpenFile {
  readonly waiters = new WaitQueue();
  #references = 1;

  /** Another fd, mapping or object of the kernel refers to the file. */
  hold(): this {
    this.#references++;
    return this;
  }
  /** A reference goes; with the last one the file is closed. */
  release(): void {
    if (--this.#references === 0) this.closed();
  }
  protected abstract closed(): void;

  ioctl(_request: number, _memory: ArgumentMemory, _at: number): number {
    return -ERRNO.ENOTTY;
  }
  ioctlValue(_request: number, _value: number): number {
    return -ERRNO.ENOTTY;
  }
  /** Fills the bytes; answers how many, or -errno. */
  read(_into: Uint8Array): number {
    return -ERRNO.EINVAL;
  }
  write(_from: Uint8Array): number {
    return -ERRNO.EINVAL;
  }
  pread(_into: Uint8Array, _position: number): number {
    return -ERRNO.EINVAL;
  }
  pwrite(_from: Uint8Array, _position: number): number {
    return -ERRNO.EINVAL;
  }
  /** Whether a read would find something; undefined for a file that cannot be waited for. */
  readable(): boolean | undefined {
    return undefined;
  }
  /** mmap(2), shared, readable and writable. */
  mmap(_offset: number, _length: number): MmioMapping | number {
    return -ERRNO.ENODEV;
  }
}
