// A PCI device's configuration space: its command register, and its capabilities.
import { checkOptions, oneOf, toBoolean, toU32 } from '../host/arguments.js';
import { invalidType } from '../host/errors.js';
import {
  isCapability,
  PCI_CAPABILITY_NAMES,
  type PciCapability,
  type PciCapabilityName,
  readCapabilities,
} from './pci-capabilities.js';
import type { VfioRegion } from './region.js';

/** The switches of the command register. */
export interface PciCommand {
  /** The device answers to its memory BARs. */
  readonly memory: boolean;
  /** The device answers to its I/O port BARs. */
  readonly io: boolean;
  /** The device may do DMA, and send MSI. */
  readonly busMaster: boolean;
  /** The device must not use its interrupt pin. */
  readonly interruptDisable: boolean;
}

const VENDOR_ID = 0x00;
const DEVICE_ID = 0x02;
const COMMAND = 0x04;
const BITS = { io: 1 << 0, memory: 1 << 1, busMaster: 1 << 2, interruptDisable: 1 << 10 } as const;
const SWITCHES = Object.keys(BITS) as readonly (keyof typeof BITS)[];

/**
 * Configuration space of a PCI device, as vfio-pci shows it: what matters to the host (BAR addresses, parts of
 * capabilities) is kept from the device, and some capabilities are hidden (drivers/vfio/pci/vfio_pci_config.c). Errors of
 * reads and writes: see `VfioRegion`.
 */
export class PciConfig {
  readonly #region: VfioRegion;

  /** Not for callers: use `device.config`. */
  constructor(region: VfioRegion) {
    this.#region = region;
  }

  /** Bytes: 256, or 4096 with extended capabilities. */
  get size(): number {
    return this.#region.size;
  }
  get vendorId(): number {
    return this.read16(VENDOR_ID);
  }
  get deviceId(): number {
    return this.read16(DEVICE_ID);
  }

  read8(offset: number): number {
    return this.#region.read8(offset);
  }
  read16(offset: number): number {
    return this.#region.read16(offset);
  }
  read32(offset: number): number {
    return this.#region.read32(offset);
  }
  write8(offset: number, value: number): void {
    this.#region.write8(offset, value);
  }
  write16(offset: number, value: number): void {
    this.#region.write16(offset, value);
  }
  write32(offset: number, value: number): void {
    this.#region.write32(offset, value);
  }

  /** The command register, as it is now. */
  get command(): PciCommand {
    const value = this.read16(COMMAND);
    const has = (bit: number) => (value & bit) !== 0;
    const { io, memory, busMaster, interruptDisable } = BITS;
    return Object.freeze({
      memory: has(memory),
      io: has(io),
      busMaster: has(busMaster),
      interruptDisable: has(interruptDisable),
    });
  }

  /**
   * Changes switches of the command register: `enable({ memory: true, busMaster: true })` before registers are used and
   * DMA is started. What is left out stays as it is. Turning memory off takes mapped BARs away: they must be mapped anew.
   */
  enable(switches: Partial<PciCommand>): void {
    if (switches === undefined) throw invalidType('switches', 'an object', switches);
    checkOptions(switches, SWITCHES, 'switches');
    const wanted = { ...switches };
    let on = 0;
    let touched = 0;
    for (const name of SWITCHES) {
      if (wanted[name] === undefined) continue;
      touched |= BITS[name];
      if (toBoolean(wanted[name], name, false)) on |= BITS[name];
    }
    this.write16(COMMAND, (this.read16(COMMAND) & ~touched) | on);
  }

  /** The capabilities, in the order of the device's lists; those that VFIO hides are not there. */
  capabilities(): readonly PciCapability[] {
    return readCapabilities(this);
  }

  /** The first capability of a kind: by its name, or a standard one (not an extended one) by its number. */
  findCapability(which: PciCapabilityName | number): PciCapability | undefined {
    if (typeof which === 'number') toU32(which, 'capability');
    else oneOf(which, PCI_CAPABILITY_NAMES, 'capability');
    return this.capabilities().find((one) => isCapability(one, which));
  }
}
