// All that the addon (native/) offers, declared in one place, and its loader. The addon knows nothing of iommufd: it
// makes the host's calls. Every call answers -errno where the kernel refused; wrong argument types throw TypeError and
// offsets out of range throw RangeError, since both are defects of the caller.
//
// Regions and watches are small integers that only the addon gives out, as fds are: a number that names nothing live
// is a RangeError, and a number is not used again while anything of its region is left.
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export interface Native {
  readonly pageSize: number;
  /** The argument arena of this environment: made once, between guard pages. */
  arena(): { buffer: ArrayBuffer; address: bigint };

  open(path: string, flags: number): number;
  /** -EBADF where it is not open, -EEXIST where it is owned already or belongs to a region or a watch. */
  own(fd: number): number;
  /** -EBADF where it is not owned, -EBUSY while the thread pool uses it. */
  disown(fd: number): number;
  duplicate(fd: number): number;
  /** -EBADF where it is not owned. Where the thread pool uses it, it is closed when that is done. */
  close(fd: number): number;
  /** How many fds this environment owns. */
  ownedFds(): number;

  /** Not made again after a signal: -EINTR says that it may have had its effect. */
  ioctl(fd: number, request: number, at: number): number;
  /** As `ioctl`, its numbers in the arena's last 16 bytes: i32 fd, u32 request, u32 at. */
  ioctlPrepared(): number;
  ioctlValue(fd: number, request: number, value: number): number;
  /** 0 where `done` will be called. The region must be a block. An fd that is not owned is its owner's to keep open. */
  ioctlAsync(fd: number, request: number, region: number, at: number, done: (result: number) => void): number;
  read(fd: number, at: number, length: number): number;
  write(fd: number, at: number, length: number): number;
  pread(fd: number, at: number, length: number, position: number): number;
  pwrite(fd: number, at: number, length: number, position: number): number;
  createEventfd(initial: number): number;
  /** A duplicate of another process's fd, owned; -EPERM where this process may not trace it, -ESRCH, -EBADF. */
  takeFd(pid: number, fd: number): number;
  /** Adds 1 to an eventfd's count without waiting: a count that is full stays so. 0 or -errno. */
  signalEventfd(fd: number): number;
  /** Takes an eventfd's count without waiting; -EAGAIN where it is 0. */
  takeEventfd(fd: number): number;

  /** A region, or -errno. `hugePageSize` 0 means ordinary pages. memfds are sealed against shrinking. */
  allocateMemory(backing: 'memfd' | 'anonymous', size: number, hugePageSize: number): number;
  /** -EINVAL for what is no memfd or holds less, -EPERM for one that could shrink and cannot be sealed against it. */
  importMemory(fd: number, size: number): number;
  allocateBlock(size: number): number;
  /** Accesses of it that end in SIGBUS throw EIO: see `catchBusErrors`. */
  mapMmio(fd: number, offset: number, length: number): number;
  /** Takes SIGBUS back from whoever has it now; all but those of registers still go there. 0 or -errno. */
  catchBusErrors(): number;
  regionAddress(region: number): bigint;
  regionFd(region: number): number;
  /** How many regions are live, those kept only by their windows included. */
  liveRegions(): number;
  /** An ArrayBuffer over part of a region; a region of MMIO throws. */
  window(region: number, offset: number, length: number): ArrayBuffer;
  /** As `window`, for MMIO too: for `unsafeView` only. */
  unsafeWindow(region: number, offset: number, length: number): ArrayBuffer;
  /** Detaches every window now; the region stays. */
  detachWindows(region: number): void;
  /** Detaches all windows, then unmaps. -EBUSY while the thread pool uses the region. */
  freeRegion(region: number): number;
  /** Lets go of a region whose owner was collected: it is unmapped when the last window is collected too. */
  dropRegion(region: number): void;
  /** Makes the pages of that stretch present on the thread pool. 0 where `done` will be called. */
  prefault(region: number, offset: number, length: number, done: (result: number) => void): number;

  read8(region: number, offset: number): number;
  read16(region: number, offset: number): number;
  read32(region: number, offset: number): number;
  read64(region: number, offset: number): bigint;
  write8(region: number, offset: number, value: number): void;
  write16(region: number, offset: number, value: number): void;
  write32(region: number, offset: number, value: number): void;
  write64(region: number, offset: number, value: bigint): void;

  /**
   * A watch, or -errno (-EPERM for what cannot be polled). The callback runs once per arming, also for an end or an
   * error of the file. The watch does not keep the file open, and leaves it as blocking as it was.
   */
  watchOpen(fd: number, onReadable: () => void): number;
  watchArm(watch: number): void;
  watchDisarm(watch: number): void;
  watchRef(watch: number): void;
  watchUnref(watch: number): void;
  watchClose(watch: number): void;
}

