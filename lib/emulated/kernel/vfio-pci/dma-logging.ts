// Which IOVAs a function wrote to, as a variant driver of Linux has its hardware note them (mlx5).
import { ERRNO } from '../../../uapi/errno.js';
import type { DmaLoggingOps } from '../vfio/driver.js';
import type { DmaLoggingHardware } from './function.js';

/** The page size that was asked for; else the next smaller one there is, or the smallest. */
function choose(pageSizes: bigint, asked: bigint): bigint {
  const small = pageSizes & ((asked << 1n) - 1n);
  if (small === 0n) return pageSizes & -pageSizes;
  return 1n << BigInt(small.toString(2).length - 1);
}

export class DmaLogging implements DmaLoggingOps {
  readonly #hardware: DmaLoggingHardware;
  #active = false;

  constructor(hardware: DmaLoggingHardware) {
    this.#hardware = hardware;
  }

  start(ranges: readonly { readonly iova: bigint; readonly length: bigint }[], pageSize: bigint): bigint | number {
    if (this.#active) return -ERRNO.EINVAL;
    const chosen = choose(this.#hardware.pageSizes, pageSize);
    this.#hardware.start(ranges, chosen);
    this.#active = true;
    return chosen;
  }
  stop(): number {
    if (this.#active) this.#hardware.stop();
    this.#active = false;
    return 0;
  }
  readAndClear(iova: bigint, length: bigint, report: (start: bigint, length: bigint) => void): number {
    if (!this.#active) return -ERRNO.EINVAL;
    this.#hardware.readAndClear(iova, length, report);
    return 0;
  }
}
