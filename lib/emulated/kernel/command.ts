// An ioctl's struct on its way through the kernel: copied in by the size rules, worked on, copied back where the call
// answers. One per kernel, used again for every call.
import { ERRNO } from '../../uapi/errno.js';
import type { ArgumentMemory } from './file.js';
import type { IommufdContext } from './iommufd-file.js';
import type { IommufdObject } from './object-table.js';

/** The longest struct of any iommufd ioctl, with room. */
const LONGEST = 128;

export class Command {
  /** The kernel's copy: zeros where the caller's struct is shorter. */
  readonly u32 = new Uint32Array(LONGEST / 4);
  readonly bytes = new Uint8Array(this.u32.buffer);
  readonly view = new DataView(this.u32.buffer);
  /** Bytes of the struct as the caller sees it. */
  userSize = 0;
  /** The object that the call makes: found by its id once the call succeeds, destroyed if it fails. */
  made: IommufdObject | undefined;
  #memory: ArgumentMemory | undefined;
  #at = 0;
  #context: IommufdContext | undefined;

  /** The iommufd that is called. */
  get context(): IommufdContext {
    if (this.#context === undefined) throw new Error('no call is under way');
    return this.#context;
  }

  /**
   * Copies the struct in. Longer than known is fine where the rest is zero.
   * @param size bytes that the kernel knows
   * @param minSize bytes that it cannot do without
   * @returns 0, -EFAULT (not all there), -EINVAL (too short), -E2BIG (more was asked for than is known)
   */
  load(context: IommufdContext, memory: ArgumentMemory, at: number, size: number, minSize: number): number {
    const { bytes } = memory;
    if (at < 0 || at + 4 > bytes.length) return -ERRNO.EFAULT;
    const aligned = (at & 3) === 0;
    const userSize = aligned ? (memory.u32[at >>> 2] ?? 0) : readU32(bytes, at);
    if (userSize < minSize) return -ERRNO.EINVAL;
    const tail = userSize - size;
    if (tail > 0) {
      const checked = checkTail(bytes, at + size, tail);
      if (checked < 0) return checked;
    }
    const copied = tail > 0 ? size : userSize;
    if (at + copied > bytes.length) return -ERRNO.EFAULT;
    if (aligned && copied === size && (size & 3) === 0) {
      const from = at >>> 2;
      for (let i = 0; i < size >>> 2; i++) this.u32[i] = memory.u32[from + i] ?? 0;
    } else {
      this.bytes.fill(0, 0, size);
      this.bytes.set(bytes.subarray(at, at + copied));
    }
    this.userSize = userSize;
    this.made = undefined;
    this.#memory = memory;
    this.#at = at;
    this.#context = context;
    return 0;
  }

  /** The call is over. */
  unload(): void {
    this.made = undefined;
    this.#memory = undefined;
    this.#context = undefined;
  }

  /** Copies the first `length` bytes back, as far as the caller's struct goes: 0, or -EFAULT where it cannot be written. */
  respond(length: number): number {
    const memory = this.#memory;
    if (memory === undefined) throw new Error('no call is under way');
    const count = Math.min(length, this.userSize);
    if ((this.#at & 3) === 0 && (count & 3) === 0) {
      const to = this.#at >>> 2;
      for (let i = 0; i < count >>> 2; i++) memory.u32[to + i] = this.u32[i] ?? 0;
    } else {
      memory.bytes.set(this.bytes.subarray(0, count), this.#at);
    }
    return memory.store === undefined || memory.store(this.#at, count) ? 0 : -ERRNO.EFAULT;
  }
  /** Copies some bytes in the middle back, whatever the caller's struct says its size is; -EFAULT where it ends. */
  respondAt(at: number, length: number): number {
    const memory = this.#memory;
    if (memory === undefined) throw new Error('no call is under way');
    if (this.#at + at + length > memory.bytes.length) return -ERRNO.EFAULT;
    memory.bytes.set(this.bytes.subarray(at, at + length), this.#at + at);
    return memory.store === undefined || memory.store(this.#at + at, length) ? 0 : -ERRNO.EFAULT;
  }

  u16(at: number): number {
    return this.view.getUint16(at, true);
  }
  get(at: number): number {
    return this.u32[at >>> 2] ?? 0;
  }
  s32(at: number): number {
    return this.get(at) | 0;
  }
  set(at: number, value: number): void {
    this.u32[at >>> 2] = value;
  }
  get64(at: number): bigint {
    return this.view.getBigUint64(at, true);
  }
  set64(at: number, value: bigint): void {
    this.view.setBigUint64(at, value, true);
  }
  /** A 64-bit field as a number: exact below 2^53, and at or above it where it is not. Enough for addresses of memory. */
  address(at: number): number {
    return this.get(at + 4) * 2 ** 32 + this.get(at);
  }
}

function readU32(bytes: Uint8Array, at: number): number {
  return (
    ((bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8) | ((bytes[at + 2] ?? 0) << 16) | ((bytes[at + 3] ?? 0) << 24)) >>> 0
  );
}

/** What is behind the part of a struct that the kernel knows must be zero: the first byte that is not decides. */
function checkTail(bytes: Uint8Array, at: number, length: number): number {
  const end = Math.min(at + length, bytes.length);
  for (let i = at; i < end; i++) if (bytes[i] !== 0) return -ERRNO.E2BIG;
  return at + length > bytes.length ? -ERRNO.EFAULT : 0;
}
