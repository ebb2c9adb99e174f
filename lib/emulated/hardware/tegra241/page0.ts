// Page 0 of a virtual interface: the registers of its queues, as a guest accesses them. Registers have 32 bits. No source that
// is public says what other accesses do; here
// - 64 bits are two registers, the lower one first,
// - 8 and 16 bits read the bytes that are there, and write nothing.
// Queues that are not allocated read as zero, and keep nothing.
import type { MmapRegion } from '../../kernel/driver.js';
import { SLOT_SHIFT } from './registers.js';
import type { VirtualCommandQueue } from './virtual-command-queue.js';

type PageRegisters = MmapRegion['registers'];

const IN_SLOT = (1 << SLOT_SHIFT) - 1;
const WORD = 4;
const HIGH = 32n;

export class Page0 implements PageRegisters {
  readonly #queues: readonly VirtualCommandQueue[];

  constructor(queues: readonly VirtualCommandQueue[]) {
    this.#queues = queues;
  }

  read(offset: number, width: 1 | 2 | 4): number {
    const word = this.#load(offset & -WORD);
    if (width === WORD) return word >>> 0;
    return (word >>> (8 * (offset % WORD))) & (2 ** (8 * width) - 1);
  }
  read64(offset: number): bigint {
    return BigInt(this.read(offset, WORD)) | (BigInt(this.read(offset + WORD, WORD)) << HIGH);
  }
  write(offset: number, width: 1 | 2 | 4, value: number): void {
    if (width === WORD) this.#queueAt(offset)?.write(offset & IN_SLOT, value);
  }
  write64(offset: number, value: bigint): void {
    this.write(offset, WORD, Number(BigInt.asUintN(32, value)));
    this.write(offset + WORD, WORD, Number(BigInt.asUintN(32, value >> HIGH)));
  }

  #load(offset: number): number {
    return this.#queueAt(offset)?.read(offset & IN_SLOT) ?? 0;
  }
  #queueAt(offset: number): VirtualCommandQueue | undefined {
    const queue = this.#queues[offset >> SLOT_SHIFT];
    return queue?.allocated === true ? queue : undefined;
  }
}
