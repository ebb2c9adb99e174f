// How large the entries of a page table are that the kernel fills, of 4 KiB, 2 MiB or 1 GiB. No table is kept: its entries follow
// from the mappings, as iommu_map would have made them, of the largest page that IOVA and memory are aligned to and that lies
// within one mapping.
import type { Translation } from '../kernel/driver.js';
import { IoPagetable } from '../kernel/io-pagetable.js';
import { PAGE_SIZE } from '../memory/backing.js';

/** In pages of 4 KiB. */
export interface Leaf {
  readonly start: number;
  readonly pages: number;
}

/** 1 GiB and 2 MiB. */
const BLOCKS = [2 ** 18, 2 ** 9] as const;

/** The entry that maps a page; one of 4 KiB where nothing does. */
export function leafAround(map: Translation | undefined, page: number): Leaf {
  if (map instanceof IoPagetable && map.largePages) {
    for (const pages of BLOCKS) {
      const start = page - (page % pages);
      if (isBlock(map, start, pages)) return { start, pages };
    }
  }
  return { start: page, pages: 1 };
}

/** Whether pages are of one mapping, and their memory in one piece that is aligned as they are. */
function isBlock(map: IoPagetable, first: number, pages: number): boolean {
  const { areaTable } = map;
  const slot = areaTable.at(first, 0);
  if (slot < 0 || (areaTable.lastPage[slot] ?? 0) < first + pages - 1) return false;
  const start = map.translateAny(first, 0);
  if (start < 0 || start % (pages * PAGE_SIZE) !== 0) return false;
  for (let i = 1; i < pages; i++) if (map.translateAny(first + i, 0) !== start + i * PAGE_SIZE) return false;
  return true;
}
