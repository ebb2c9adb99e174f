// /proc/thread-self/fail-nth (fs/proc/base.c; lib/fault-inject.c): which of the kernel's allocations from now on fails. On Linux
// it is a task's own; here it is the next one's that calls.
import { ERRNO } from '../../uapi/errno.js';
import { OpenFile } from './file.js';
import type { Kernel } from './kernel.js';

const LARGEST = 2 ** 32 - 1;

/** What kstrtouint takes; undefined for anything else. */
function parse(text: string): number | undefined {
  const value = /^\+?(0x[0-9a-f]+|\d+)\n?$/i.test(text) ? Number(text) : Number.NaN;
  return value <= LARGEST ? value : undefined;
}

export class FailNthFile extends OpenFile {
  readonly #kernel: Kernel;
  #position = 0;

  constructor(kernel: Kernel) {
    super();
    this.#kernel = kernel;
  }

  override read(into: Uint8Array): number {
    const length = this.pread(into, this.#position);
    this.#position += length;
    return length;
  }
  /** How many allocations it is until one fails, that one counted; 0 where none will. */
  override pread(into: Uint8Array, position: number): number {
    const text = new TextEncoder().encode(`${this.#kernel.failsIn}\n`).subarray(position);
    const { length } = text.subarray(0, into.length);
    into.set(text.subarray(0, length));
    return length;
  }
  override write(from: Uint8Array): number {
    return this.pwrite(from);
  }
  override pwrite(from: Uint8Array): number {
    const count = parse(new TextDecoder('latin1').decode(from));
    if (count === undefined) return -ERRNO.EINVAL;
    this.#kernel.failAllocation(count - 1);
    return from.length;
  }

  protected override closed(): void {}
}
