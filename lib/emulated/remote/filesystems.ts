// What the kernel of this machine tells of filesystems: which ones write their files back, and so refuse long pins of mappings
// that are shared and writable (writable_file_mapping_allowed in mm/gup.c), and which ones memfds are of.
import { readFileSync, statfsSync, statSync } from 'node:fs';
import { unlessRefused } from './file-calls.js';

/** Filesystems in memory. */
const IN_MEMORY = new Set(['tmpfs', 'devtmpfs', 'ramfs', 'rootfs', 'hugetlbfs']);
/** include/uapi/linux/magic.h */
const TMPFS_MAGIC = 0x0102_1994;
const HUGETLBFS_MAGIC = 0x9584_58f6;

/** Devices of filesystems that write back, as /proc/PID/maps has them. */
function mountedDevices(): Set<string> {
  const devices = new Set<string>();
  for (const line of readFileSync('/proc/self/mountinfo', 'latin1').split('\n')) {
    const [, device] = /^\d+ \d+ (\d+:\d+) /.exec(line) ?? [];
    const [, type] = / - (\S+) /.exec(line) ?? [];
    if (device !== undefined && type !== undefined && !IN_MEMORY.has(type)) devices.add(hexadecimal(device));
  }
  return devices;
}
function hexadecimal(device: string): string {
  return device
    .split(':')
    .map((part) => Number(part).toString(16).padStart(2, '0'))
    .join(':');
}

export class Filesystems {
  /** Read once, at the start: later there may be no fd left to read it by. */
  readonly #writtenBack = mountedDevices();

  /** What nobody mounted is the kernel's own, in memory: memfds, shared anonymous memory. */
  writesBack(device: string): boolean {
    return this.#writtenBack.has(device);
  }
}

/** Device and inode of a file, as /proc/PID/maps has them. */
export function fileKey({ dev, ino }: { readonly dev: bigint; readonly ino: bigint }): string {
  const major = ((dev >> 8n) & 0xfffn) | ((dev >> 32n) & 0xffff_f000n);
  const minor = (dev & 0xffn) | ((dev >> 12n) & 0xffff_ff00n);
  return `${hexadecimal(`${major}:${minor}`)}:${ino}`;
}

/** The same of what a path leads to; undefined where it leads nowhere, or must not be followed. */
export function keyOf(path: string): string | undefined {
  const status = unlessRefused(() => statSync(path, { bigint: true }));
  return status === undefined ? undefined : fileKey(status);
}

/** What kind of memory file an open one is; undefined for none. */
export function memoryFileKind(path: string): 'tmpfs' | 'hugetlbfs' | undefined {
  const { type } = statfsSync(path);
  if (type === TMPFS_MAGIC) return 'tmpfs';
  return type === HUGETLBFS_MAGIC ? 'hugetlbfs' : undefined;
}
