// Stretches of mapped memory that are a device's, through dma-bufs: nothing of them is pinned, and nobody is charged.
import type { DmaBufFile, DmaBufImporter } from './dma-buf.js';

interface DeviceMemory extends DmaBufImporter {
  readonly file: DmaBufFile;
  /** The first physical page; undefined once it was revoked. */
  frame: number | undefined;
}

export class DmaBufPages {
  readonly #bySlot = new Map<number, DeviceMemory>();
  /** Told of the slots whose memory was taken away. */
  onRevoked: ((slot: number) => void) | undefined;

  /** Imports a dma-buf; -ENODEV (revoked), -EOPNOTSUPP (in several pieces). */
  import(file: DmaBufFile): DeviceMemory | number {
    const memory: DeviceMemory = { file, frame: undefined, revoke: () => this.#revoke(memory) };
    const frame = file.attach(memory);
    if (frame < 0) return frame;
    memory.frame = frame;
    return memory;
  }
  /** A slot is what was imported; the file stays open. */
  add(slot: number, memory: DeviceMemory): void {
    memory.file.hold();
    this.#bySlot.set(slot, memory);
  }
  #revoke(memory: DeviceMemory): void {
    if (memory.frame === undefined) return;
    memory.frame = undefined;
    for (const [slot, candidate] of this.#bySlot) if (candidate === memory) this.onRevoked?.(slot);
  }
  drop(slot: number): void {
    const memory = this.#bySlot.size === 0 ? undefined : this.#bySlot.get(slot);
    if (memory === undefined) return;
    this.#bySlot.delete(slot);
    memory.file.detach(memory);
    memory.file.release();
  }

  has(slot: number): boolean {
    return this.#bySlot.size > 0 && this.#bySlot.has(slot);
  }
  /** Memory that the device took back. */
  isRevoked(slot: number): boolean {
    const memory = this.#bySlot.get(slot);
    return memory !== undefined && memory.frame === undefined;
  }
  /** The first physical page; undefined for what is none of these, or was revoked. */
  frameOf(slot: number): number | undefined {
    return this.#bySlot.get(slot)?.frame;
  }
}
