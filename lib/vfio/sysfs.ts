// What sysfs tells of a device, as values: every look-up is one call of the seam, and what is not there is undefined.
import { IommufdError } from '../host/errors.js';
import type { FileStatus, Seam } from '../host/seam.js';
import { errnoName } from '../uapi/errno.js';

/** The last part of a path. */
function lastPart(path: string): string | undefined {
  return path.split('/').at(-1);
}

/** What says nothing of the file: this process, or the machine, is short of something. */
const SHORTAGES: readonly string[] = ['EMFILE', 'ENFILE', 'ENOMEM'];

/**
 * Throws where a look-up was refused for want of files or memory. Whatever else refuses it, there is nothing for this process:
 * taken for that, a shortage would have a device pass for one that is not there, or that has an IOMMU.
 */
export function throwIfShort(syscall: string, result: number, path: string): void {
  if (result < 0 && SHORTAGES.includes(errnoName(result))) throw new IommufdError(syscall, result, { path });
}

function found<T>(syscall: string, path: string, answer: T | number): T | undefined {
  if (typeof answer !== 'number') return answer;
  throwIfShort(syscall, answer, path);
  return undefined;
}

export class Sysfs {
  readonly seam: Seam;
  constructor(seam: Seam) {
    this.seam = seam;
  }

  has(path: string): boolean {
    return this.status(path) !== undefined;
  }
  status(path: string): FileStatus | undefined {
    return found('lstat', path, this.seam.status(path));
  }
  /** The names in a folder; none where it is not there. */
  names(path: string): readonly string[] {
    return found('scandir', path, this.seam.list(path)) ?? [];
  }
  text(path: string): string | undefined {
    return found('open', path, this.seam.readText(path))?.trim();
  }
  /** A number as sysfs writes them: decimal, or hexadecimal with 0x. */
  number(path: string): number | undefined {
    const text = this.text(path);
    const value = text === undefined || text === '' ? Number.NaN : Number(text);
    return Number.isSafeInteger(value) ? value : undefined;
  }
  /** The name of what a link leads to: of a device's driver, of its IOMMU. */
  linkName(path: string): string | undefined {
    const target = this.link(path);
    return target === undefined ? undefined : lastPart(target);
  }
  /** What a link says; undefined for what is no link. */
  link(path: string): string | undefined {
    return found('readlink', path, this.seam.readLink(path));
  }
}
