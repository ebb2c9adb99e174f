// QEMU's edu device as its user drives it: DMA between memory and a buffer of its own (docs/specs/edu in QEMU's tree). It
// may need a while; where DMA is refused, it says nothing of it.
import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import type { MmioRegion, VfioDevice } from '../../lib/index.js';

const SOURCE = 0x80;
const DESTINATION = 0x88;
const COUNT = 0x90;
const COMMAND = 0x98;

const START = 1;
const TO_MEMORY = 2;

/** Where the device's own buffer lies, by its own reckoning. */
const BUFFER = 0x4_0000n;
/** Bytes of a transfer at most: the buffer has one more, but QEMU takes its last byte to be outside (7.2). */
export const EDU_MOST = 4095;

/** IOVAs that edu reaches (it has 28 address bits), and that every IOMMU takes. */
export const EDU_IOVA = 0x400_0000n;

export class Edu {
  readonly registers: MmioRegion;

  /** Lets a bound device do DMA. */
  constructor(readonly nic: VfioDevice) {
    nic.config.enable({ memory: true, busMaster: true });
    this.registers = nic.region('bar0').mmap();
  }

  /** The device reads memory into its buffer. */
  load(iova: bigint, length: number, at = 0): Promise<void> {
    return this.#transfer(iova, BUFFER + BigInt(at), length, START);
  }
  /** The device writes its buffer to memory. */
  store(iova: bigint, length: number, at = 0): Promise<void> {
    return this.#transfer(BUFFER + BigInt(at), iova, length, START | TO_MEMORY);
  }

  /** As `store`, but leaves the device to it. */
  beginStore(iova: bigint, length: number): void {
    this.#begin(BUFFER, iova, length, START | TO_MEMORY);
  }
  /** Waits until no transfer is under way. */
  async idle(): Promise<void> {
    while ((this.registers.read64(COMMAND) & BigInt(START)) !== 0n) await pause(1);
  }

  async #transfer(source: bigint, destination: bigint, length: number, command: number): Promise<void> {
    this.#begin(source, destination, length, command);
    await this.idle();
  }
  #begin(source: bigint, destination: bigint, length: number, command: number): void {
    // Beyond its buffer, QEMU ends the whole machine.
    const local = (command & TO_MEMORY) === 0 ? destination : source;
    assert(Number(local - BUFFER) + length <= EDU_MOST, 'a transfer beyond the buffer of edu');
    this.registers.write64(SOURCE, source);
    this.registers.write64(DESTINATION, destination);
    this.registers.write64(COUNT, BigInt(length));
    this.registers.write64(COMMAND, BigInt(command));
  }
}

/** Bytes that are easily told from zeros, and from those of another seed. */
export function pattern(length: number, seed = 1): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => 1 + ((i * 7 + seed * 31 + (i >> 8)) % 255));
}
