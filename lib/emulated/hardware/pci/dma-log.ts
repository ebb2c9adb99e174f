// Notes of which IOVAs a device wrote to, while it is asked to keep them: what devices with DMA logging have in hardware.
import type { DmaLoggingHardware } from '../../kernel/vfio-pci/function.js';

interface Range {
  readonly iova: bigint;
  readonly length: bigint;
}

/** Pages that can be noted: every power of two from 4 KiB to 2 MiB. */
const SMALLEST = 4096n;
const LARGEST = 2n ** 21n;

export class DmaLog implements DmaLoggingHardware {
  readonly pageSizes = 2n * LARGEST - SMALLEST;
  #ranges: readonly Range[] = [];
  #pageSize = SMALLEST;
  /** Numbers of pages that were written, none of which lies outside the ranges as a whole. */
  readonly #written = new Set<bigint>();

  start(ranges: readonly Range[], pageSize: bigint): void {
    this.#ranges = ranges.map(({ iova, length }) => ({ iova, length }));
    this.#pageSize = pageSize;
    this.#written.clear();
  }
  stop(): void {
    this.#ranges = [];
    this.#written.clear();
  }

  /** The device writes. */
  note(iova: bigint, length: number): void {
    const last = iova + BigInt(length) - 1n;
    for (const range of this.#ranges) {
      const from = iova > range.iova ? iova : range.iova;
      const end = range.iova + range.length - 1n;
      const to = last < end ? last : end;
      for (let page = from / this.#pageSize; page * this.#pageSize <= to; page++) this.#written.add(page);
    }
  }

  readAndClear(iova: bigint, length: bigint, report: (start: bigint, length: bigint) => void): void {
    const size = this.#pageSize;
    const inside = [...this.#written].filter((page) => page * size < iova + length && (page + 1n) * size > iova);
    for (const page of inside.sort((one, other) => (one < other ? -1 : 1))) {
      this.#written.delete(page);
      report(page * size, size);
    }
  }
}
