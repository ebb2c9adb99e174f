// A dma-buf: memory of a device as a file, for others to map (drivers/dma-buf). Who exported it can revoke it: whoever mapped
// it loses it at once.
import { ERRNO } from '../../uapi/errno.js';
import { PAGE_SIZE } from '../memory/backing.js';
import { type MmioMapping, OpenFile } from './file.js';

/** Physical pages in a row. */
export interface DmaBufRange {
  readonly frame: number;
  readonly pages: number;
}

/** Who mapped one. */
export interface DmaBufImporter {
  /** It must not be used any more, and will not come back. */
  revoke(): void;
}

export class DmaBufFile extends OpenFile {
  readonly #ranges: readonly DmaBufRange[];
  readonly #onClosed: () => void;
  readonly #importers = new Set<DmaBufImporter>();
  #revoked: boolean;

  constructor(ranges: readonly DmaBufRange[], revoked: boolean, onClosed: () => void) {
    super();
    this.#ranges = ranges;
    this.#revoked = revoked;
    this.#onClosed = onClosed;
  }

  /** Bytes. */
  get size(): number {
    return this.#ranges.reduce((sum, { pages }) => sum + pages, 0) * PAGE_SIZE;
  }
  /** While it is, nobody can map it. */
  setRevoked(revoked: boolean): void {
    if (revoked === this.#revoked) return;
    this.#revoked = revoked;
    this.invalidate();
  }
  /** Everybody who mapped it loses it. */
  invalidate(): void {
    for (const importer of [...this.#importers]) importer.revoke();
  }

  /** Maps it, as iommufd does: the first page of the one range there is; -ENODEV (revoked), -EOPNOTSUPP (several). */
  attach(importer: DmaBufImporter): number {
    const [range] = this.#ranges;
    if (this.#revoked) return -ERRNO.ENODEV;
    if (range === undefined || this.#ranges.length !== 1) return -ERRNO.EOPNOTSUPP;
    this.#importers.add(importer);
    return range.frame;
  }
  detach(importer: DmaBufImporter): void {
    this.#importers.delete(importer);
  }

  override readable(): boolean {
    return true;
  }
  override mmap(): MmioMapping | number {
    return -ERRNO.EINVAL;
  }
  protected override closed(): void {
    this.#onClosed();
  }
}
