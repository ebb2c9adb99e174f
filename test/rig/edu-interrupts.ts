// The interrupts of QEMU's edu device (docs/specs/edu in QEMU's tree): raised by a register, until they are acknowledged.
import assert from 'node:assert/strict';
import type { InterruptName, MmioRegion, VfioDevice } from '../../lib/index.js';
import type { Role, VfioBench } from './vfio.js';

/** Why it interrupts: bits, 0 for none. */
const STATUS = 0x24;
export const EDU_RAISE = 0x60;
const ACKNOWLEDGE = 0x64;
/** A register of 64 bits, which can be read back. */
export const EDU_DMA_SOURCE = 0x80;

export class EduInterrupts {
  readonly #registers: MmioRegion;

  /** MSI are writes to memory: they need bus mastering. */
  constructor(readonly nic: VfioDevice) {
    nic.config.enable({ memory: true, busMaster: true, interruptDisable: false });
    this.#registers = nic.region('bar0').mmap();
  }

  get status(): number {
    return this.#registers.read32(STATUS);
  }
  raise(cause: number): void {
    this.#registers.write32(EDU_RAISE, cause);
  }
  acknowledge(cause: number): void {
    this.#registers.write32(ACKNOWLEDGE, cause);
  }
}

/** A device whose interrupt is on, with nothing left of what it raised before. */
export function armed(t: VfioBench, kind: InterruptName, role: Role = 'edu') {
  const nic = t.bound(role);
  const edu = new EduInterrupts(nic);
  edu.acknowledge(edu.status);
  const interrupts = nic.interrupts(kind);
  const [vector] = interrupts.enable();
  assert(vector);
  return { nic, edu, interrupts, vector };
}
