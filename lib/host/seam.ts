// The seam: what a process asks of its host, and nothing else. Above it nobody knows which host is there; below it
// nobody knows the classes. Structs cross it as bytes, exactly as the kernel takes them. Calls answer -errno
// (a negative Linux errno) and never throw for what a kernel may refuse.
//
// These calls carry raw pointers: whoever reaches them can make the kernel write anywhere. The package exports this
// file only as `iommufd/unsafe`.
import type { Arena } from './arena.js';

/** What stands behind the seam: this machine's kernel, or something built to stand in for one. */
export type HostKind = 'kernel' | 'emulated' | 'recording' | 'replay';

/** Whose files a host's are: hand-overs go from one to another of the same kind, recorded or not. */
export function kindOfFiles({ kind, recordedKind }: Pick<Seam, 'kind' | 'recordedKind'>): HostKind {
  return recordedKind ?? kind;
}

/** What kind of pages back memory that devices may reach. */
export type Backing = 'memfd' | 'anonymous';

export interface MemoryRequest {
  readonly backing: Backing;
  /** Bytes, a multiple of the page size in use. */
  readonly size: number;
  /** Size of the huge pages to use, in bytes (2 MiB, 1 GiB); 0 for ordinary pages. */
  readonly hugePageSize: number;
}

/**
 * A stretch of address space that the host reserved for us: memory that devices may reach, a scratch block for bulk
 * data, or MMIO. Offsets are bytes from its start; every access is checked against its length and its life.
 */
export interface Region {
  /** Where it lies, as the kernel (real or emulated) knows it. */
  readonly address: bigint;
  readonly length: number;
  /** The file behind memfd memory, owned by the region; -1 otherwise. */
  readonly fd: number;
  readonly live: boolean;
  /**
   * The bytes, memory only (never MMIO); the view goes to length 0 when the region goes. Its buffer may be larger or
   * smaller than the region: on the kernel host each window has one of its own, elsewhere they may share one.
   */
  window(offset: number, length: number): Uint8Array<ArrayBuffer>;
  /** Single aligned volatile accesses. Misuse (range, alignment, freed) throws RangeError. */
  read8(offset: number): number;
  read16(offset: number): number;
  read32(offset: number): number;
  read64(offset: number): bigint;
  write8(offset: number, value: number): void;
  write16(offset: number, value: number): void;
  write32(offset: number, value: number): void;
  write64(offset: number, value: bigint): void;
  /** Makes the pages present on the thread pool; 0 or -errno. */
  prefault(offset: number, length: number): Promise<number>;
  /** Detaches every window now; the address range stays. New windows may be made. */
  detachWindows(): void;
  /** Detaches every window and gives the address range back. Twice is fine. Answers 0 or -errno (EBUSY: work in flight). */
  free(): number;
  /** For a region whose owner was collected: gives it back once no window is left. */
  drop(): void;
}

/** Waits for an fd to become readable, once per `arm`. */
export interface Watch {
  /** Calls back once when the fd is readable, or at once if it is. Arming an armed watch changes nothing. */
  arm(): void;
  /** Forgets an armed wait. */
  disarm(): void;
  /** Whether an armed wait keeps the process alive; it does at first. */
  ref(): void;
  unref(): void;
  /** Must come before the fd is closed. Twice is fine. */
  close(): void;
}

export interface FileStatus {
  readonly kind: 'file' | 'directory' | 'character-device' | 'link' | 'other';
  /** Device number of a character device, else 0. */
  readonly major: number;
  readonly minor: number;
  readonly size: number;
}

export interface Seam {
  readonly kind: HostKind;
  /** What is recorded, or was: whose files they are. */
  readonly recordedKind?: HostKind;
  /** What `uname -r` says of the kernel; '' where that is not known. */
  readonly release: string;
  readonly pageSize: number;
  readonly arena: Arena;

  /** Opens a file close-on-exec; `flags` as open(2), O_CLOEXEC is added. Answers the fd. */
  open(path: string, flags: number): number;
  /** Takes ownership of an fd that came from elsewhere (or from an ioctl): it is closed when the environment ends. */
  own(fd: number): number;
  /** Gives ownership of an fd away without closing it. */
  disown(fd: number): number;
  /** A second fd for the same file, owned, close-on-exec. */
  duplicate(fd: number): number;
  /** Closes an owned fd; where the thread pool still uses it, as soon as that is done. */
  close(fd: number): number;

  /** ioctl(2) with the address of arena byte `at` as its argument. */
  ioctl(fd: number, request: number, at: number): number;
  /** ioctl(2) with a plain integer as its argument. */
  ioctlValue(fd: number, request: number, value: number): number;
  /** ioctl(2) on the thread pool, its argument at byte `at` of a block that nobody else uses until it is done. */
  ioctlAsync(fd: number, request: number, block: Region, at: number): Promise<number>;

  /** read(2), write(2), pread(2), pwrite(2) between the fd and the arena. */
  read(fd: number, at: number, length: number): number;
  write(fd: number, at: number, length: number): number;
  pread(fd: number, at: number, length: number, position: number): number;
  pwrite(fd: number, at: number, length: number, position: number): number;

  /** Memory that a device may reach: its own pages, not handed to forked children. */
  allocateMemory(request: MemoryRequest): Region | number;
  /** Memory of a memfd made elsewhere; the region owns a duplicate of the fd. */
  importMemory(fd: number, size: number): Region | number;
  /** A zeroed block for bulk data and for calls on the thread pool. */
  allocateBlock(size: number): Region | number;
  /** Maps MMIO of a device file, shared, readable and writable. `offset` is the fd's mmap offset in bytes. */
  mapMmio(fd: number, offset: number, length: number): Region | number;

  /** eventfd(2), close-on-exec and non-blocking. */
  createEventfd(initial: number): number;
  /** Watches an fd; -errno where it cannot be polled. */
  watch(fd: number, onReadable: () => void): Watch | number;

  /** The sysfs look-ups of discovery. */
  status(path: string): FileStatus | number;
  readText(path: string): string | number;
  readLink(path: string): string | number;
  list(path: string): string[] | number;
}
