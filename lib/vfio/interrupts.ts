// The interrupts of one index of a device: on and off, eventfds of the library's own or of the caller's. What the kernel
// does with them is drivers/vfio/pci/vfio_pci_intrs.c.
import { checkOptions, oneOf, toU32 } from '../host/arguments.js';
import { IommufdError, invalidType, outOfRange, UsageError } from '../host/errors.js';
import { checkEventfd, deviceEventfd, type EventfdLike, eventfdNumber } from '../host/eventfd.js';
import { refusal } from '../objects/call.js';
import * as uapi from '../uapi/vfio.js';
import type { DeviceCore } from './core.js';
import { InterruptVector } from './interrupt-vector.js';
import { actOnIrqs, bindIrqs, type IrqAction, type IrqAnswer, type IrqInfo, readIrqInfo } from './irq-calls.js';
import { closeWire, Wires } from './wires.js';

const PCI = uapi.vfio_pci_irq_index.values;
const INDEXES = {
  intx: PCI.VFIO_PCI_INTX_IRQ_INDEX,
  msi: PCI.VFIO_PCI_MSI_IRQ_INDEX,
  msix: PCI.VFIO_PCI_MSIX_IRQ_INDEX,
  error: PCI.VFIO_PCI_ERR_IRQ_INDEX,
  request: PCI.VFIO_PCI_REQ_IRQ_INDEX,
} as const;

/** The interrupt indexes of a PCI device. */
export type InterruptName = keyof typeof INDEXES;

const NAMES = Object.keys(INDEXES) as InterruptName[];
/** The most vectors that MSI-X has: PCI's limit. */
const MOST = 2048;
const EINVAL = -22;
const ENOSPC = -28;
const SET_IRQS = uapi.VFIO_DEVICE_SET_IRQS.name;

/** The number of an interrupt index, by name or number. */
export function interruptIndex(which: InterruptName | number): number {
  if (typeof which === 'number') return toU32(which, 'interrupts');
  return INDEXES[oneOf(which, NAMES, 'interrupts')];
}

export interface EnableInterruptsOptions {
  /** The first interrupt to turn on; 0 if left out. */
  readonly start?: number;
  /** How many; all from `start` on if left out. */
  readonly count?: number;
}

export interface ConnectInterruptsOptions {
  /** The interrupt that the first eventfd is for; 0 if left out. */
  readonly start?: number;
}

/**
 * One interrupt index of a device: `nic.interrupts('msix')`. INTx, MSI and MSI-X exclude each other: turn one off before
 * another is turned on. All of them go with the device.
 */
export class VfioInterrupts {
  /** The index's number. */
  readonly index: number;
  /** Its name on a PCI device ('msix'), or 'interrupt 7'. */
  readonly name: string;
  readonly #core: DeviceCore;
  readonly #info: IrqInfo;
  readonly #wires = new Wires();
  readonly #part = { close: () => this.#closed() };
  /** How many vectors the kernel set aside when the index was turned on. */
  #size: number | undefined;
  #unmasker: EventfdLike | undefined;

  /** Not for callers: use `nic.interrupts`. */
  constructor(core: DeviceCore, index: number) {
    this.#core = core;
    this.index = index;
    this.name = NAMES.find((name) => INDEXES[name] === index) ?? `interrupt ${index}`;
    this.#info = readIrqInfo(core, index, `${this.name} of ${core.name}`);
  }

  /** How many interrupts it has; 0 where the device has none of the kind. */
  get count(): number {
    return this.#info.count;
  }
  /** Whether they can be connected to eventfds. */
  get eventfd(): boolean {
    return this.#info.eventfd;
  }
  /** Whether `mask` and `unmask` work: of PCI devices, INTx alone. */
  get maskable(): boolean {
    return this.#info.maskable;
  }
  /** Whether each masks itself when it comes, and stays so until `unmask`: INTx. */
  get automasked(): boolean {
    return this.#info.automasked;
  }
  /** Whether more can be turned on while some are: MSI-X, where the platform can (Linux 6.5). Else: all at once. */
  get resizable(): boolean {
    return this.#info.resizable;
  }

