// An eventfd, non-blocking: a counter that programs, devices and the kernel add to (fs/eventfd.c).
import { ERRNO } from '../../uapi/errno.js';
import { OpenFile } from './file.js';

const COUNTER_LIMIT = 0xffff_ffff_ffff_ffffn;

export class EventFile extends OpenFile {
  #count: bigint;
  /** Who is told when the last reference goes. */
  readonly hangUps = new Set<() => void>();

  constructor(initial: bigint) {
    super();
    this.#count = initial;
  }

  override read(into: Uint8Array): number {
    if (into.length < 8) return -ERRNO.EINVAL;
    if (this.#count === 0n) return -ERRNO.EAGAIN;
    new DataView(into.buffer, into.byteOffset).setBigUint64(0, this.take(), true);
    return 8;
  }
  override write(from: Uint8Array): number {
    if (from.length !== 8) return -ERRNO.EINVAL;
    const more = new DataView(from.buffer, from.byteOffset).getBigUint64(0, true);
    if (more === COUNTER_LIMIT) return -ERRNO.EINVAL;
    if (this.#count + more >= COUNTER_LIMIT) return -ERRNO.EAGAIN;
    this.signal(more);
    return 8;
  }
  /** There are no positions in a counter. */
  override pread(): number {
    return -ERRNO.ESPIPE;
  }
  override pwrite(): number {
    return -ERRNO.ESPIPE;
  }
  /**
   * What a device or the kernel does to it: beyond the limit it does not count. Also a 0 that a program writes wakes who
   * waits.
   */
  signal(more = 1n): void {
    this.#count += more;
    if (this.#count > COUNTER_LIMIT) this.#count = COUNTER_LIMIT;
    this.waiters.wake();
  }
  /** What was counted, which starts again at 0. */
  take(): bigint {
    const count = this.#count;
    this.#count = 0n;
    return count;
  }
  override readable(): boolean {
    return this.#count > 0n;
  }
  protected override closed(): void {
    for (const hangUp of [...this.hangUps]) hangUp();
  }
}
