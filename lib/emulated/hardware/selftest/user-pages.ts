// The pages behind addresses of a process, as get_user_pages finds them.
import type { PinnedPage } from '../../kernel/driver.js';
import type { AddressSpace } from '../../memory/address-space.js';
import { PAGE_SIZE } from '../../memory/backing.js';

/** The page that an address lies in; undefined where there is no memory. */
export function pageAt(memory: AddressSpace, address: number): PinnedPage | undefined {
  if (memory.foreign !== undefined) return memory.foreign.pageAt(Math.floor(address / PAGE_SIZE));
  const placement = memory.find(address);
  if (placement?.backing === undefined) return undefined;
  return {
    backing: placement.backing,
    page: Math.floor((placement.offset + address - placement.start) / PAGE_SIZE),
  };
}
