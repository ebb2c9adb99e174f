// What lies where in a soaked machine: memory whose pages tell which they are, and what is mapped of it.
import assert from 'node:assert/strict';
import type { DmaMemory, HwptNested, HwptPaging, Ioas } from '../../lib/index.js';

export const PAGE = 4096;
/** Where a page says which it is; devices write elsewhere in it. */
const TAG_AT = 16;
const WRITE_AT = 64;
const PAGE_NUMBERS = 4096;

export interface Ram {
  readonly memory: DmaMemory;
  readonly serial: number;
  readonly pages: number;
}
export interface Placed {
  readonly iova: bigint;
  readonly length: bigint;
  readonly ram: Ram;
  /** Of the memory. */
  readonly offset: number;
  readonly readable: boolean;
  readonly writable: boolean;
}

/** Memory of which every page is marked. */
export function markedRam(memory: DmaMemory, serial: number): Ram {
  const pages = memory.size / PAGE;
  const mark = new Uint8Array(4);
  const view = new DataView(mark.buffer);
  for (let page = 0; page < pages; page++) {
    view.setUint32(0, serial * PAGE_NUMBERS + page, true);
    memory.write(page * PAGE + TAG_AT, mark);
  }
  return { memory, serial, pages };
}

/** Where to read the mark of the page at an IOVA, and where to write. */
export const tagAt = (page: bigint): bigint => page + BigInt(TAG_AT);
export const writeAt = (page: bigint): bigint => page + BigInt(WRITE_AT);

/** What is mapped in each address space, as the calls that worked had it. */
export class Places {
  readonly #placed = new WeakMap<Ioas, Placed[]>();

  of(ioas: Ioas): Placed[] {
    const known = this.#placed.get(ioas) ?? [];
    this.#placed.set(ioas, known);
    return known;
  }
  at(ioas: Ioas, iova: bigint): Placed | undefined {
    return this.of(ioas).find((one) => iova >= one.iova && iova < one.iova + one.length);
  }
  gone(ioas: Ioas, iova: bigint): void {
    const all = this.of(ioas);
    const index = all.findIndex((one) => one.iova === iova);
    if (index >= 0) all.splice(index, 1);
  }

  /** Whatever a device read, by whatever tables: its address space has it mapped for reading. */
  checkMapped(ioas: Ioas, read: Uint8Array, what: string): void {
    const tag = tagOf(read);
    const serial = Math.floor(tag / PAGE_NUMBERS);
    const at = (tag % PAGE_NUMBERS) * PAGE;
    const isThere = this.of(ioas).some(
      ({ ram, offset, length, readable }) =>
        readable && ram.serial === serial && at >= offset && at < offset + Number(length),
    );
    assert(isThere, `${what}: read page ${at / PAGE} of memory ${serial}, which is not mapped`);
  }
  /** What a device read without tables of a guest's is the very page. */
  checkPage(ioas: Ioas, page: bigint, read: Uint8Array, what: string): void {
    const placed = this.at(ioas, page);
    assert(placed?.readable === true, `${what}: read where nothing can be read`);
    const expected = placed.ram.serial * PAGE_NUMBERS + (placed.offset + Number(page - placed.iova)) / PAGE;
    assert.equal(tagOf(read), expected, what);
  }
}

function tagOf(read: Uint8Array): number {
  return new DataView(read.buffer, read.byteOffset, 4).getUint32(0, true);
}

/** The address space that a page table is of. */
export function ioasBehind(table: Ioas | HwptPaging | HwptNested): Ioas {
  if (table.type === 'ioas') return table;
  if (table.type === 'hwpt-paging') return table.ioas;
  return table.parent.type === 'viommu' ? table.parent.hwpt.ioas : table.parent.ioas;
}
