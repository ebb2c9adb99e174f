// VFIO_DEVICE_GET_IRQ_INFO and VFIO_DEVICE_SET_IRQS (vfio_pci_core.c, vfio_pci_intrs.c): which kind of interrupts is on, and
// what an action means for each index. The order of refusals is Linux's.
import { ERRNO } from '../../../uapi/errno.js';
import { vfio_irq_info_flags, vfio_irq_set_flags, vfio_pci_irq_index } from '../../../uapi/vfio-constants.js';
import { vfio_irq_info, vfio_irq_set } from '../../../uapi/vfio-structs.js';
import type { EventFile } from '../event-file.js';
import type { UserBuffer } from '../vfio/driver.js';
import type { InterruptKind } from './function.js';
import { Intx, refusesIntx } from './intx.js';
import { Messages } from './messages.js';
import type { OpenFunction } from './open-function.js';
import { eventfdOf } from './virqfd.js';

const INDEX = vfio_pci_irq_index.values;
const SET = vfio_irq_set_flags.values;
const INFO = vfio_irq_info_flags.values;
const U32_MAX = 0xffff_ffff;
/** Bytes of the struct without what follows it. */
const HEADER_SIZE = vfio_irq_set.end('count');

/** What a call asks for, checked; data by its kind. */
interface Action {
  readonly index: number;
  readonly start: number;
  readonly count: number;
  readonly what: number;
  readonly data:
    | { readonly kind: 'none' }
    | { readonly kind: 'bool'; readonly values: Uint8Array }
    | { readonly kind: 'eventfd'; readonly fds: readonly number[] };
}

export class Interrupts {
  readonly #open: OpenFunction;
  #active: Intx | Messages | undefined;
  #error: EventFile | undefined;
  #request: EventFile | undefined;
  /** The program disabled INTx in its command register. */
  #intxDisabled = false;
  /** log2 of the MSI vectors that were asked for last. */
  #msiOrder = 0;

  constructor(open: OpenFunction) {
    this.#open = open;
  }

  get kind(): 'intx' | 'msi' | 'msix' | undefined {
    return this.#active?.kind;
  }
  get intxDisabled(): boolean {
    return this.#intxDisabled;
  }
  get msiOrder(): number {
    return this.#msiOrder;
  }

