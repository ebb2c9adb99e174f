// The few files besides devices that a program on an emulated machine may open or make.
import { ERRNO } from '../../uapi/errno.js';
import { OpenFile } from '../kernel/file.js';

/** /dev/null and /dev/zero: files that no ioctl knows and that are no memory. */
export class CharacterFile extends OpenFile {
  constructor(readonly content: 'nothing' | 'zeros') {
    super();
  }
  override read(into: Uint8Array): number {
    if (this.content === 'nothing') return 0;
    into.fill(0);
    return into.length;
  }
  override write(from: Uint8Array): number {
    return from.length;
  }
  override pread(into: Uint8Array): number {
    return this.read(into);
  }
  override pwrite(from: Uint8Array): number {
    return this.write(from);
  }
  protected override closed(): void {}
}

const COUNTER_LIMIT = 0xffff_ffff_ffff_ffffn;

/** An eventfd, non-blocking. */
export class EventFile extends OpenFile {
  #count: bigint;
  constructor(initial: bigint) {
    super();
    this.#count = initial;
  }

  override read(into: Uint8Array): number {
    if (into.length < 8) return -ERRNO.EINVAL;
    if (this.#count === 0n) return -ERRNO.EAGAIN;
    new DataView(into.buffer, into.byteOffset).setBigUint64(0, this.#count, true);
    this.#count = 0n;
    return 8;
  }
  override write(from: Uint8Array): number {
    if (from.length < 8) return -ERRNO.EINVAL;
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
  /** What a device or the kernel does to it: beyond the limit it does not count. */
  signal(more = 1n): void {
    this.#count += more;
    if (this.#count > COUNTER_LIMIT) this.#count = COUNTER_LIMIT;
    if (this.#count > 0n) this.waiters.wake();
  }
  override readable(): boolean {
    return this.#count > 0n;
  }
  protected override closed(): void {}
}
