// How a PCI function interrupts: messages (MSI-X, MSI) while they are on, else a line. What reaches the driver follows from
// the registers that say so.
import type { InterruptKind } from '../../kernel/vfio-pci/function.js';
import { CAPABILITY, MESSAGE_CONTROL, MSI_ENABLE, MSIX_ENABLE, MSIX_MASK_ALL } from './capabilities.js';
import {
  COMMAND,
  COMMAND_BUS_MASTER,
  COMMAND_INTX_OFF,
  type ConfigSpace,
  STATUS,
  STATUS_INTX,
} from './config-space.js';
import type { MessageTable } from './message-table.js';

type Deliver = (kind: InterruptKind, vector: number, level: boolean) => void;

const MULTIPLE_MESSAGES = 4;

export class FunctionInterrupts {
  readonly #config: ConfigSpace;
  readonly #table: MessageTable | undefined;
  readonly #deliver: Deliver;
  /** What the device does to its line, and what of that the driver knows. */
  #line = false;
  #told = false;

  constructor(config: ConfigSpace, table: MessageTable | undefined, deliver: Deliver) {
    this.#config = config;
    this.#table = table;
    this.#deliver = deliver;
  }

  #control(id: number): number {
    const at = this.#config.find(id);
    return at === undefined ? 0 : this.#config.read(at + MESSAGE_CONTROL, 2);
  }
  #setControl(id: number, value: number): void {
    const at = this.#config.find(id);
    if (at !== undefined) this.#config.write(at + MESSAGE_CONTROL, 2, value);
  }
  get #msixOn(): boolean {
    return (this.#control(CAPABILITY.msix) & MSIX_ENABLE) !== 0;
  }
  get #msiOn(): boolean {
    return (this.#control(CAPABILITY.msi) & MSI_ENABLE) !== 0;
  }

  /** Messages are writes to memory. */
  get #isMaster(): boolean {
    return (this.#config.read(COMMAND, 2) & COMMAND_BUS_MASTER) !== 0;
  }

  /** The device sends a message, which is lost without bus mastering; false where messages are off. */
  send(vector: number): boolean {
    if (this.#table !== undefined && this.#msixOn) {
      if (vector < this.#table.vectors) this.#sendExtended(this.#table, vector);
      return true;
    }
    if (!this.#msiOn) return false;
    // With fewer vectors than the device has, the lowest bits of the message are all there is.
    const vectors = 1 << ((this.#control(CAPABILITY.msi) >> MULTIPLE_MESSAGES) & 7);
    if (this.#isMaster) this.#deliver('msi', vector & (vectors - 1), true);
    return true;
  }
  #sendExtended(table: MessageTable, vector: number): void {
    const held = table.isMasked(vector) || (this.#control(CAPABILITY.msix) & MSIX_MASK_ALL) !== 0;
    table.setPending(vector, held);
    if (!held && this.#isMaster) this.#deliver('msix', vector, true);
  }

  setLine(level: boolean): void {
    this.#line = level;
    this.#config.setBits(STATUS, STATUS_INTX, level);
    this.refresh();
  }

  /** Registers changed: what they held back comes now. */
  refresh(): void {
    const off = (this.#config.read(COMMAND, 2) & COMMAND_INTX_OFF) !== 0 || this.#msiOn || this.#msixOn;
    const level = this.#line && !off;
    if (level !== this.#told) {
      this.#told = level;
      this.#deliver('intx', 0, level);
    }
    const table = this.#table;
    if (table === undefined || !this.#msixOn) return;
    for (const vector of table.pending()) this.#sendExtended(table, vector);
  }

  setVectors(kind: 'msi' | 'msix', count: number): void {
    if (kind === 'msi') {
      const order = Math.ceil(Math.log2(Math.max(count, 1)));
      this.#setControl(CAPABILITY.msi, count > 0 ? (order << MULTIPLE_MESSAGES) | MSI_ENABLE : 0);
    } else {
      this.#setControl(CAPABILITY.msix, count > 0 ? MSIX_ENABLE : 0);
      const vectors = this.#table?.vectors ?? 0;
      for (let vector = 0; vector < vectors; vector++) this.#table?.setMasked(vector, vector >= count);
    }
    this.refresh();
  }

  /** Configuration space was reset before. */
  reset(): void {
    this.#table?.reset();
    this.setLine(false);
  }
}
