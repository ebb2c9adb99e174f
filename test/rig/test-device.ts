// The emulated test device as its user drives it: DMA between memory and 64 KiB of its own, which BAR 2 shows
// (docs/emulated.md).
import { setImmediate as turn } from 'node:timers/promises';
import type { VfioDevice, VfioRegion } from '../../lib/index.js';

const STATUS = 0x08;
const IOVA = 0x10;
const OFFSET = 0x18;
const LENGTH = 0x1c;
const COMMAND = 0x24;

const BUSY = 1;
const TO_MEMORY = 1;

export class TestDriver {
  readonly #registers: VfioRegion;
  /** Its own memory. */
  readonly memory: VfioRegion;

  /** Lets a bound device do DMA. */
  constructor(readonly nic: VfioDevice) {
    nic.config.enable({ memory: true, busMaster: true });
    this.#registers = nic.region('bar0');
    this.memory = nic.region('bar2');
  }

  /** The device writes the first bytes of its memory there; answers whether it could. */
  async store(iova: bigint, length: number): Promise<boolean> {
    const registers = this.#registers;
    registers.write32(IOVA, Number(iova & 0xffff_ffffn));
    registers.write32(IOVA + 4, Number(iova >> 32n));
    registers.write32(OFFSET, 0);
    registers.write32(LENGTH, length);
    registers.write32(COMMAND, TO_MEMORY);
    while ((registers.read32(STATUS) & BUSY) !== 0) await turn();
    return registers.read32(STATUS) === 0;
  }
}
