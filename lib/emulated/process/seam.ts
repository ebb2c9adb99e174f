// The seam of an emulated machine: a process's system calls, carried out by the emulated kernel. Work for the thread pool
// is done at once and told of in the next turn of the event loop.
import { Arena } from '../../host/arena.js';
import { invalidType, outOfRange } from '../../host/errors.js';
import type { FileStatus, MemoryRequest, Region, Seam, Watch } from '../../host/seam.js';
import { ERRNO } from '../../uapi/errno.js';
import { EventFile } from '../kernel/event-file.js';
import { type ArgumentMemory, argumentMemory, type OpenFile } from '../kernel/file.js';
import { MemoryFile } from '../kernel/memory-file.js';
import type { LocalAddressSpace } from '../memory/address-space.js';
import { type Backing, PAGE_SIZE } from '../memory/backing.js';
import type { ModelFaults } from '../memory/faults.js';
import type { PhysicalMemory } from '../memory/physical.js';
import {
  checkInt32,
  checkInteger,
  checkIoctl,
  checkSize,
  checkSpan,
  checkString,
  checkU32,
  checkWholeSize,
} from './checks.js';
import type { FdTable } from './fd-table.js';
import type { Filesystem } from './filesystem.js';
import { MemoryRegion, MmioRegisters, type RegionHome } from './regions.js';
import { EmulatedWatch } from './watch.js';

const ARENA_SIZE = 256 * 1024;

/** What the process of an emulated machine lives in. */
export interface ProcessParts {
  /** What `uname -r` says. */
  readonly release: string;
  readonly physical: PhysicalMemory;
  readonly memory: LocalAddressSpace;
  readonly files: FdTable;
  readonly filesystem: Filesystem;
  /** Sizes of the huge pages that can be had, in bytes. */
  readonly hugePageSizes: readonly number[];
  readonly faults: ModelFaults;
}

export class EmulatedSeam implements Seam, RegionHome {
  readonly kind = 'emulated';
  readonly release: string;
  readonly pageSize = PAGE_SIZE;
  readonly arena: Arena;
  readonly regions = new Set<Region>();
  readonly memory: LocalAddressSpace;
  readonly #parts: ProcessParts;
  readonly #files: FdTable;
  readonly #arguments: ArgumentMemory;

  constructor(parts: ProcessParts) {
    this.#parts = parts;
    this.release = parts.release;
    this.#files = parts.files;
    this.memory = parts.memory;
    const backing = parts.physical.allocate(ARENA_SIZE);
    const placement = backing === undefined ? undefined : parts.memory.map(backing, 0, ARENA_SIZE);
    if (backing === undefined || placement === undefined) throw new RangeError('the machine has too little memory');
    const { buffer } = backing.bytes(0, ARENA_SIZE);
    this.arena = new Arena(buffer, BigInt(placement.start), ARENA_SIZE);
    this.#arguments = this.arena;
  }

