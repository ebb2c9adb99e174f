// How many PASIDs a PCI device has, by its own word: the PASID extended capability in configuration space, which sysfs
// shows whole to root alone.
import type { Seam } from '../host/seam.js';
import { throwIfShort } from './sysfs.js';

const O_RDONLY = 0;
/** PCI Express: extended capabilities start here, each with a header of 4 bytes, and the last ends below 4096. */
const FIRST = 0x100;
const SPACE = 4096;
const LEAST_SIZE = 8;
/** PCI Express base specification: the id of the PASID capability; its register of abilities has the width in bits 12:8. */
const PASID = 0x1b;
const ABILITIES = 4;

/** A u32 of the file, or undefined where the kernel gives less. */
function word(seam: Seam, fd: number, offset: number): number | undefined {
  const { arena } = seam;
  const mark = arena.mark();
  const at = arena.take(8);
  const length = seam.pread(fd, at, 4, offset);
  const value = arena.view.getUint32(at, true);
  arena.release(mark);
  return length === 4 ? value : undefined;
}

function findPasid(seam: Seam, fd: number): number | undefined {
  let at = FIRST;
  // A chain longer than what fits is a loop.
  for (let left = (SPACE - FIRST) / LEAST_SIZE; left > 0; left--) {
    const header = word(seam, fd, at);
    if (header === undefined || header === 0 || header === 0xffff_ffff) return undefined;
    if ((header & 0xffff) === PASID) {
      const abilities = word(seam, fd, at + ABILITIES);
      return abilities === undefined ? undefined : (abilities >>> 8) & 0x1f;
    }
    at = (header >>> 20) & ~3;
    if (at < FIRST || at > SPACE - LEAST_SIZE) return undefined;
  }
  return undefined;
}

/** Width of the device's PASIDs in bits; undefined where it has none, or this process may not read the capability. */
export function readPasidWidth(seam: Seam, sysfs: string): number | undefined {
  const path = `${sysfs}/config`;
  const fd = seam.open(path, O_RDONLY);
  throwIfShort('open', fd, path);
  if (fd < 0) return undefined;
  try {
    return findPasid(seam, fd);
  } finally {
    seam.close(fd);
  }
}
