// A memfd: memory that is a file.
import { ERRNO } from '../../uapi/errno.js';
import type { Backing } from '../memory/backing.js';
import { OpenFile } from './file.js';

export class MemoryFile extends OpenFile {
  /** Takes over the caller's hold on the memory. */
  constructor(readonly backing: Backing) {
    super();
  }

  override pread(into: Uint8Array, position: number): number {
    const length = Math.max(0, Math.min(into.length, this.backing.size - position));
    this.backing.read(position, into.subarray(0, length));
    return length;
  }
  /** Its size is sealed: what does not fit is not written. */
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