  open(path: string, flags: number): number {
    checkString(path, 'path');
    checkInt32(flags, 'flags');
    const file = this.#parts.filesystem.open(path);
    return typeof file === 'number' ? file : this.#install(file);
  }
  own(fd: number): number {
    checkInt32(fd, 'fd');
    return this.#files.own(fd);
  }
  disown(fd: number): number {
    checkInt32(fd, 'fd');
    return this.#files.disown(fd);
  }
  duplicate(fd: number): number {
    checkInt32(fd, 'fd');
    const file = this.#files.get(fd);
    return file === undefined ? -ERRNO.EBADF : this.#install(file.hold());
  }
  close(fd: number): number {
    checkInt32(fd, 'fd');
    return this.#settled(this.#files.close(fd));
  }
  closeFd(fd: number): void {
    this.#files.close(fd);
  }
  settle(): void {
    this.#parts.faults.settle();
  }
  /** The answer of a call that may have reached a device. */
  #settled(result: number): number {
    this.#parts.faults.settle();
    return result;
  }
  /** Gives a file an fd with a holder; a file that gets none is closed. */
  #install(file: OpenFile): number {
    const fd = this.#files.installOwned(file);
    if (fd < 0) file.release();
    return fd;
  }

  ioctl(fd: number, request: number, at: number): number {
    // The hot call: what is usual is told apart quickly.
    if ((fd | 0) !== fd || request >>> 0 !== request || (at | 0) !== at) checkIoctl(fd, request, at, 'at');
    const file = this.#files.get(fd);
    return file === undefined ? -ERRNO.EBADF : this.#settled(file.ioctl(request, this.#arguments, at));
  }
  ioctlValue(fd: number, request: number, value: number): number {
    checkIoctl(fd, request, value, 'value');
    return this.#settled(this.#files.get(fd)?.ioctlValue(request, value) ?? -ERRNO.EBADF);
  }
  ioctlAsync(fd: number, request: number, block: Region, at: number): Promise<number> {
    const isBlock = block instanceof MemoryRegion && block.kind === 'block' && block.home === this;
    if (!isBlock) throw new TypeError('block must be a block of this host');
    checkIoctl(fd, request, at, 'at');
    checkInteger(at, 'at', 0, block.length - 1);
    return block.job(() => {
      const file = this.#files.get(fd);
      if (file === undefined) return -ERRNO.EBADF;
      const within = at % PAGE_SIZE;
      return this.#settled(file.ioctl(request, argumentMemory(block.backing, at - within), within));
    });
  }

  /** The bytes of the arena that are read or written. */
  #bytes(fd: number, at: number, length: number): Uint8Array {
    checkInt32(fd, 'fd');
    checkSpan(at, 'at', length, this.arena.size);
    return this.arena.bytes.subarray(at, at + length);
  }
  read(fd: number, at: number, length: number): number {
    const bytes = this.#bytes(fd, at, length);
    return this.#settled(this.#files.get(fd)?.read(bytes) ?? -ERRNO.EBADF);
  }
  write(fd: number, at: number, length: number): number {
    const bytes = this.#bytes(fd, at, length);
    return this.#settled(this.#files.get(fd)?.write(bytes) ?? -ERRNO.EBADF);
  }
  pread(fd: number, at: number, length: number, position: number): number {
    const bytes = this.#bytes(fd, at, length);
    checkSize(position, 'position');
    return this.#settled(this.#files.get(fd)?.pread(bytes, position) ?? -ERRNO.EBADF);
  }
  pwrite(fd: number, at: number, length: number, position: number): number {
    const bytes = this.#bytes(fd, at, length);
    checkSize(position, 'position');
    return this.#settled(this.#files.get(fd)?.pwrite(bytes, position) ?? -ERRNO.EBADF);
  }

  allocateMemory({ backing: kind, size, hugePageSize }: MemoryRequest): Region | number {
    checkString(kind, 'backing');
    if (kind !== 'memfd' && kind !== 'anonymous') throw outOfRange('backing', "'memfd' or 'anonymous'", kind);
    checkSize(hugePageSize, 'hugePageSize');
    checkWholeSize(size, 'size', hugePageSize === 0 ? PAGE_SIZE : hugePageSize);
    if (hugePageSize !== 0 && !this.#parts.hugePageSizes.includes(hugePageSize)) return -ERRNO.EINVAL;
    const backing = this.#parts.physical.allocate(size, hugePageSize);
    if (backing === undefined) return -ERRNO.ENOMEM;
    if (kind === 'anonymous') return this.#place(backing, size, 'memory', -1);
    const fd = this.#install(new MemoryFile(backing));
    if (fd < 0) return fd;
    backing.hold();
    return this.#place(backing, size, 'memory', fd);
  }
  importMemory(fd: number, size: number): Region | number {
    checkInt32(fd, 'fd');
    checkWholeSize(size, 'size', PAGE_SIZE);
    const file = this.#files.get(fd);
    if (file === undefined) return -ERRNO.EBADF;
    if (!(file instanceof MemoryFile) || file.backing.size < size) return -ERRNO.EINVAL;
    const own = this.#install(file.hold());
    if (own < 0) return own;
    file.backing.hold();
    return this.#place(file.backing, size, 'memory', own);
  }
  allocateBlock(size: number): Region | number {
    checkWholeSize(size, 'size', PAGE_SIZE);
    const backing = this.#parts.physical.allocate(size);
    return backing === undefined ? -ERRNO.ENOMEM : this.#place(backing, size, 'block', -1);
  }
  /** Takes over the caller's hold on the memory, and the fd. */
  #place(backing: Backing, size: number, kind: 'memory' | 'block', fd: number): Region | number {
    const placement = this.memory.map(backing, 0, size);
    backing.drop();
    if (placement !== undefined) return new MemoryRegion(this, placement, backing, kind, fd);
    if (fd >= 0) this.closeFd(fd);
    return -ERRNO.ENOMEM;
  }
  mapMmio(fd: number, offset: number, length: number): Region | number {
    checkInt32(fd, 'fd');
    checkSize(offset, 'offset');
    if (offset % PAGE_SIZE !== 0) throw outOfRange('offset', `a multiple of ${PAGE_SIZE}`, offset);
    checkWholeSize(length, 'length', PAGE_SIZE);
    const file = this.#files.get(fd);
    if (file === undefined) return -ERRNO.EBADF;
    const mapping = file.mmap(offset, length);
    if (typeof mapping === 'number') return mapping;
    const placement = this.memory.map(undefined, 0, length);
    if (placement !== undefined) return new MmioRegisters(this, placement, mapping, length);
    mapping.close();
    return -ERRNO.ENOMEM;
  }

  createEventfd(initial: number): number {
    checkU32(initial, 'initial');
    return this.#install(new EventFile(BigInt(initial)));
  }
  watch(fd: number, onReadable: () => void): Watch | number {
    checkInt32(fd, 'fd');
    if (typeof onReadable !== 'function') throw invalidType('onReadable', 'a function', onReadable);
    const file = this.#files.get(fd);
    if (file === undefined) return -ERRNO.EBADF;
    return file.readable() === undefined ? -ERRNO.EPERM : new EmulatedWatch(file, onReadable);
  }

  status(path: string): FileStatus | number {
    return this.#parts.filesystem.status(path);
  }
  readText(path: string): string | number {
    return this.#parts.filesystem.readText(path);
  }
  readLink(path: string): string | number {
    return this.#parts.filesystem.readLink(path);
  }
  list(path: string): string[] | number {
    return this.#parts.filesystem.list(path);
  }
}
