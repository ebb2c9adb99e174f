// The registers of the mock's vIOMMU: plain memory that keeps what is written.

import type { MmioMapping } from '../../kernel/file.js';
import type { Backing } from '../../memory/backing.js';

export class RegisterMemory implements Omit<MmioMapping, 'close'> {
  readonly #view: DataView;

  /** Nobody has windows of this memory: its bytes stay where they are. */
  constructor(readonly memory: Backing) {
    const { buffer, byteOffset, byteLength } = memory.bytes(0, memory.size);
    this.#view = new DataView(buffer, byteOffset, byteLength);
  }

  read(offset: number, width: 1 | 2 | 4): number {
    if (width === 1) return this.#view.getUint8(offset);
    return width === 2 ? this.#view.getUint16(offset, true) : this.#view.getUint32(offset, true);
  }
  read64(offset: number): bigint {
    return this.#view.getBigUint64(offset, true);
  }
  write(offset: number, width: 1 | 2 | 4, value: number): void {
    if (width === 1) this.#view.setUint8(offset, value);
    else if (width === 2) this.#view.setUint16(offset, value, true);
    else this.#view.setUint32(offset, value, true);
  }
  write64(offset: number, value: bigint): void {
    this.#view.setBigUint64(offset, value, true);
  }
}
