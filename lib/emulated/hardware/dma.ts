// DMA of a device whose addresses an IOMMU translates: page by page, as hardware does it.
import { ERRNO } from '../../uapi/errno.js';
import { PAGE_SIZE } from '../memory/backing.js';
import type { PhysicalMemory } from '../memory/physical.js';
import { PageParts } from './page-parts.js';

/** What stands between a device and memory. */
export interface Translator {
  /**
   * The physical address behind an IOVA, told as its page number and the offset within that page, good to the end of that
   * page of 4 KiB; -1 where the access is refused, which the IOMMU has reported by then.
   */
  translate(page: number, offset: number, write: boolean, pasid: number): number;
}

/** Addresses have 64 bits. */
const END = 2n ** 64n;
const PAGE_BITS = 12;

function pageOf(iova: bigint): number {
  return Number(iova >> BigInt(PAGE_BITS));
}
function offsetOf(iova: bigint): number {
  return Number(BigInt.asUintN(PAGE_BITS, iova));
}
/** Whether an access would pass the last address. */
function passesEnd(iova: bigint, length: number): boolean {
  return iova < 0n || iova + BigInt(length) > END;
}

/** Copies memory to the device: 0 or -EFAULT. What comes before a page that is refused is copied. */
export function dmaRead(
  physical: PhysicalMemory,
  translator: Translator,
  iova: bigint,
  into: Uint8Array,
  pasid: number,
): number {
  const { length } = into;
  if (passesEnd(iova, length)) return -ERRNO.EFAULT;
  let page = pageOf(iova);
  let offset = offsetOf(iova);
  for (let done = 0; done < length; page++) {
    const address = translator.translate(page, offset, false, pasid);
    if (address < 0) return -ERRNO.EFAULT;
    const count = Math.min(PAGE_SIZE - offset, length - done);
    const isCopied =
      count === PAGE_SIZE
        ? physical.readPage(address, into, done)
        : physical.read(address, into.subarray(done, done + count));
    if (!isCopied) return -ERRNO.EFAULT;
    done += count;
    offset = 0;
  }
  return 0;
}

/** Copies from the device to memory: 0 or -EFAULT. What comes before a page that is refused is written. */
export function dmaWrite(
  physical: PhysicalMemory,
  translator: Translator,
  iova: bigint,
  from: Uint8Array,
  pasid: number,
): number {
  const { length } = from;
  if (passesEnd(iova, length)) return -ERRNO.EFAULT;
  let page = pageOf(iova);
  let offset = offsetOf(iova);
  /** Where the first whole page starts. */
  const whole = (PAGE_SIZE - offset) % PAGE_SIZE;
  const parts = PageParts.of(from, whole);
  let index = parts.indexOf(from, whole);
  for (let done = 0; done < length; page++) {
    const address = translator.translate(page, offset, true, pasid);
    if (address < 0) return -ERRNO.EFAULT;
    const count = Math.min(PAGE_SIZE - offset, length - done);
    const isCopied =
      count === PAGE_SIZE
        ? physical.writePage(address, parts.part(index++, from, done))
        : physical.write(address, from.subarray(done, done + count));
    if (!isCopied) return -ERRNO.EFAULT;
    done += count;
    offset = 0;
  }
  return 0;
}
