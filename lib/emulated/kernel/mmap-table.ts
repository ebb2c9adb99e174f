// Registers that user space may map: regions by the offset to give to mmap(2) (iommufd/driver.c, main.c).
import { ERRNO } from '../../uapi/errno.js';
import { PAGE_SIZE } from '../memory/backing.js';
import type { MmapRegion } from './driver.js';
import type { MmioMapping, OpenFile } from './file.js';
import type { Dialect } from './kernel.js';
import type { IommufdObject } from './object-table.js';

interface Entry {
  readonly offset: number;
  readonly owner: IommufdObject;
  readonly region: MmapRegion;
}

export class MmapTable {
  readonly #dialect: Dialect;
  /** Sorted by offset. */
  readonly #entries: Entry[] = [];

  constructor(dialect: Dialect) {
    this.#dialect = dialect;
  }

  /** Gives a region the lowest offsets that are free; answers the first one, or -errno. */
  alloc(owner: IommufdObject, region: MmapRegion): number {
    const { length } = region;
    if (length <= 0 || length % PAGE_SIZE !== 0) return -ERRNO.EINVAL;
    // Linux leaves the first page out, so that 0 is never an offset; the patches before it did not yet.
    let offset = this.#dialect === 'linux' ? PAGE_SIZE : 0;
    let index = 0;
    for (const entry of this.#entries) {
      if (offset + length <= entry.offset) break;
      offset = entry.offset + entry.region.length;
      index++;
    }
    this.#entries.splice(index, 0, { offset, owner, region });
    return offset;
  }

  free(owner: IommufdObject, offset: number): void {
    const index = this.#entries.findIndex((entry) => entry.offset === offset);
    if (this.#entries[index]?.owner !== owner) throw new Error(`offset ${offset} was not given to this object`);
    this.#entries.splice(index, 1);
  }

  /**
   * mmap(2) of an iommufd: a whole region, from its start. The patches before Linux's allowed less than the whole.
   * @param file what the mapping keeps open
   */
  map(offset: number, length: number, file: OpenFile): MmioMapping | number {
    if (length % PAGE_SIZE !== 0) return -ERRNO.EINVAL;
    const entry = this.#entries.find((candidate) => candidate.offset === offset);
    if (entry === undefined) return -ERRNO.ENXIO;
    const { region, owner } = entry;
    const fits = this.#dialect === 'linux' ? length === region.length : length <= region.length;
    return fits ? new RegionMapping(region, owner, file) : -ERRNO.ENXIO;
  }
}

/** A region in a process's memory: its owner stays while it is there. */
class RegionMapping implements MmioMapping {
  readonly #registers: MmapRegion['registers'];
  readonly #owner: IommufdObject;
  readonly #file: OpenFile;

  constructor({ registers }: MmapRegion, owner: IommufdObject, file: OpenFile) {
    this.#registers = registers;
    this.#owner = owner;
    this.#file = file.hold();
    owner.users++;
  }

  read(offset: number, width: 1 | 2 | 4): number {
    return this.#registers.read(offset, width);
  }
  read64(offset: number): bigint {
    return this.#registers.read64(offset);
  }
  write(offset: number, width: 1 | 2 | 4, value: number): void {
    this.#registers.write(offset, width, value);
  }
  write64(offset: number, value: bigint): void {
    this.#registers.write64(offset, value);
  }
  close(): void {
    this.#owner.users--;
    this.#file.release();
  }
}
