// Registers of a device in a process's memory: the device stays open as long as they are there.
import type { MmioMapping, OpenFile } from '../file.js';

export class HeldMapping implements MmioMapping {
  readonly #mapping: MmioMapping;
  readonly #file: OpenFile;

  constructor(mapping: MmioMapping, file: OpenFile) {
    this.#mapping = mapping;
    this.#file = file.hold();
  }
  read(offset: number, width: 1 | 2 | 4): number {
    return this.#mapping.read(offset, width);
  }
  read64(offset: number): bigint {
    return this.#mapping.read64(offset);
  }
  write(offset: number, width: 1 | 2 | 4, value: number): void {
    this.#mapping.write(offset, width, value);
  }
  write64(offset: number, value: bigint): void {
    this.#mapping.write64(offset, value);
  }
  close(): void {
    this.#mapping.close();
    this.#file.release();
  }
}
