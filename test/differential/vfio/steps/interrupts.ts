// VFIO_DEVICE_SET_IRQS, eventfds that wake the kernel, and registers that are written when one does.
import {
  VFIO_DEVICE_IOEVENTFD,
  VFIO_DEVICE_SET_IRQS,
  vfio_device_ioeventfd,
  vfio_irq_set,
  vfio_irq_set_flags,
  vfio_pci_irq_index,
} from '../../../../lib/uapi/index.js';
import type { Handle } from '../machine.js';
import { type DeviceFile, isSerial, REGION_SPAN, U32_MAX, type VfioSession } from '../session.js';
import { word } from './prepare.js';
import type { WeightedStep } from './step.js';

const {
  VFIO_IRQ_SET_DATA_NONE: NONE,
  VFIO_IRQ_SET_DATA_BOOL: BOOL,
  VFIO_IRQ_SET_DATA_EVENTFD: EVENTFD,
  VFIO_IRQ_SET_ACTION_MASK: MASK,
  VFIO_IRQ_SET_ACTION_UNMASK: UNMASK,
  VFIO_IRQ_SET_ACTION_TRIGGER: TRIGGER,
} = vfio_irq_set_flags.values;
const { VFIO_PCI_INTX_IRQ_INDEX: INTX, VFIO_PCI_MSI_IRQ_INDEX: MSI } = vfio_pci_irq_index.values;

/** Files whose INTx is on, as far as is known. */
const withIntx = new WeakSet<DeviceFile>();

/**
 * A device asks for no interrupt when INTx or MSI is turned on: QEMU's IOAPIC does not see a line that went up before
 * anybody cared, and its edu's line stays down after MSI, where hardware's would be up in both cases.
 */
function lowerLine(s: VfioSession, file: DeviceFile, index: number): void {
  if (isSerial(file) || index > MSI || (index === INTX && withIntx.has(file))) return;
  s.machine.pwrite(file, '0:64', 0x64, word(U32_MAX, 4));
}

interface IrqCall {
  readonly values: { readonly flags: number; readonly index: number; readonly start: number; readonly count: number };
  readonly tail: readonly (number | Handle)[] | Uint8Array;
  readonly argsz?: number | undefined;
}

/** One VFIO_DEVICE_SET_IRQS. */
export function setIrqsOf(s: VfioSession, file: DeviceFile, struct: IrqCall): void {
  const { flags, index, count } = struct.values;
  lowerLine(s, file, index);
  const { result } = s.machine.ioctl(file, VFIO_DEVICE_SET_IRQS, struct);
  if (result < 0 || index !== INTX) return;
  if (flags === (EVENTFD | TRIGGER) && count === 1) withIntx.add(file);
  else if (count === 0) withIntx.delete(file);
}

/** What is connected to eventfds, as far as it goes: turning it on, first of all. */
function connect(s: VfioSession): void {
  const file = s.file();
  if (file === undefined) return;
  const index = s.random.pick([0, 0, 1, 1, 2, 3, 4]);
  const values = { flags: EVENTFD | TRIGGER, index, start: 0, count: 1 };
  setIrqsOf(s, file, { values, tail: [s.event('trigger')] });
}

function setIrqs(s: VfioSession): void {
  const { random } = s;
  const file = s.file();
  if (file === undefined) return;
  const data = random.percent(95) ? random.pick([NONE, BOOL, EVENTFD, EVENTFD]) : random.below(8);
  const action = random.percent(95) ? random.pick([MASK, UNMASK, TRIGGER, TRIGGER]) : random.below(8) << 3;
  const flags = data | action | (random.percent(2) ? 0x40 : 0);
  const count = random.weighted([
    [70, 1],
    [20, 0],
    [6, 2],
    [2, 33],
    [2, U32_MAX],
  ]);
  const start = random.percent(90) ? 0 : random.pick([1, 2, 32, U32_MAX]);
  const elements = Math.min(count, 64);
  const kind = action === UNMASK || action === MASK ? 'unmask' : 'trigger';
  const fds = (): readonly (number | Handle)[] => Array.from({ length: elements }, () => s.eventFd(kind));
  const bools = () => Uint8Array.from({ length: elements }, () => random.below(2));
  const tail = data === EVENTFD ? fds() : data === BOOL ? bools() : [];
  const argsz = s.argsz(vfio_irq_set.size + (data === EVENTFD ? 4 * tail.length : tail.length));
  const values = { flags, index: s.index(random.below(2), 6), start, count };
  setIrqsOf(s, file, { values, tail, argsz });
}

function signal(s: VfioSession): void {
  const kind = s.random.pick(['unmask', 'io', 'io'] as const);
  s.signal(s.event(kind));
}

/** Registers of edu that may be written at any time with anything. Its DMA is another step's, and its factorial. */
const SAFE = [0x00, 0x04, 0x20, 0x24, 0x60, 0x60, 0x64, 0x0c, 0x78, 0xa0, 0xf_fff8];
const BAR_SIZE = 0x10_0000;

function ioeventfd(s: VfioSession): void {
  const { random } = s;
  const file = s.file();
  if (file === undefined) return;
  const flags = random.percent(92) ? random.pick([1, 2, 4, 4, 4, 8]) : random.pick([0, 3, 5, 15, 0x10, 0x14]);
  const odd = random.percent(90) ? 0 : random.below(8);
  const region = random.percent(88) ? 0 : random.pick([1, 6, 7, 8, 9]);
  const place = random.percent(95)
    ? (random.pick(SAFE) ?? 0) + odd
    : random.pick([BAR_SIZE, BAR_SIZE - 4, BAR_SIZE - 1]);
  // What becomes of a write that is not aligned is the hardware's.
  const aligned = place + 8 > BAR_SIZE ? place : place - (place % Math.max(flags & 15, 1));
  const values = {
    flags,
    offset: BigInt(region * REGION_SPAN + aligned),
    data: BigInt(random.pick([0, 1, 0x100, 0x80, U32_MAX])),
    fd: s.eventFd('io'),
    reserved: random.percent(97) ? 0 : 1,
  };
  s.machine.ioctl(file, VFIO_DEVICE_IOEVENTFD, { values, argsz: s.argsz(vfio_device_ioeventfd.size) });
}

export const interruptSteps: readonly WeightedStep[] = [
  [6, connect],
  [10, setIrqs],
  [4, signal],
  [4, ioeventfd],
];
