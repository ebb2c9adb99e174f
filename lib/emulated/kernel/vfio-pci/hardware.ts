// A PCI function as the kernel's PCI core handles it (drivers/pci/pci.c): its command register, capabilities, power state, and
// its registers put back after a reset. It stays when no program has the device.
import type { PciFunction } from './function.js';
import {
  CAP,
  CAP_NEXT,
  CAPABILITY_LIST,
  COMMAND,
  COMMAND_INTX_DISABLE,
  COMMAND_IO,
  COMMAND_MASTER,
  COMMAND_MEMORY,
  CONFIG_SIZE,
  EXPRESS_CONTROLS,
  HEADER_SIZE,
  PM,
  PM_D1,
  PM_D2,
  PM_NO_SOFT_RESET,
  PM_STATE,
  STATUS,
  STATUS_CAPABILITIES,
  STATUS_INTERRUPT,
} from './registers.js';

/** D3hot: the function answers nothing but configuration accesses. */
export const D3HOT = 3;

/** Registers to be put back: the header, and controls of the PCIe capability. */
export interface SavedRegisters {
  readonly header: readonly number[];
  readonly express: readonly number[];
}

interface Vectors {
  readonly kind: 'msi' | 'msix';
  readonly count: number;
}

export class PciHardware {
  readonly fn: PciFunction;
  readonly pmAt: number;
  readonly msiAt: number;
  readonly msixAt: number;
  readonly expressAt: number;
  /** 0 to 3, for D0 to D3hot. */
  #power = 0;
  /** What a function that forgets its registers in D3hot had in them. */
  #beforeSleep: SavedRegisters | undefined;
  #vectors: Vectors | undefined;

  constructor(fn: PciFunction) {
    this.fn = fn;
    this.pmAt = this.#find(CAP.pm);
    this.msiAt = this.#find(CAP.msi);
    this.msixAt = this.#find(CAP.msix);
    this.expressAt = this.#find(CAP.express);
  }

  read(offset: number, width: 1 | 2 | 4): number {
    return this.fn.readConfig(offset, width);
  }
  write(offset: number, width: 1 | 2 | 4, value: number): void {
    this.fn.writeConfig(offset, width, value);
  }
  /** Where a capability starts; 0 for one that is not there. */
  #find(id: number): number {
    if ((this.read(STATUS, 2) & STATUS_CAPABILITIES) === 0) return 0;
    let at = this.read(CAPABILITY_LIST, 1) & ~3;
    for (let left = (CONFIG_SIZE - HEADER_SIZE) / 4; at >= HEADER_SIZE && left > 0; left--) {
      if (this.read(at, 1) === id) return at;
      at = this.read(at + CAP_NEXT, 1) & ~3;
    }
    return 0;
  }

  /** Sets and clears bits of the command register. */
  changeCommand(set: number, clear: number): void {
    const old = this.read(COMMAND, 2);
    const value = (old & ~clear) | set;
    if (value !== old) this.write(COMMAND, 2, value);
  }
  /** pci_enable_device: what the BARs need is decoded. */
  enable(): void {
    let bits = 0;
    for (const { kind } of this.fn.bars) bits |= kind === 'io' ? COMMAND_IO : COMMAND_MEMORY;
    this.changeCommand(bits, 0);
  }
  /** No more DMA. */
  clearMaster(): void {
    this.changeCommand(0, COMMAND_MASTER);
  }
  /** Whether the function may raise INTx: every function can be told (PCI 2.3). */
  setIntx(enabled: boolean): void {
    this.changeCommand(enabled ? 0 : COMMAND_INTX_DISABLE, enabled ? COMMAND_INTX_DISABLE : 0);
  }
  get intxPending(): boolean {
    return (this.read(STATUS, 2) & STATUS_INTERRUPT) !== 0;
  }

  /** MSI or MSI-X on, with so many vectors; off with 0. */
  setVectors(kind: 'msi' | 'msix', count: number): void {
    this.#vectors = count === 0 ? undefined : { kind, count };
    this.fn.setVectors(kind, count);
  }

  save(): SavedRegisters {
    const header: number[] = [];
    for (let at = 0; at < HEADER_SIZE; at += 4) header.push(this.read(at, 4));
    const { expressAt } = this;
    const express = expressAt === 0 ? [] : EXPRESS_CONTROLS.map((offset) => this.read(expressAt + offset, 2));
    return { header, express };
  }
  /** Last registers first, so that BARs are in place when the command register has them decoded. */
  restore({ header, express }: SavedRegisters): void {
    express.forEach((value, i) => {
      this.write(this.expressAt + (EXPRESS_CONTROLS[i] ?? 0), 2, value);
    });
    for (let i = header.length - 1; i >= 0; i--) {
      const value = header[i] ?? 0;
      if (this.read(i * 4, 4) !== value) this.write(i * 4, 4, value);
    }
    if (this.#vectors !== undefined) this.fn.setVectors(this.#vectors.kind, this.#vectors.count);
  }
  /** Around a reset: no interrupts and no DMA before, and everything as it was afterwards. */
  around(reset: () => void): void {
    this.setPower(0);
    const saved = this.save();
    this.write(COMMAND, 2, COMMAND_INTX_DISABLE);
    try {
      reset();
    } finally {
      this.restore(saved);
    }
  }

  /** The same where the function alone is reset: its IOMMU knows of that, and not of a reset of the whole bus. */
  aroundFunctionReset(reset: () => void): void {
    const { dev } = this.fn;
    this.around(() => dev.group.aroundReset(dev, reset));
  }

  get power(): number {
    return this.#power;
  }
  /** Changes to a power state that the function has; else nothing happens. */
  setPower(state: number): void {
    const { pmAt } = this;
    if (pmAt === 0 || state === this.#power || (state !== 0 && state < this.#power)) return;
    const capabilities = this.read(pmAt + PM.capabilities, 2);
    if ((state === 1 && (capabilities & PM_D1) === 0) || (state === 2 && (capabilities & PM_D2) === 0)) return;
    const control = this.read(pmAt + PM.control, 2);
    if (state === D3HOT && (control & PM_NO_SOFT_RESET) === 0) this.#beforeSleep = this.save();
    this.write(pmAt + PM.control, 2, (control & ~PM_STATE) | state);
    this.#power = state;
    if (state !== 0 || this.#beforeSleep === undefined) return;
    this.restore(this.#beforeSleep);
    this.#beforeSleep = undefined;
  }
}
