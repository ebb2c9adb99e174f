// Driver data that an ioctl's struct points at, as iommufd hands it to drivers: a typed struct, or an array of them. The
// size rules are those of include/linux/iommu.h: unlike an ioctl's own struct, driver data may not be longer than known.
import { ERRNO } from '../../uapi/errno.js';
import type { AddressSpace } from '../memory/address-space.js';
import { PAGE_SIZE } from '../memory/backing.js';

/**
 * Copies a struct in that may be longer or shorter than the kernel's: what the caller lacks is zero, and what the kernel
 * does not know must be.
 * @returns 0, -EFAULT, -E2BIG
 */
export function copyStructIn(memory: AddressSpace, address: number, userSize: number, into: Uint8Array): number {
  const tail = checkZeros(memory, address + into.length, userSize - into.length);
  if (tail < 0) return tail;
  const copied = Math.min(userSize, into.length);
  into.fill(0, copied);
  return memory.read(address, into.subarray(0, copied)) ? 0 : -ERRNO.EFAULT;
}

/** Page by page, since callers may claim any length: the first byte that is not zero, or not there, decides. */
function checkZeros(memory: AddressSpace, address: number, length: number): number {
  const part = new Uint8Array(Math.max(0, Math.min(length, PAGE_SIZE)));
  for (let done = 0; done < length; ) {
    const at = address + done;
    const bytes = part.subarray(0, Math.min(length - done, PAGE_SIZE - (at % PAGE_SIZE)));
    if (!memory.read(at, bytes)) return -ERRNO.EFAULT;
    if (bytes.some((byte) => byte !== 0)) return -ERRNO.E2BIG;
    done += bytes.length;
  }
  return 0;
}

/** One struct of driver data: struct iommu_user_data. */
export class UserStruct {
  constructor(
    readonly memory: AddressSpace,
    readonly type: number,
    readonly address: number,
    readonly length: number,
  ) {}

  /**
   * Copies it in.
   * @param type what it must be
   * @param minSize bytes without which it is not usable
   * @param into as long as the kernel's struct
   * @returns 0, -EINVAL (another type, too short, too long), -EFAULT
   */
  copyIn(type: number, minSize: number, into: Uint8Array): number {
    const refusal = this.#check(type, minSize, into.length);
    return refusal < 0 ? refusal : copyStructIn(this.memory, this.address, this.length, into);
  }
  /** Copies it back, as far as the caller's struct goes. */
  copyOut(type: number, minSize: number, from: Uint8Array): number {
    const refusal = this.#check(type, minSize, from.length);
    if (refusal < 0) return refusal;
    return this.memory.write(this.address, from.subarray(0, this.length)) ? 0 : -ERRNO.EFAULT;
  }
  #check(type: number, minSize: number, size: number): number {
    return this.type !== type || this.length < minSize || size < this.length ? -ERRNO.EINVAL : 0;
  }
}

/** An array of driver data: struct iommu_user_data_array. */
export class UserArray {
  constructor(
    readonly memory: AddressSpace,
    readonly type: number,
    readonly address: number,
    readonly entryLength: number,
    /** In: how many there are. Out: how many were carried out. */
    public count: number,
  ) {}

  /** Copies one entry in; as `UserStruct.copyIn`. */
  entry(index: number, type: number, minSize: number, into: Uint8Array): number {
    if (index >= this.count) return -ERRNO.EINVAL;
    const address = this.address + this.entryLength * index;
    return new UserStruct(this.memory, this.type, address, this.entryLength).copyIn(type, minSize, into);
  }
  /**
   * Copies all entries in, each `size` bytes in the kernel's form; here, unlike for one entry, longer and shorter ones
   * stretch as an ioctl's struct does.
   */
  all(type: number, size: number, into: Uint8Array): number {
    if (this.type !== type || this.count === 0) return -ERRNO.EINVAL;
    if (this.entryLength === size) return this.memory.read(this.address, into) ? 0 : -ERRNO.EFAULT;
    for (let i = 0; i < this.count; i++) {
      const slot = into.subarray(i * size, (i + 1) * size);
      const rc = copyStructIn(this.memory, this.address + this.entryLength * i, this.entryLength, slot);
      if (rc < 0) return rc;
    }
    return 0;
  }
}
