// The interrupts of the serial device: one of INTx, which masks itself, or one of MSI (samples/vfio-mdev/mtty.c).
import { ERRNO } from '../../../uapi/errno.js';
import { vfio_irq_set_flags, vfio_pci_irq_index } from '../../../uapi/vfio-constants.js';
import { EventFile } from '../event-file.js';
import type { Process } from '../process.js';
import type { IrqSet } from '../vfio/irq-set.js';

const {
  VFIO_IRQ_SET_DATA_NONE: NONE,
  VFIO_IRQ_SET_DATA_BOOL: BOOL,
  VFIO_IRQ_SET_DATA_EVENTFD: EVENTFD,
  VFIO_IRQ_SET_ACTION_MASK: MASK,
  VFIO_IRQ_SET_ACTION_UNMASK: UNMASK,
  VFIO_IRQ_SET_ACTION_TRIGGER: TRIGGER,
} = vfio_irq_set_flags.values;
const { VFIO_PCI_INTX_IRQ_INDEX: INTX, VFIO_PCI_MSI_IRQ_INDEX: MSI } = vfio_pci_irq_index.values;

export class SerialInterrupts {
  /** The index that is on, and what it signals. */
  #on: { readonly index: number; readonly eventfd: EventFile } | undefined;
  #masked = false;

  /** The device has something to tell. */
  raise(): void {
    if (this.#on === undefined || this.#masked) return;
    this.#masked = this.#on.index === INTX;
    this.#on.eventfd.signal();
  }
  disable(): void {
    const { eventfd } = this.#on ?? {};
    this.#on = undefined;
    this.#masked = false;
    eventfd?.release();
  }

  set(process: Process, set: IrqSet): number {
    if (set.index !== INTX && set.index !== MSI) return -ERRNO.ENOTTY;
    switch (set.action) {
      case MASK:
      case UNMASK:
        return set.index === INTX ? this.#mask(set) : -ERRNO.ENOTTY;
      case TRIGGER:
        return this.#trigger(process, set);
      default:
        // None of the actions, or several: nothing is done about it.
        return 0;
    }
  }
  #mask({ action, data, start, count, bytes }: IrqSet): number {
    if (this.#on?.index !== INTX || start !== 0 || count !== 1) return -ERRNO.EINVAL;
    if (data === EVENTFD) return -ERRNO.ENOTTY;
    if (data === NONE || bytes[0] !== 0) this.#masked = action === MASK;
    return 0;
  }
  #trigger(process: Process, { index, data, start, count, bytes }: IrqSet): number {
    const isOn = this.#on?.index === index;
    if (isOn && count === 0 && data === NONE) {
      this.disable();
      return 0;
    }
    if ((this.#on !== undefined && !isOn) || start !== 0 || count !== 1) return -ERRNO.EINVAL;
    if (data === EVENTFD) return this.#connect(process, index, new DataView(bytes.buffer).getInt32(0, true));
    if (!isOn) return -ERRNO.EINVAL;
    if (data !== BOOL || bytes[0] !== 0) this.raise();
    return 0;
  }
  /** What was connected is let go first, also where the new one is refused. */
  #connect(process: Process, index: number, fd: number): number {
    this.disable();
    if (fd < 0) return 0;
    const file = process.files.get(fd);
    if (file === undefined) return -ERRNO.EBADF;
    if (!(file instanceof EventFile)) return -ERRNO.EINVAL;
    this.#on = { index, eventfd: file.hold() };
    return 0;
  }
}
