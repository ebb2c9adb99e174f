// VFIO_DEVICE_FEATURE_DMA_BUF: parts of a BAR as a file that others can map for their DMA (vfio_pci_dmabuf.c). They are revoked
// while the memory behind them does not answer, and for good when the device is closed.
import { ERRNO } from '../../../uapi/errno.js';
import { vfio_device_feature_flags, vfio_pci_region_index } from '../../../uapi/vfio-constants.js';
import { vfio_device_feature_dma_buf, vfio_region_dma_range } from '../../../uapi/vfio-features.js';
import { PAGE_SIZE } from '../../memory/backing.js';
import { DmaBufFile, type DmaBufRange } from '../dma-buf.js';
import { checkFeature } from '../vfio/check-feature.js';
import type { UserBuffer } from '../vfio/driver.js';
import type { PciBar } from './function.js';
import type { OpenFunction } from './open-function.js';
import { barOf } from './regions.js';

const { VFIO_DEVICE_FEATURE_GET } = vfio_device_feature_flags.values;
const { VFIO_PCI_ROM_REGION_INDEX } = vfio_pci_region_index.values;
const PAGE = BigInt(PAGE_SIZE);
/** Linux copies the ranges in one piece of memory, which cannot be larger. */
const MOST_BYTES = 4 * 1024 * 1024;
const ALL = 2n ** 64n;
/** The highest bit of a size has a meaning of its own in the DMA layer. */
const LENGTHS = 2n ** 63n;

interface Range {
  readonly offset: bigint;
  readonly length: bigint;
}

export class DmaBufs {
  readonly #open: OpenFunction;
  readonly #files = new Set<DmaBufFile>();

  constructor(open: OpenFunction) {
    this.#open = open;
  }

  /** Everybody who has mapped them loses them; or they can be mapped anew. */
  move(revoked: boolean): void {
    for (const file of [...this.#files]) file.setRevoked(revoked);
  }
  /** The device is closed. */
  stop(): void {
    this.move(true);
    this.#files.clear();
  }

  /** Answers an fd, or -errno. */
  export(flags: number, argument: UserBuffer, size: number): number {
    const check = checkFeature(flags, size, VFIO_DEVICE_FEATURE_GET, vfio_device_feature_dma_buf.size);
    if (check !== 'go') return check;
    const bytes = new Uint8Array(vfio_device_feature_dma_buf.size);
    if (!argument.copyIn(0, bytes)) return -ERRNO.EFAULT;
    const asked = vfio_device_feature_dma_buf.decode(new DataView(bytes.buffer), 0);
    if (asked.nr_ranges === 0 || asked.flags !== 0) return -ERRNO.EINVAL;
    const bar = asked.region_index < VFIO_PCI_ROM_REGION_INDEX ? barOf(this.#open, asked.region_index) : undefined;
    if (bar === undefined) return -ERRNO.ENODEV;
    const ranges = readRanges(argument, asked.nr_ranges);
    if (typeof ranges === 'number') return ranges;
    const refusal = checkRanges(bar, ranges);
    if (refusal < 0) return refusal;
    return this.#open.kernel.allocates() ? this.#install(argument, bar, ranges) : -ERRNO.ENOMEM;
  }
  #install(argument: UserBuffer, bar: PciBar, ranges: readonly Range[]): number {
    const base = this.#open.windows.of(bar);
    const parts = ranges.map(
      ({ offset, length }): DmaBufRange => ({
        frame: base + Number(offset / PAGE),
        pages: Number(length / PAGE),
      }),
    );
    const file = new DmaBufFile(parts, !this.#open.config.memoryEnabled, () => this.#files.delete(file));
    this.#files.add(file);
    const fd = argument.process.files.install(file);
    if (fd < 0) file.release();
    return fd;
  }
}

function readRanges(argument: UserBuffer, count: number): Range[] | number {
  const { size } = vfio_region_dma_range;
  if (count * size > MOST_BYTES) return -ERRNO.ENOMEM;
  const bytes = new Uint8Array(count * size);
  if (!argument.copyIn(vfio_device_feature_dma_buf.size, bytes)) return -ERRNO.EFAULT;
  const view = new DataView(bytes.buffer);
  return Array.from({ length: count }, (_, i) => vfio_region_dma_range.decode(view, i * size));
}

function checkRanges(bar: PciBar, ranges: readonly Range[]): number {
  let total = 0n;
  for (const { offset, length } of ranges) {
    total += length;
    if (length === 0n || offset % PAGE !== 0n || length % PAGE !== 0n || total >= ALL) return -ERRNO.EINVAL;
  }
  // Ports are no memory that a device could reach.
  if (total >= LENGTHS || bar.kind === 'io') return -ERRNO.EINVAL;
  for (const { offset, length } of ranges) {
    if (offset + length >= ALL) return -ERRNO.EOVERFLOW;
    if (offset + length > BigInt(bar.size)) return -ERRNO.EINVAL;
  }
  return 0;
}
