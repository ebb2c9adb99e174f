// The BARs of a function as physical addresses: what other devices' DMA reaches when they were given them.
import { PAGE_SIZE } from '../../memory/backing.js';
import type { MmioWindow, PhysicalMemory } from '../../memory/physical.js';
import { accessBar } from './bars.js';
import type { PciBar } from './function.js';
import type { PciHardware } from './hardware.js';

/** A device accesses another one by words. */
class BarWindow implements MmioWindow {
  readonly #hardware: PciHardware;
  readonly #bar: PciBar;
  readonly pages: number;

  constructor(hardware: PciHardware, bar: PciBar) {
    this.#hardware = hardware;
    this.#bar = bar;
    this.pages = Math.ceil(bar.size / PAGE_SIZE);
  }
  read(offset: number, into: Uint8Array): void {
    this.#access(offset, into, false);
  }
  write(offset: number, from: Uint8Array): void {
    this.#access(offset, from, true);
  }
  #access(offset: number, data: Uint8Array, write: boolean): void {
    accessBar(this.#hardware, this.#bar, { offset, data, write, widest: 4 }, undefined, () => true);
  }
}

export class BarWindows {
  readonly #physical: PhysicalMemory;
  readonly #hardware: PciHardware;
  /** First pages, by BAR. */
  readonly #frames = new Map<number, number>();

  constructor(physical: PhysicalMemory, hardware: PciHardware) {
    this.#physical = physical;
    this.#hardware = hardware;
  }

  /** The first physical page of a BAR. */
  of(bar: PciBar): number {
    const present = this.#frames.get(bar.index);
    if (present !== undefined) return present;
    const frame = this.#physical.addWindow(new BarWindow(this.#hardware, bar));
    this.#frames.set(bar.index, frame);
    return frame;
  }
}