  /** The hardware fires. */
  raised(kind: InterruptKind, vector: number, level: boolean): void {
    if (kind === 'error') this.#error?.signal();
    else if (kind === 'request') this.request();
    else if (this.#active?.kind !== kind) return;
    else if (this.#active.kind === 'intx') this.#active.changed(level);
    else this.#active.signal(vector);
  }
  /** The host wants the device back. */
  request(): void {
    this.#request?.signal();
  }
  stop(): void {
    this.#active?.stop();
    this.#active = undefined;
    this.#error = undefined;
    this.#request = undefined;
  }

  /** The command register says so, as the program sees it; the hardware's follows. */
  disableIntx(disabled: boolean): void {
    if (disabled === this.#intxDisabled) return;
    this.#intxDisabled = disabled;
    if (disabled) this.maskIntx();
    else this.unmaskIntx();
  }
  /** Answers whether this masked the line of a program that uses it. */
  maskIntx(): boolean {
    if (this.#active?.kind === 'intx') return this.#active.mask();
    this.#open.hardware.setIntx(false);
    return false;
  }
  unmaskIntx(): void {
    if (this.#active?.kind === 'intx') this.#active.unmask();
    else this.#open.hardware.setIntx(true);
  }

  #countOf(index: number): number {
    const { vectors } = this.#open.hardware.fn;
    if (index === INDEX.VFIO_PCI_INTX_IRQ_INDEX) return this.#open.config.hasIntx ? 1 : 0;
    if (index === INDEX.VFIO_PCI_MSI_IRQ_INDEX) return vectors.msi;
    if (index === INDEX.VFIO_PCI_MSIX_IRQ_INDEX) return vectors.msix;
    return index < INDEX.VFIO_PCI_NUM_IRQS ? 1 : 0;
  }

  /** Linux 6.12 tells of errors only where the device is of PCI Express. */
  #has(index: number): boolean {
    const { hardware, kernel } = this.#open;
    if (index === INDEX.VFIO_PCI_ERR_IRQ_INDEX && kernel.linux === '6.12') return hardware.fn.configSize > 256;
    return index < INDEX.VFIO_PCI_NUM_IRQS;
  }

  info(argument: UserBuffer): number {
    const bytes = new Uint8Array(vfio_irq_info.size);
    const view = new DataView(bytes.buffer);
    if (!argument.copyIn(0, bytes)) return -ERRNO.EFAULT;
    const { argsz, index } = vfio_irq_info.decode(view, 0);
    if (argsz < bytes.length || !this.#has(index)) return -ERRNO.EINVAL;
    let flags = INFO.VFIO_IRQ_INFO_EVENTFD;
    if (index === INDEX.VFIO_PCI_INTX_IRQ_INDEX) {
      flags |= INFO.VFIO_IRQ_INFO_MASKABLE | INFO.VFIO_IRQ_INFO_AUTOMASKED;
    } else if (index !== INDEX.VFIO_PCI_MSIX_IRQ_INDEX || this.#open.hardware.msixAt === 0) {
      flags |= INFO.VFIO_IRQ_INFO_NORESIZE;
    }
    vfio_irq_info.encode(view, 0, { argsz, flags, index, count: this.#countOf(index) });
    return argument.copyOut(0, bytes) ? 0 : -ERRNO.EFAULT;
  }

  set(argument: UserBuffer): number {
    const action = this.#read(argument);
    return typeof action === 'number' ? action : this.#perform(action);
  }
  #read(argument: UserBuffer): Action | number {
    const bytes = new Uint8Array(HEADER_SIZE);
    if (!argument.copyIn(0, bytes)) return -ERRNO.EFAULT;
    const { argsz, flags, index, start, count } = vfio_irq_set.decode(new DataView(bytes.buffer), 0);
    const known = SET.VFIO_IRQ_SET_DATA_TYPE_MASK | SET.VFIO_IRQ_SET_ACTION_TYPE_MASK;
    if (argsz < HEADER_SIZE || index >= INDEX.VFIO_PCI_NUM_IRQS || count >= U32_MAX - start) return -ERRNO.EINVAL;
    const most = this.#countOf(index);
    if ((flags & ~known) !== 0 || start >= most || start + count > most) return -ERRNO.EINVAL;
    const what = flags & SET.VFIO_IRQ_SET_ACTION_TYPE_MASK;
    const kind = flags & SET.VFIO_IRQ_SET_DATA_TYPE_MASK;
    const action = { index, start, count, what };
    if (kind === SET.VFIO_IRQ_SET_DATA_NONE) return { ...action, data: { kind: 'none' } };
    if (kind !== SET.VFIO_IRQ_SET_DATA_BOOL && kind !== SET.VFIO_IRQ_SET_DATA_EVENTFD) return -ERRNO.EINVAL;
    const isBool = kind === SET.VFIO_IRQ_SET_DATA_BOOL;
    const values = new Uint8Array(count * (isBool ? 1 : 4));
    if (argsz - HEADER_SIZE < values.length) return -ERRNO.EINVAL;
    if (!argument.copyIn(HEADER_SIZE, values)) return -ERRNO.EFAULT;
    if (isBool) return { ...action, data: { kind: 'bool', values } };
    const view = new DataView(values.buffer);
    const fds = Array.from({ length: count }, (_, i) => view.getInt32(i * 4, true));
    return { ...action, data: { kind: 'eventfd', fds } };
  }

  #perform(action: Action): number {
    const { index, what } = action;
    const isTrigger = what === SET.VFIO_IRQ_SET_ACTION_TRIGGER;
    if (index === INDEX.VFIO_PCI_INTX_IRQ_INDEX) {
      if (isTrigger) return this.#triggerIntx(action);
      if (what === SET.VFIO_IRQ_SET_ACTION_MASK) return this.#changeIntxMask(action, true);
      return what === SET.VFIO_IRQ_SET_ACTION_UNMASK ? this.#changeIntxMask(action, false) : -ERRNO.ENOTTY;
    }
    if (!isTrigger) return -ERRNO.ENOTTY;
    if (index === INDEX.VFIO_PCI_MSI_IRQ_INDEX) return this.#triggerMessages(action, 'msi');
    if (index === INDEX.VFIO_PCI_MSIX_IRQ_INDEX) return this.#triggerMessages(action, 'msix');
    return this.#triggerSingle(action, index === INDEX.VFIO_PCI_ERR_IRQ_INDEX);
  }

  #triggerIntx({ start, count, data }: Action): number {
    const active = this.#active;
    if (active?.kind === 'intx' && count === 0 && data.kind === 'none') {
      active.stop();
      this.#active = undefined;
      return 0;
    }
    if ((active !== undefined && active.kind !== 'intx') || start !== 0 || count !== 1) return -ERRNO.EINVAL;
    if (data.kind === 'eventfd') return this.#wireIntx(active, data.fds[0] ?? -1);
    if (active === undefined) return -ERRNO.EINVAL;
    if (data.kind === 'none' || data.values[0] !== 0) active.signal();
    return 0;
  }
  #wireIntx(active: Intx | undefined, fd: number): number {
    const trigger = fd < 0 ? undefined : eventfdOf(this.#open.process, fd);
    if (typeof trigger === 'number') return trigger;
    if (active !== undefined) {
      active.setTrigger(trigger);
      return 0;
    }
    const refusal = refusesIntx(this.#open);
    if (refusal < 0) return refusal;
    const intx = new Intx(this.#open, trigger, this.#intxDisabled);
    this.#active = intx;
    intx.start();
    return 0;
  }
  #changeIntxMask({ start, count, data }: Action, mask: boolean): number {
    const active = this.#active;
    if (active?.kind !== 'intx' || start !== 0 || count !== 1) return -ERRNO.EINVAL;
    // Linux has no eventfd that masks.
    if (data.kind === 'eventfd') return mask ? -ERRNO.ENOTTY : active.unmaskOn(data.fds[0] ?? -1);
    if (data.kind === 'bool' && data.values[0] === 0) return 0;
    if (mask) active.mask();
    else active.unmask();
    return 0;
  }

  #triggerMessages({ start, count, data }: Action, kind: 'msi' | 'msix'): number {
    const active = this.#active;
    const mine = active?.kind === kind ? active : undefined;
    if (mine !== undefined && count === 0 && data.kind === 'none') {
      mine.stop();
      this.#active = undefined;
      return 0;
    }
    if (mine === undefined && active !== undefined) return -ERRNO.EINVAL;
    if (data.kind === 'eventfd') {
      return mine === undefined ? this.#enable(kind, start, data.fds) : mine.setBlock(start, data.fds);
    }
    if (mine === undefined) return -ERRNO.EINVAL;
    for (let i = 0; i < count; i++) if (data.kind === 'none' || data.values[i] !== 0) mine.signal(start + i);
    return 0;
  }
  #enable(kind: 'msi' | 'msix', start: number, fds: readonly number[]): number {
    const messages = Messages.enable(this.#open, kind, start + fds.length);
    if (typeof messages === 'number') return messages;
    this.#active = messages;
    if (kind === 'msi') this.#msiOrder = Math.ceil(Math.log2(start + fds.length));
    const rc = messages.setBlock(start, fds);
    if (rc === 0) return 0;
    messages.stop();
    this.#active = undefined;
    return rc;
  }

  /** The indexes of one interrupt each: errors, and requests to give the device back. */
  #triggerSingle({ start, count, data }: Action, isError: boolean): number {
    if (start !== 0 || count > 1) return -ERRNO.EINVAL;
    const trigger = isError ? this.#error : this.#request;
    if (data.kind === 'none') {
      if (trigger === undefined) return -ERRNO.EINVAL;
      if (count === 0) return this.#setSingle(isError, undefined);
      trigger.signal();
      return 0;
    }
    if (count === 0) return -ERRNO.EINVAL;
    if (data.kind === 'bool') {
      if (data.values[0] !== 0) trigger?.signal();
      return 0;
    }
    const fd = data.fds[0] ?? -1;
    if (fd === -1) return this.#setSingle(isError, undefined);
    if (fd < 0) return -ERRNO.EINVAL;
    const file = eventfdOf(this.#open.process, fd);
    if (typeof file === 'number') return file;
    return this.#open.kernel.allocates() ? this.#setSingle(isError, file) : -ERRNO.ENOMEM;
  }
  #setSingle(isError: boolean, file: EventFile | undefined): number {
    if (isError) this.#error = file;
    else this.#request = file;
    return 0;
  }
}
