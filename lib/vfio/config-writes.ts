// Which writes to a PCI device's configuration space make vfio-pci take the device's memory away from those who mapped it
// (drivers/vfio/pci/vfio_pci_config.c): memory turned off, sleep, and resets of the function.
import type { MemoryLoss } from './core.js';
import { type ConfigReader, type PciCapability, standardCapabilities } from './pci-capabilities.js';

/** A write: `byteAt` counts from its start. */
export interface ConfigWrite {
  readonly offset: number;
  readonly length: number;
  byteAt(index: number): number;
}

/** A byte of which a value takes memory away. */
interface Trigger {
  readonly at: number;
  readonly loss: MemoryLoss;
  fires(byte: number): boolean;
}

const COMMAND = 0x04;
const COMMAND_MEMORY = 0x02;
const FIRST_CAPABILITY = 0x40;

const POWER_MANAGEMENT = 0x01;
const PCIE = 0x10;
const ADVANCED_FEATURES = 0x13;
/** Power management: the low byte of the control register, whose state 3 is D3hot. */
const PM_CONTROL = 4;
const PM_STATE = 0x03;
/** PCI Express: device capabilities, and the upper byte of device control. */
const PCIE_CAPABILITIES = 4;
const PCIE_HAS_FLR = 0x1000_0000;
const PCIE_CONTROL_HIGH = 9;
const PCIE_FLR = 0x80;
/** Advanced features, of conventional PCI. */
const AF_CAPABILITIES = 3;
const AF_HAS_FLR = 0x03;
const AF_CONTROL = 4;
const AF_FLR = 0x01;

const MEMORY_OFF: Trigger = { at: COMMAND, loss: 'memory off', fires: (byte) => (byte & COMMAND_MEMORY) === 0 };

export class ConfigWrites {
  readonly #config: ConfigReader;
  #triggers: readonly Trigger[] | undefined;

  constructor(config: ConfigReader) {
    this.#config = config;
  }

  /** What the write takes the memory away by, if it does. */
  lossOf({ offset, length, byteAt }: ConfigWrite): MemoryLoss | undefined {
    const fired = (trigger: Trigger) => {
      const index = trigger.at - offset;
      return index >= 0 && index < length && trigger.fires(byteAt(index));
    };
    if (fired(MEMORY_OFF)) return MEMORY_OFF.loss;
    if (offset + length <= FIRST_CAPABILITY) return undefined;
    this.#triggers ??= [...standardCapabilities(this.#config)].flatMap((one) => this.#triggerOf(one));
    return this.#triggers.find(fired)?.loss;
  }

  #triggerOf({ id, offset }: PciCapability): Trigger[] {
    const config = this.#config;
    // A broken device may have a capability too near to the end.
    if (offset + PCIE_CONTROL_HIGH >= config.size) return [];
    if (id === POWER_MANAGEMENT) {
      return [{ at: offset + PM_CONTROL, loss: 'low power', fires: (byte) => (byte & PM_STATE) === PM_STATE }];
    }
    if (id === PCIE && (config.read32(offset + PCIE_CAPABILITIES) & PCIE_HAS_FLR) !== 0) {
      return [{ at: offset + PCIE_CONTROL_HIGH, loss: 'reset', fires: (byte) => (byte & PCIE_FLR) !== 0 }];
    }
    if (id === ADVANCED_FEATURES && (config.read8(offset + AF_CAPABILITIES) & AF_HAS_FLR) === AF_HAS_FLR) {
      return [{ at: offset + AF_CONTROL, loss: 'reset', fires: (byte) => (byte & AF_FLR) !== 0 }];
    }
    return [];
  }
}