  /**
   * Turns interrupts on, each with an eventfd that the library makes and owns (VFIO_DEVICE_SET_IRQS, Linux 3.6). INTx masks
   * itself each time it comes: have the device take its interrupt back, then `unmask`.
   * @throws RangeError; UsageError ERR_IOMMUFD_UNAVAILABLE (the device has none of the kind), ERR_IOMMUFD_BUSY (one of them
   * is on); IommufdError EINVAL (another index is on; more than there are on, where they are not `resizable`), ENOSPC (the
   * machine has too few vectors), EMFILE. Then none of them is on
   */
  enable(options: EnableInterruptsOptions = {}): InterruptVector[] {
    checkOptions(options, ['start', 'count']);
    const { start: from = 0, count: wanted } = options;
    const first = toU32(from, 'start');
    const { start, count } = this.#range(first, wanted ?? Math.max(this.count - first, 1));
    this.#core.check();
    const numbers = Array.from({ length: count }, (_, i) => start + i);
    const used = numbers.find((number) => this.#wires.has(number));
    if (used !== undefined) {
      throw new UsageError(
        'ERR_IOMMUFD_BUSY',
        `${this.#describe(used)} is on already: disable() turns all of them off`,
      );
    }
    const vectors = this.#makeVectors(numbers);
    // Before the kernel is asked: listeners to traces run before it has told us.
    for (const vector of vectors) this.#wires.set(vector.index, vector.eventfd, vector);
    this.#core.add(this.#part);
    const fds = vectors.map(({ eventfd }) => eventfd.fd);
    try {
      this.#connect(start, fds);
    } catch (error) {
      for (const { index, eventfd } of vectors) this.#wires.drop(index, eventfd);
      this.#settle();
      throw error;
    }
    if (vectors.some(({ eventfd }) => eventfd.closed)) throw this.#turnedOff();
    return vectors;
  }

  /**
   * Connects interrupts to eventfds of the caller's: a VMM gives KVM the same ones (irqfd), and interrupts go to the guest
   * without this process. They stay the caller's; vectors of `enable` that are replaced are closed.
   * @param eventfds one an interrupt; undefined or -1 disconnects it
   * @throws as `enable`; IommufdError EBADF (no such fd), EINVAL (not an eventfd); after a refusal none of the range is
   * connected
   */
  connect(eventfds: readonly (EventfdLike | undefined)[], options: ConnectInterruptsOptions = {}): void {
    checkOptions(options, ['start']);
    if (!Array.isArray(eventfds)) throw invalidType('eventfds', 'an array', eventfds);
    const { start, count } = this.#range(options.start ?? 0, eventfds.length);
    const targets = Array.from({ length: count }, (_, i) => toTarget(eventfds[i], `eventfds[${i}]`));
    this.#core.check();
    const fds = targets.map((target, i) => this.#numberOf(target, `eventfds[${i}]`));
    const before = targets.map((_, i) => this.#wires.take(start + i));
    for (const [i, eventfd] of targets.entries()) if (eventfd !== undefined) this.#wires.set(start + i, eventfd);
    this.#core.add(this.#part);
    try {
      this.#connect(start, fds);
    } catch (error) {
      for (const [i, eventfd] of targets.entries()) if (eventfd !== undefined) this.#wires.drop(start + i, eventfd);
      // The kernel has let go of some that were connected, and does not tell which.
      if (before.some((wire) => wire !== undefined)) this.#letGo(start, count);
      this.#settle();
      throw error;
    } finally {
      for (const wire of before) closeWire(wire);
    }
  }

  /**
   * Makes interrupts come without the device, as if it had sent them: to test what waits for them. Those that are not
   * connected stay silent; INTx does not mask itself for it.
   * @throws IommufdError EINVAL (the index is off)
   */
  trigger(start = 0, count = 1): void {
    this.#act('trigger', start, count);
  }
  /**
   * Holds an interrupt back until `unmask`.
   * @throws IommufdError ENOTTY (it cannot be masked: `maskable`), EINVAL (the index is off)
   */
  mask(start = 0, count = 1): void {
    this.#act('mask', start, count);
  }
  /** Lets it come again; one that the device has raised meanwhile comes at once. @throws as `mask` */
  unmask(start = 0, count = 1): void {
    this.#act('unmask', start, count);
  }

  /**
   * Unmasks INTx whenever this eventfd is signalled: KVM's resample eventfd, with which a guest that acknowledges its
   * interrupt needs no help of this process. undefined takes it back.
   * @throws IommufdError EBUSY (there is one already: take it back first), ENOTTY (no such thing here), EINVAL (the
   * index is off; not an eventfd), EBADF
   */
  unmaskOn(eventfd: EventfdLike | undefined): void {
    const target = toTarget(eventfd, 'eventfd');
    this.#core.check();
    const range = { index: this.index, start: 0, count: 1 };
    this.#checkAnswer(bindIrqs(this.#core, 'unmask', range, [this.#numberOf(target, 'eventfd')]));
    this.#unmasker = target;
  }

  /** Turns all of the index off, and closes the vectors of `enable`. Twice is fine. */
  disable(): void {
    this.#core.check();
    this.#forget();
    const answer = actOnIrqs(this.#core, 'trigger', { index: this.index, start: 0, count: 0 });
    // EINVAL: nothing of it is on.
    if (answer.result !== EINVAL) this.#checkAnswer(answer);
  }

  toJSON(): Record<string, unknown> {
    const { name, index, count, maskable, automasked, resizable } = this;
    const state = { connected: this.#wires.numbers, unmaskedByEventfd: this.#unmasker !== undefined };
    return { type: 'VfioInterrupts', name, index, count, maskable, automasked, resizable, ...state };
  }

  #describe(number?: number): string {
    return `${this.name}${number === undefined ? '' : ` ${number}`} of ${this.#core.name}`;
  }
  #turnedOff(): UsageError {
    return new UsageError('ERR_IOMMUFD_DESTROYED', `${this.#describe()} was turned off while it was turned on`);
  }

  #range(first: number, wanted: number): { start: number; count: number } {
    const start = toU32(first, 'start');
    const count = toU32(wanted, 'count');
    const { count: all } = this.#info;
    if (all === 0) {
      throw new UsageError('ERR_IOMMUFD_UNAVAILABLE', `${this.#core.name} has no ${this.name} interrupts`);
    }
    if (start >= all) throw outOfRange('start', `below ${all}`, start);
    const most = Math.min(all - start, MOST);
    if (count < 1 || count > most) throw outOfRange('count', `between 1 and ${most}`, count);
    return { start, count };
  }

  #makeVectors(numbers: readonly number[]): InterruptVector[] {
    const vectors: InterruptVector[] = [];
    try {
      for (const number of numbers) {
        const eventfd = deviceEventfd(this.#core.seam, this.#describe(number));
        vectors.push(new InterruptVector(number, eventfd, this));
      }
    } catch (error) {
      for (const { eventfd } of vectors) eventfd.close();
      throw error;
    }
    return vectors;
  }

  #numberOf(target: EventfdLike | undefined, name: string): number {
    return target === undefined ? -1 : eventfdNumber(target, this.#core.seam, name);
  }

  #connect(start: number, fds: readonly number[]): void {
    const before = this.#size;
    // Before the kernel is asked: a listener to traces may turn all of it off.
    this.#size ??= start + fds.length;
    const answer = bindIrqs(this.#core, 'trigger', { index: this.index, start, count: fds.length }, fds);
    if (answer.result !== 0) this.#size = before;
    this.#checkAnswer(answer);
  }
  #act(action: IrqAction, first: number, wanted: number): void {
    const { start, count } = this.#range(first, wanted);
    this.#checkAnswer(actOnIrqs(this.#core, action, { index: this.index, start, count }));
  }

  #checkAnswer(answer: IrqAnswer): void {
    const { result, input } = answer;
    if (result === 0) return;
    const { VFIO_DEVICE_SET_IRQS: op } = uapi;
    if (result < 0) throw refusal(this.#core, op, result, input, this.#why(answer));
    // vfio-pci answers how many vectors it could have had, and has turned none on.
    const few = `only ${result} of ${input.start + input.count} vectors can be had`;
    throw new IommufdError(SET_IRQS, ENOSPC, { ...input }, `${this.#describe()}: ${few}`);
  }
  #why({ result, input }: IrqAnswer): string {
    const { start, count } = input;
    const beyond = this.#size !== undefined && start + count > this.#size;
    if (result !== EINVAL || !beyond || this.resizable) return this.#describe();
    return (
      `${this.#describe()} was turned on with ${this.#size} vectors, and cannot have more while it is on: disable() it, ` +
      'then turn all of them on at once'
    );
  }

  #letGo(start: number, count: number): void {
    if (this.#core.closed) return;
    const none = Array.from({ length: count }, () => -1);
    bindIrqs(this.#core, 'trigger', { index: this.index, start, count }, none);
  }
  /** After a refusal: where the index is off, the device's end is no concern of it. */
  #settle(): void {
    if (this.#wires.size === 0 && this.#size === undefined) this.#core.remove(this.#part);
  }

  #forget(): void {
    this.#wires.clear();
    this.#size = undefined;
    this.#unmasker = undefined;
    this.#core.remove(this.#part);
  }

  /** The device is being closed: that turns its interrupts off, unless the file is somebody else's and stays open. */
  #closed(): void {
    this.#forget();
    if (this.#core.owned) return;
    const port = { seam: this.#core.seam, fd: this.#core.fd };
    actOnIrqs(port, 'trigger', { index: this.index, start: 0, count: 0 });
  }
}

function toTarget(value: EventfdLike | undefined, name: string): EventfdLike | undefined {
  return value === undefined || value === -1 ? undefined : checkEventfd(value, name);
}
