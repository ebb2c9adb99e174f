// A memfd: memory that is a file.
import { ERRNO } from '../../uapi/errno.js';
import type { Backing } from '../memory/backing.js';
import { OpenFile } from './file.js';

export class MemoryFile extends OpenFile {
  /** Where `read` and `write` go on. */
  #position = 0;

  /** Takes over the caller's hold on the memory. */
  constructor(readonly backing: Backing) {
    super();
  }

  override read(into: Uint8Array): number {
    const length = this.pread(into, this.#position);
    this.#position += length;
    return length;
  }
  override write(from: Uint8Array): number {
    const length = this.pwrite(from, this.#position);
    this.#position += Math.max(0, length);
    return length;
  }
  override pread(into: Uint8Array, position: number): number {
    const length = Math.max(0, Math.min(into.length, this.backing.size - position));
    this.backing.read(position, into.subarray(0, length));
    return length;
  }
  /** It cannot grow: what does not fit is not written. */
  override pwrite(from: Uint8Array, position: number): number {
    const length = Math.max(0, Math.min(from.length, this.backing.size - position));
    if (length === 0 && from.length > 0) return -ERRNO.EPERM;
    this.backing.write(position, from.subarray(0, length));
    return length;
  }

  protected override closed(): void {
    this.backing.drop();
  }
}
