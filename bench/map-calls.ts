// IOAS_MAP and IOAS_UNMAP with structs that lie ready in the arena: what a host itself takes for them.
import type { DmaMemory, Ioas, Iommufd } from '../lib/index.js';
import { hostSeam, uapi } from '../lib/unsafe.js';
import { type Contender, loop } from './measure.js';

const FIXED_READ_WRITE = 7;

export function must(result: number): void {
  if (result < 0) throw new Error(`refused: ${uapi.errnoName(result)}`);
}

/** A mapping of an IOAS that is made and undone, at one IOVA after another. */
export interface MapCalls {
  /** Maps and unmaps, that often. */
  pairs(count: number): void;
  /** Maps, from the IOVA page on, leaving a page between two mappings. */
  fill(firstPage: number, count: number): void;
}

/** `pageAt` tells the IOVA page of a pair. */
export function mapCalls(
  iommufd: Iommufd,
  ioas: Ioas,
  memory: DmaMemory,
  length: number,
  pageAt: (i: number) => number,
): MapCalls {
  const seam = hostSeam(iommufd.host);
  const { arena } = seam;
  const { fd } = iommufd;
  const op = memory.backing === 'memfd' ? uapi.IOMMU_IOAS_MAP_FILE : uapi.IOMMU_IOAS_MAP;
  const map = arena.take(op.layout.size);
  const unmap = arena.take(uapi.IOMMU_IOAS_UNMAP.layout.size);
  const common = { size: op.layout.size, flags: FIXED_READ_WRITE, ioas_id: ioas.id, length: BigInt(length) };
  if (memory.backing === 'memfd') uapi.IOMMU_IOAS_MAP_FILE.layout.encode(arena.view, map, { ...common, fd: memory.fd });
  else uapi.IOMMU_IOAS_MAP.layout.encode(arena.view, map, { ...common, user_va: memory.address });
  const { layout, request } = uapi.IOMMU_IOAS_UNMAP;
  layout.encode(arena.view, unmap, { size: layout.size, ioas_id: ioas.id, length: BigInt(length) });
  const { u32 } = arena;
  const mapIova = (map + op.layout.at.iova) >>> 2;
  const unmapIova = (unmap + layout.at.iova) >>> 2;
  const unmapLength = (unmap + layout.at.length) >>> 2;
  const place = (at: number, page: number): void => {
    u32[at] = (page << 12) >>> 0;
    u32[at + 1] = page >>> 20;
  };
  /** Also keeps what is used: owners that nobody refers to are collected, and closed. */
  const check = (): void => {
    if (iommufd.closed || memory.freed) throw new Error('closed while it was measured');
  };
  return {
    fill: (firstPage, count) => {
      check();
      for (let i = 0; i < count; i++) {
        place(mapIova, firstPage + 2 * i);
        must(seam.ioctl(fd, op.request, map));
      }
    },
    pairs: (count) => {
      check();
      for (let i = 0; i < count; i++) {
        const page = pageAt(i);
        place(mapIova, page);
        must(seam.ioctl(fd, op.request, map));
        place(unmapIova, page);
        // The kernel writes back how much it unmapped.
        u32[unmapLength] = length;
        u32[unmapLength + 1] = 0;
        must(seam.ioctl(fd, request, unmap));
      }
    },
  };
}

/** Map and unmap at one IOVA, the address space empty otherwise. */
export function mapContender(name: string, iommufd: Iommufd, memory: DmaMemory, length: number): Contender {
  const calls = mapCalls(iommufd, iommufd.allocIoas(), memory, length, () => 0x1000);
  return loop(name, calls.pairs);
}
