// A file whose pages are shared by who maps it: a memfd, shared anonymous memory (which has an inode too), or any other. While a
// page is pinned the file is open here, if the rights allow it, so that its memory stays whoever unmaps it; if not, its bytes
// are reached through whoever maps it still.
import { closeSync, fstatSync, openSync, readdirSync, readSync, writeSync } from 'node:fs';
import { PAGE_SIZE } from '../memory/backing.js';
import type { FramePage } from '../memory/frames.js';
import type { Chunk, ChunkOwner } from './chunk.js';
import { ChunkTable } from './chunk-table.js';
import { transfer, unlessRefused } from './file-calls.js';
import { fileKey, keyOf } from './filesystems.js';
import type { Mapping } from './mappings.js';
import type { Mapper, RemoteMemory } from './remote-memory.js';

export class SharedFile implements ChunkOwner {
  readonly #memory: RemoteMemory;
  readonly #table: ChunkTable;
  /** Open while anything is pinned, or while somebody keeps it. */
  #fd: number | undefined;
  #pinnedChunks = 0;
  #keepers = 0;

  constructor(
    memory: RemoteMemory,
    /** Device and inode, as /proc/PID/maps has them. */
    readonly key: string,
  ) {
    this.#memory = memory;
    this.#table = new ChunkTable(memory.physical, this);
  }

  /** A page, by its number in the file. */
  pageAt(page: number, compound: boolean): FramePage {
    return this.#table.at(page, compound);
  }

  /** Somebody has it open, by a path of this process. */
  keep(path: string): void {
    this.#keepers++;
    this.#fd ??= this.#openAs(path);
  }
  drop(): void {
    this.#keepers--;
    this.#settle();
  }
  used(): void {
    this.#pinnedChunks++;
    this.#fd ??= this.#find();
  }
  unused(chunk: Chunk): void {
    this.#pinnedChunks--;
    this.#table.drop(chunk);
    this.#settle();
  }
  #settle(): void {
    if (this.#keepers > 0 || this.#pinnedChunks > 0) return;
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
    this.#table.clear();
    this.#memory.forgetFile(this);
  }

  /** Opens it by the way of somebody who maps it. */
  #find(): number | undefined {
    for (const mapper of this.#memory.mappers) {
      const mapping = mapper.mappings().ofFile(this.key);
      if (mapping === undefined) continue;
      const range = `${mapping.start.toString(16)}-${mapping.end.toString(16)}`;
      const fd = this.#openAs(`/proc/${mapper.pid}/map_files/${range}`) ?? this.#findOpen(mapper.pid);
      if (fd !== undefined) return fd;
    }
    return undefined;
  }
  /** Among the files that a process has open. */
  #findOpen(pid: number): number | undefined {
    const folder = `/proc/${pid}/fd`;
    for (const name of unlessRefused(() => readdirSync(folder)) ?? []) {
      const fd = this.#openAs(`${folder}/${name}`);
      if (fd !== undefined) return fd;
    }
    return undefined;
  }
  /** Opens a path if it is this file. */
  #openAs(path: string): number | undefined {
    if (keyOf(path) !== this.key) return undefined;
    const fd = unlessRefused(() => openSync(path, 'r+')) ?? unlessRefused(() => openSync(path, 'r'));
    if (fd === undefined || fileKey(fstatSync(fd, { bigint: true })) === this.key) return fd;
    closeSync(fd);
    return undefined;
  }

  readPart(page: number, offset: number, into: Uint8Array): void {
    const start = page * PAGE_SIZE + offset;
    const fd = this.#fd;
    const done =
      fd === undefined
        ? this.#throughMappings(start, into, (mapper, address, part) => mapper.readRaw(address, part))
        : transfer(into, (rest) => readSync(fd, rest, 0, rest.length, start + into.length - rest.length));
    into.fill(0, done);
  }
  writePart(page: number, offset: number, from: Uint8Array): void {
    const start = page * PAGE_SIZE + offset;
    const fd = this.#fd;
    const done = fd === undefined ? 0 : this.#write(fd, start, from);
    // Also what is sealed, and what lies behind the end of the file.
    if (done === from.length) return;
    const rest = from.subarray(done);
    this.#throughMappings(start + done, rest, (mapper, address, part) => mapper.writeRaw(address, part));
  }
  /** DMA does not make files longer. */
  #write(fd: number, start: number, from: Uint8Array): number {
    const part = from.subarray(0, Math.max(0, fstatSync(fd).size - start));
    return transfer(part, (rest) => writeSync(fd, rest, 0, rest.length, start + part.length - rest.length));
  }

  /** Copies page by page where somebody maps it; answers how many bytes. */
  #throughMappings(
    start: number,
    bytes: Uint8Array,
    copy: (mapper: Mapper, address: number, part: Uint8Array) => number,
  ): number {
    for (let done = 0; done < bytes.length; ) {
      const at = start + done;
      const part = bytes.subarray(done, done + PAGE_SIZE - (at % PAGE_SIZE));
      const copied = this.#throughOne(at, (mapper, address) => copy(mapper, address, part));
      if (copied < part.length) return done + copied;
      done += part.length;
    }
    return bytes.length;
  }
  /** By whichever mapping allows it: one that may only be read takes no writes. */
  #throughOne(at: number, copy: (mapper: Mapper, address: number) => number): number {
    for (const mapper of this.#memory.mappers) {
      for (const mapping of mapper.mappings().allOfFile(this.key, Math.floor(at / PAGE_SIZE))) {
        const copied = copy(mapper, mapping.start + at - mapping.offset);
        if (copied > 0) return copied;
      }
    }
    return 0;
  }

  /** Whether its bytes are reached through mappings alone, so that the last one must not go unnoticed. */
  get needsMappings(): boolean {
    return this.#pinnedChunks > 0 && this.#fd === undefined;
  }
  /** A process is about to unmap part of a mapping: what nobody else maps is taken over. */
  aboutToUnmap(mapper: Mapper, mapping: Mapping, start: number, end: number): void {
    if (!this.needsMappings) return;
    for (let address = start; address < end; address += PAGE_SIZE) {
      const page = (mapping.offset + address - mapping.start) / PAGE_SIZE;
      if (!this.#isElsewhere(mapper, page, start, end)) this.#table.takeOver(page, page + 1);
    }
  }
  #isElsewhere(leaving: Mapper, page: number, start: number, end: number): boolean {
    for (const mapper of this.#memory.mappers) {
      for (const mapping of mapper.mappings().allOfFile(this.key, page)) {
        const address = mapping.start + page * PAGE_SIZE - mapping.offset;
        if (mapper !== leaving || address < start || address >= end) return true;
      }
    }
    return false;
  }
}
