// A mock device's DMA: page by page through the page table that it is attached to, as hardware does it.
import { ERRNO } from '../../../uapi/errno.js';
import { PAGE_SIZE } from '../../memory/backing.js';
import type { PhysicalMemory } from '../../memory/physical.js';
import { GRANULE } from './dirty-tracker.js';
import type { SelftestPagingDomain } from './paging-domain.js';

type Table = SelftestPagingDomain | undefined;

/** Nothing is mapped from here on: the addresses of the page tables end long before. */
const END = 2n ** 53n;

/** Copies memory to the device. What comes before a page that refuses is copied. */
export function dmaRead(physical: PhysicalMemory, table: Table, iova: bigint, into: Uint8Array): number {
  return eachPage(table, iova, into.length, false, (address, done, length) =>
    physical.read(address, into.subarray(done, done + length)),
  );
}

/** Copies from the device to memory; a page that was written is dirty where that is tracked. */
export function dmaWrite(physical: PhysicalMemory, table: Table, iova: bigint, from: Uint8Array): number {
  const start = Number(iova);
  return eachPage(table, iova, from.length, true, (address, done, length) => {
    table?.dirty?.written(start + done, length);
    return physical.write(address, from.subarray(done, done + length));
  });
}

/** Carries out part after part of an access; -EFAULT where a page does not allow it. */
function eachPage(
  table: Table,
  iova: bigint,
  length: number,
  write: boolean,
  work: (address: number, done: number, length: number) => boolean,
): number {
  const translation = table?.translation;
  if (translation === undefined || iova < 0n || iova + BigInt(length) > END) return -ERRNO.EFAULT;
  const start = Number(iova);
  for (let done = 0; done < length; ) {
    const at = start + done;
    const part = Math.min(GRANULE - (at % GRANULE), length - done);
    const address = translation.translate(Math.floor(at / PAGE_SIZE), at % PAGE_SIZE, write);
    if (address < 0 || !work(address, done, part)) return -ERRNO.EFAULT;
    done += part;
  }
  return 0;
}
