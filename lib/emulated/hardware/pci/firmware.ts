// What a machine's firmware does before Linux starts: it gives BARs addresses.
import type { PciBar } from '../../kernel/vfio-pci/function.js';

/** Below 4 GiB, the addresses that are left for devices. */
const LOW = { start: 0xc000_0000, end: 0xfec0_0000 };
/** Above all memory. */
const HIGH = { start: 2 ** 42, end: 2 ** 46 };
/** I/O ports that nothing else has. */
const PORTS = { start: 0xc000, end: 0xffff };

export class Firmware {
  readonly #next = { memory32: LOW.start, memory64: HIGH.start, io: PORTS.start };

  /** An address that is a multiple of the BAR's size; 0 where none is left. */
  place({ kind, size }: PciBar): number {
    const { end } = { memory32: LOW, memory64: HIGH, io: PORTS }[kind];
    const address = Math.ceil(this.#next[kind] / size) * size;
    if (address + size > end) return 0;
    this.#next[kind] = address + size;
    return address;
  }
}
