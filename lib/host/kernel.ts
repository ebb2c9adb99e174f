// The seam over the real kernel: the addon's calls, and Node's own for the few files that discovery reads.
import { lstatSync, readdirSync, readFileSync, readlinkSync, type Stats } from 'node:fs';
import { release } from 'node:os';
import { Arena } from './arena.js';
import { loadNative, type Native } from './native.js';
import type { FileStatus, MemoryRequest, Region, Seam, Watch } from './seam.js';

class KernelRegion implements Region {
  readonly address: bigint;
  readonly fd: number;
  #live = true;
  readonly #native: Native;
  readonly #handle: number;

  constructor(
    native: Native,
    handle: number,
    readonly length: number,
  ) {
    this.#native = native;
    this.#handle = handle;
    this.address = native.regionAddress(handle);
    this.fd = native.regionFd(handle);
  }

  get live(): boolean {
    return this.#live;
  }
  /** For ioctlAsync and unsafeView: the number the addon knows the region by. */
  get handle(): number {
    return this.#handle;
  }

  window(offset: number, length: number): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.#native.window(this.#handle, offset, length));
  }
  read8(offset: number): number {
    return this.#native.read8(this.#handle, offset);
  }
  read16(offset: number): number {
    return this.#native.read16(this.#handle, offset);
  }
  read32(offset: number): number {
    return this.#native.read32(this.#handle, offset);
  }
  read64(offset: number): bigint {
    return this.#native.read64(this.#handle, offset);
  }
  write8(offset: number, value: number): void {
    this.#native.write8(this.#handle, offset, value);
  }
  write16(offset: number, value: number): void {
    this.#native.write16(this.#handle, offset, value);
  }
  write32(offset: number, value: number): void {
    this.#native.write32(this.#handle, offset, value);
  }
  write64(offset: number, value: bigint): void {
    this.#native.write64(this.#handle, offset, value);
  }
  prefault(offset: number, length: number): Promise<number> {
    return new Promise((resolve) => {
      const rc = this.#native.prefault(this.#handle, offset, length, resolve);
      if (rc < 0) resolve(rc);
    });
  }
  detachWindows(): void {
    this.#native.detachWindows(this.#handle);
  }
  free(): number {
    if (!this.#live) return 0;
    const rc = this.#native.freeRegion(this.#handle);
    if (rc >= 0) this.#live = false;
    return rc;
  }
  drop(): void {
    if (!this.#live) return;
    this.#live = false;
    this.#native.dropRegion(this.#handle);
  }
}

class KernelWatch implements Watch {
  #open = true;
  readonly #native: Native;
  readonly #handle: number;
  constructor(native: Native, handle: number) {
    this.#native = native;
    this.#handle = handle;
  }
  arm(): void {
    if (this.#open) this.#native.watchArm(this.#handle);
  }
  disarm(): void {
    if (this.#open) this.#native.watchDisarm(this.#handle);
  }
  ref(): void {
    if (this.#open) this.#native.watchRef(this.#handle);
  }
  unref(): void {
    if (this.#open) this.#native.watchUnref(this.#handle);
  }
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#native.watchClose(this.#handle);
  }
}

/** Answers -errno for the errors of Node's file functions, which carry one. */
function answer<T>(work: () => T): T | number {
  try {
    return work();
  } catch (error) {
    if (error instanceof Error && 'errno' in error && typeof error.errno === 'number') return error.errno;
    throw error;
  }
}

function fileKind(stats: Stats): FileStatus['kind'] {
  if (stats.isSymbolicLink()) return 'link';
  if (stats.isFile()) return 'file';
  if (stats.isDirectory()) return 'directory';
  if (stats.isCharacterDevice()) return 'character-device';
  return 'other';
}

/** Linux's dev_t as the C library splits it (sys/sysmacros.h). */
function splitDevice(device: number): { major: number; minor: number } {
  const low = device % 2 ** 32;
  const high = Math.floor(device / 2 ** 32);
  return {
    major: ((low >>> 8) & 0xfff) + (high & ~0xfff),
    minor: (low & 0xff) + ((low >>> 12) & ~0xff),
  };
}

/** Bytes at the arena's end in which `ioctlPrepared` finds its numbers. */
const PREPARED = 16;

/** The hot call: three stores and a call without arguments cost half of what Node-API takes for three arguments. */
function preparedIoctl(native: Native, arena: ArrayBuffer): Seam['ioctl'] {
  const words = new Int32Array(arena, arena.byteLength - PREPARED);
  const { ioctlPrepared } = native;
  return (fd, request, at) => {
    // What a store would change silently, the addon's own checks tell of.
    if ((fd | 0) !== fd || (request | 0) !== request || (at | 0) !== at) return native.ioctl(fd, request, at);
    words[0] = fd;
    words[1] = request;
    words[2] = at;
    return ioctlPrepared();
  };
}

/**
 * A listener to SIGBUS takes the signal for itself when it is added, and leaves its default, the end of the process, when
 * it is removed: then an access of registers that are gone would end it. Node does both in listeners of its own to these
 * two events, which come before these. Threads other than the first have no such listeners, but registers.
 */
function keepBusErrors(native: Native): void {
  const take = (name: string | symbol) => {
    if (name === 'SIGBUS') native.catchBusErrors();
  };
  process.on('newListener', take);
  process.on('removeListener', take);
}

class KernelSeam implements Seam {
  readonly kind = 'kernel';
  readonly release = release();
  readonly pageSize: number;
  readonly arena: Arena;
  readonly open: Native['open'];
  readonly own: Native['own'];
  readonly disown: Native['disown'];
  readonly duplicate: Native['duplicate'];
  readonly close: Native['close'];
  readonly ioctl: Seam['ioctl'];
  readonly ioctlValue: Native['ioctlValue'];
  readonly read: Native['read'];
  readonly write: Native['write'];
  readonly pread: Native['pread'];
  readonly pwrite: Native['pwrite'];
  readonly createEventfd: Native['createEventfd'];
  readonly #native: Native;

  constructor(native: Native) {
    this.#native = native;
    keepBusErrors(native);
    const { buffer, address } = native.arena();
    this.arena = new Arena(buffer, address, buffer.byteLength - PREPARED);
    this.pageSize = native.pageSize;
    // The addon's functions themselves, without wrappers.
    this.open = native.open;
    this.own = native.own;
    this.disown = native.disown;
    this.duplicate = native.duplicate;
    this.close = native.close;
    this.ioctl = preparedIoctl(native, buffer);
    this.ioctlValue = native.ioctlValue;
    this.read = native.read;
    this.write = native.write;
    this.pread = native.pread;
    this.pwrite = native.pwrite;
    this.createEventfd = native.createEventfd;
  }

  ioctlAsync(fd: number, request: number, block: Region, at: number): Promise<number> {
    if (!(block instanceof KernelRegion)) throw new TypeError('block must be a block of this host');
    return new Promise((resolve) => {
      const rc = this.#native.ioctlAsync(fd, request, block.handle, at, resolve);
      if (rc < 0) resolve(rc);
    });
  }

  allocateMemory({ backing, size, hugePageSize }: MemoryRequest): Region | number {
    return this.#region(this.#native.allocateMemory(backing, size, hugePageSize), size);
  }
  importMemory(fd: number, size: number): Region | number {
    return this.#region(this.#native.importMemory(fd, size), size);
  }
  allocateBlock(size: number): Region | number {
    return this.#region(this.#native.allocateBlock(size), size);
  }
  mapMmio(fd: number, offset: number, length: number): Region | number {
    return this.#region(this.#native.mapMmio(fd, offset, length), length);
  }
  watch(fd: number, onReadable: () => void): Watch | number {
    const handle = this.#native.watchOpen(fd, onReadable);
    return handle < 0 ? handle : new KernelWatch(this.#native, handle);
  }

  status(path: string): FileStatus | number {
    return answer(() => {
      const stats = lstatSync(path);
      const device = stats.isCharacterDevice() ? splitDevice(stats.rdev) : { major: 0, minor: 0 };
      return { kind: fileKind(stats), ...device, size: stats.size };
    });
  }
  readText(path: string): string | number {
    return answer(() => readFileSync(path, 'utf8'));
  }
  readLink(path: string): string | number {
    return answer(() => readlinkSync(path));
  }
  list(path: string): string[] | number {
    return answer(() => readdirSync(path));
  }

  #region(handle: number, length: number): Region | number {
    return handle < 0 ? handle : new KernelRegion(this.#native, handle, length);
  }
}

let shared: Seam | undefined;

/**
 * The seam of this machine's kernel, one per environment (thread).
 * Throws ERR_IOMMUFD_ADDON_MISSING or ERR_IOMMUFD_ADDON_BROKEN where the addon cannot be loaded.
 */
export function kernelSeam(): Seam {
  shared ??= new KernelSeam(loadNative());
  return shared;
}

/** An ArrayBuffer over an MMIO region of the kernel's: `MmioRegion.unsafeView` explains what it risks. */
export function unsafeMmioWindow(region: Region, offset: number, length: number): ArrayBuffer | undefined {
  if (!(region instanceof KernelRegion)) return undefined;
  return loadNative().unsafeWindow(region.handle, offset, length);
}
