// The pages behind a process's addresses, as the kernel finds them for DMA (mm/gup.c). A page of shared memory is its file's. Any
// other belongs to the process and its address: pins make it so, since what was shared by copy-on-write is copied then, and a
// child that the process makes later gets a copy of its own at once.
import { ERRNO } from '../../uapi/errno.js';
import { PAGE_SIZE } from '../memory/backing.js';
import type { ForeignMemory } from '../memory/foreign.js';
import type { FramePage, Frames } from '../memory/frames.js';
import type { Chunk, ChunkOwner } from './chunk.js';
import { ChunkTable } from './chunk-table.js';
import type { Mapping } from './mappings.js';
import type { Mapper, RemoteMemory } from './remote-memory.js';

/** The process itself. */
interface Process extends Mapper {
  readonly alive: boolean;
}

export class ProcessPages implements ForeignMemory, ChunkOwner {
  readonly #memory: RemoteMemory;
  readonly #process: Process;
  readonly #onUnused: () => void;
  readonly #table: ChunkTable;
  #pinnedChunks = 0;

  constructor(memory: RemoteMemory, process: Process, onUnused: () => void) {
    this.#memory = memory;
    this.#process = process;
    this.#onUnused = onUnused;
    this.#table = new ChunkTable(memory.physical, this);
  }

  get alive(): boolean {
    return this.#process.alive;
  }
  /** Whether a page is pinned that is the process's own. */
  get isPinned(): boolean {
    return this.#pinnedChunks > 0;
  }

  pages(first: number, count: number, write: boolean, found: (index: number, frame: number) => void): number {
    const mappings = this.#process.alive ? this.#process.mappings() : undefined;
    const parts: Mapping[] = [];
    for (let page = first; page < first + count; ) {
      const mapping = mappings?.at(page * PAGE_SIZE);
      if (mapping === undefined || !this.#isPinnable(mapping, write)) return -ERRNO.EFAULT;
      const end = Math.min(first + count, mapping.end / PAGE_SIZE);
      if (!this.#isThere(page) || !this.#isThere(end - 1)) return -ERRNO.EFAULT;
      parts.push(mapping);
      page = end;
    }
    for (const mapping of parts) {
      const from = Math.max(first, mapping.start / PAGE_SIZE);
      const end = Math.min(first + count, mapping.end / PAGE_SIZE);
      for (let page = from; page < end; page++) {
        const { backing, page: number } = this.#pageOf(mapping, page);
        found(page - first, backing.frame(number));
      }
    }
    return 0;
  }
  #isPinnable(mapping: Mapping, write: boolean): boolean {
    if (!write) return mapping.readable;
    return mapping.writable && !(mapping.shared && this.#memory.writesBack(mapping));
  }
  /** Neither behind the end of a file, nor registers. */
  #isThere(page: number): boolean {
    return this.#process.readRaw(page * PAGE_SIZE, new Uint8Array(1)) === 1;
  }
  #pageOf(mapping: Mapping, page: number): FramePage {
    const isHuge = this.#memory.isHuge(mapping);
    if (!mapping.shared || mapping.file === undefined) return this.#table.at(page, isHuge);
    const inFile = page + (mapping.offset - mapping.start) / PAGE_SIZE;
    return this.#memory.file(mapping.file).pageAt(inFile, isHuge);
  }
  pageAt(page: number): FramePage | undefined {
    const mapping = this.#process.mappings().at(page * PAGE_SIZE);
    if (mapping?.readable !== true || !this.#isThere(page)) return undefined;
    return this.#pageOf(mapping, page);
  }
  memoryOf(frame: number): Frames {
    return this.#memory.memoryOf(frame);
  }

  readPart(page: number, offset: number, into: Uint8Array): void {
    into.fill(0, this.#process.readRaw(page * PAGE_SIZE + offset, into));
  }
  writePart(page: number, offset: number, from: Uint8Array): void {
    this.#process.writeRaw(page * PAGE_SIZE + offset, from);
  }
  used(): void {
    this.#pinnedChunks++;
  }
  unused(chunk: Chunk): void {
    this.#pinnedChunks--;
    this.#table.drop(chunk);
    this.#onUnused();
  }

  takeOver(first: number, end: number): void {
    this.#table.takeOver(first, end);
  }
  move(first: number, end: number, to: number): void {
    this.#table.move(first, end, to);
  }
  clear(): void {
    this.#table.clear();
  }
}
