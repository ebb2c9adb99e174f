// What a real kernel holds for this process, as far as it tells: open files, mappings, pinned pages, ids of objects.
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import type { Iommufd } from '../../lib/index.js';
import { IOMMU_DESTROY, IOMMU_IOAS_ALLOC } from '../../lib/uapi/index.js';
import { call, type Seam } from '../../lib/unsafe.js';

/** So many free ids are asked for: more than an operation makes objects. */
const IDS = 8;

/** What each open file is, in the order of the fds; what is only open while this is asked is left out. */
function files(): string[] {
  const found: string[] = [];
  for (const fd of readdirSync('/proc/self/fd')) {
    try {
      found.push(`${fd} ${readlinkSync(`/proc/self/fd/${fd}`)}`);
    } catch (error) {
      // The folder itself, which was open while it was read.
      if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
    }
  }
  return found;
}

/** Mappings of files that are not on a disk: memfds, registers, event queues. */
function mappings(): string[] {
  const lines = readFileSync('/proc/self/maps', 'utf8').split('\n');
  return lines.filter((line) => /\/memfd:|\/dev\/|anon_inode|dmabuf|\/dev\/vfio/.test(line)).map((line) => line.trim());
}

/** Pages that somebody has pinned, anywhere (mm/gup.c counts them), and those charged to this process. */
function pins() {
  // Each processor counts for itself: this adds them up (mm/vmstat.c).
  writeFileSync('/proc/sys/vm/stat_refresh', '1');
  const vmstat = readFileSync('/proc/vmstat', 'utf8');
  const count = (name: string) => Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(vmstat)?.[1]);
  const charged = /^VmPin:\s*(\d+ kB)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
  return { pinned: count('nr_foll_pin_acquired') - count('nr_foll_pin_released'), charged };
}

/** The ids that the next objects get. The kernel gives the smallest that is free: an object that was left behind has one. */
function freeIds(seam: Seam, iommufd: Iommufd): number[] {
  const port = { seam, fd: iommufd.fd };
  const ids = Array.from({ length: IDS }, () => call(port, IOMMU_IOAS_ALLOC, {}).out_ioas_id);
  for (const id of ids) call(port, IOMMU_DESTROY, { id });
  return ids;
}

export function kernelCensus(seam: Seam, iommufd?: Iommufd) {
  const ids = iommufd === undefined || iommufd.closed ? [] : freeIds(seam, iommufd);
  return { files: files(), mappings: mappings(), ...pins(), ids };
}
