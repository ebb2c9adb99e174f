// DMA of a device that waits where it meets a fault: the SMMU stalls the access, the kernel asks whoever handles the faults of
// its page table, and the access is tried again or refused.
import { ERRNO } from '../../../../uapi/errno.js';
import { PAGE_SIZE } from '../../../memory/backing.js';
import type { PhysicalMemory } from '../../../memory/physical.js';
import type { Stream } from '../stream.js';

export interface WaitingAccess {
  readonly iova: bigint;
  readonly bytes: Uint8Array;
  /** Memory gets the bytes. */
  readonly write: boolean;
  readonly pasid: number;
}

const PAGE_BITS = 12n;
/** Addresses have 64 bits. */
const END = 2n ** 64n;

/** Carries it out page by page; resolves with 0, or -EFAULT with what comes before the refused page done. */
export async function waitingDma(
  physical: PhysicalMemory,
  stream: Stream,
  canStall: boolean,
  { iova, bytes, write, pasid }: WaitingAccess,
): Promise<number> {
  if (iova < 0n || iova + BigInt(bytes.length) > END) return -ERRNO.EFAULT;
  let page = Number(iova >> PAGE_BITS);
  let offset = Number(BigInt.asUintN(12, iova));
  for (let done = 0; done < bytes.length; ) {
    stream.mayStall = canStall;
    const address = stream.translate(page, offset, write, pasid);
    const tag = stream.stalledTag;
    stream.mayStall = false;
    if (address < 0) {
      // Once more, if somebody has mended it.
      if (tag >= 0 && (await stream.waitFor(tag))) continue;
      return -ERRNO.EFAULT;
    }
    const part = bytes.subarray(done, done + PAGE_SIZE - offset);
    if (!(write ? physical.write(address, part) : physical.read(address, part))) return -ERRNO.EFAULT;
    done += part.length;
    page++;
    offset = 0;
  }
  return 0;
}
