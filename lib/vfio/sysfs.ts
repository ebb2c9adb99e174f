// What sysfs tells of a device, as values: every look-up is one call of the seam, and what is not there is undefined.
import type { Seam } from '../host/seam.js';

/** The last part of a path. */
function lastPart(path: string): string | undefined {
  return path.split('/').at(-1);
}

export class Sysfs {
  readonly seam: Seam;
  constructor(seam: Seam) {
    this.seam = seam;
  }

  has(path: string): boolean {
    return typeof this.seam.status(path) !== 'number';
  }
  /** The names in a folder; none where it is not there. */
  names(path: string): readonly string[] {
    const names = this.seam.list(path);
    return typeof names === 'number' ? [] : names;
  }
  text(path: string): string | undefined {
    const text = this.seam.readText(path);
    return typeof text === 'number' ? undefined : text.trim();
  }
  /** A number as sysfs writes them: decimal, or hexadecimal with 0x. */
  number(path: string): number | undefined {
    const text = this.text(path);
    const value = text === undefined || text === '' ? Number.NaN : Number(text);
    return Number.isSafeInteger(value) ? value : undefined;
  }
  /** The name of what a link leads to: of a device's driver, of its IOMMU. */
  linkName(path: string): string | undefined {
    const target = this.seam.readLink(path);
    return typeof target === 'number' ? undefined : lastPart(target);
  }
}