/** Why there is no addon, told apart so that nobody debugs a compiler that was never run. */
export interface AddonError extends Error {
  readonly code: 'ERR_IOMMUFD_ADDON_MISSING' | 'ERR_IOMMUFD_ADDON_BROKEN';
}

interface BindingsOptions {
  readonly bindings: string;
  readonly module_root: string;
  readonly try: readonly (readonly string[])[];
}

let loaded: Native | undefined;

/** Loads the addon, once. Throws an `AddonError` where it was not built, or does not load. */
export function loadNative(): Native {
  loaded ??= load(findPackage(path.dirname(fileURLToPath(import.meta.url))));
  return loaded;
}

function load(root: string): Native {
  // A fresh build comes first: a prebuild left behind must not hide it.
  const places = [path.join('build', 'Release'), path.join('prebuilds', `${process.platform}-${process.arch}`)];
  if (!places.some((place) => existsSync(path.join(root, place, 'iommufd.node')))) {
    throw addonError('ERR_IOMMUFD_ADDON_MISSING', explainMissing(root));
  }
  const require = createRequire(import.meta.url);
  try {
    const bindings: (options: BindingsOptions) => Native = require('bindings');
    return bindings({
      bindings: 'iommufd',
      module_root: root,
      try: places.map((place) => ['module_root', place, 'bindings']),
    });
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    const message = `the addon of iommufd was built but does not load: ${reason}\nTo build it anew: ${remedy(root)}`;
    throw addonError('ERR_IOMMUFD_ADDON_BROKEN', message, cause);
  }
}

/** The folder of this package: this file is compiled to another depth than it lies at. */
function findPackage(from: string): string {
  const manifest = path.join(from, 'package.json');
  if (existsSync(manifest) && JSON.parse(readFileSync(manifest, 'utf8')).name === 'iommufd') return from;
  const parent = path.dirname(from);
  if (parent === from) throw new Error('iommufd cannot find its own package.json');
  return findPackage(parent);
}

function explainMissing(root: string): string {
  if (process.platform !== 'linux') {
    return `the addon of iommufd is for Linux, and this is ${process.platform}`;
  }
  const log = path.join(root, 'build', 'addon-build.log');
  if (!existsSync(log)) return `the addon of iommufd was not built. To build it: ${remedy(root)}`;
  const lines = readFileSync(log, 'utf8').trimEnd().split('\n');
  // What make and the compiler said of the defect, rather than what node-gyp says of itself afterwards.
  const telling = lines.filter((line) => !line.startsWith('gyp '));
  const tail = (telling.length > 0 ? telling : lines).slice(-12).map((line) => `  ${line}`);
  return [
    'the addon of iommufd was not built. The end of the build log:',
    ...tail,
    `The whole of it: ${log}`,
    `To build it: ${remedy(root)}`,
  ].join('\n');
}

function remedy(root: string): string {
  const installed = path.basename(path.dirname(root)) === 'node_modules';
  return installed ? 'npm rebuild iommufd' : `npm run build, in ${root}`;
}

function addonError(code: AddonError['code'], message: string, cause?: unknown): AddonError {
  return Object.assign(new Error(message, cause === undefined ? undefined : { cause }), { code });
}
