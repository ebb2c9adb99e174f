// Interrupts as a driver has them: turned on, raised, masked and unmasked in every way, with few calls that make no sense.
import { VFIO_DEVICE_IOEVENTFD, vfio_irq_set_flags } from '../../../../lib/uapi/index.js';
import { type DeviceFile, isSerial, REGION_SPAN, type VfioSession } from '../session.js';
import { setIrqsOf } from './interrupts.js';
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
const CONFIG = 7 * REGION_SPAN;

function turnOn(s: VfioSession): void {
  const file = s.file();
  if (file === undefined) return;
  const index = s.random.pick([0, 0, 0, 1]);
  const tail = [s.random.percent(90) ? s.event('trigger') : -1];
  setIrqsOf(s, file, { values: { flags: EVENTFD | TRIGGER, index, start: 0, count: 1 }, tail });
}
function turnOff(s: VfioSession): void {
  const file = s.file();
  if (file === undefined) return;
  const index = s.random.below(2);
  setIrqsOf(s, file, { values: { flags: NONE | TRIGGER, index, start: 0, count: 0 }, tail: [] });
}

/** Masking, unmasking and firing: at once, as a byte says, or whenever an eventfd is signalled. */
function act(s: VfioSession): void {
  const { random } = s;
  const file = s.file();
  if (file === undefined) return;
  const action = random.pick([MASK, UNMASK, UNMASK, TRIGGER]);
  const data = random.pick(action === UNMASK ? [NONE, BOOL, EVENTFD] : [NONE, BOOL]);
  const fd = random.percent(80) ? s.event('unmask') : -1;
  const tail = data === EVENTFD ? [fd] : Uint8Array.from({ length: data === BOOL ? 1 : 0 }, () => random.below(2));
  const index = action === TRIGGER ? random.below(2) : 0;
  setIrqsOf(s, file, { values: { flags: data | action, index, start: 0, count: 1 }, tail });
}
function signalUnmask(s: VfioSession): void {
  s.signal(s.event('unmask'));
}
function signalWrite(s: VfioSession): void {
  s.signal(s.event('io'));
}

function line(s: VfioSession): void {
  const file = s.pci();
  if (file === undefined) return;
  const [register, bits] = s.random.percent(60) ? [0x60, s.random.pick([1, 2])] : [0x64, s.random.pick([1, 3, 3])];
  s.machine.pwrite(file, `0:${register.toString(16)}`, register, word(bits, 4));
}
function command(s: VfioSession): void {
  const file = s.pci();
  if (file === undefined) return;
  s.machine.pwrite(file, 'command', CONFIG + 4, word(s.random.pick([0x006, 0x006, 0x002, 0x402, 0x406]), 2));
  s.machine.pread(file, 'command', CONFIG + 4, 4);
}
/** Registers that may be written at any time, and with what. */
const WIRES: readonly [readonly [number, bigint], ...(readonly [number, bigint])[]] = [
  [0x60, 1n],
  [0x64, 3n],
  [0x04, 0x1234n],
  [0x04, 5n],
];

/** A register that is written when an eventfd is signalled, and the same call again with none. */
function wire(s: VfioSession): void {
  const { random } = s;
  const file = s.pci();
  if (file === undefined) return;
  const [register, data] = random.pick(WIRES);
  const fd = random.percent(70) ? s.event('io') : -1;
  // Aligned: what becomes of a write that is not is the hardware's.
  const flags = register % 8 === 0 && random.percent(30) ? 8 : 4;
  const values = { flags, offset: BigInt(register), data, fd };
  s.machine.ioctl(file, VFIO_DEVICE_IOEVENTFD, { values });
}
function look(s: VfioSession): void {
  const file = s.pci();
  if (file === undefined) return;
  s.machine.pread(file, '0:24', 0x24, 4);
  s.machine.pread(file, '0:4', 4, 4);
  s.machine.pread(file, 'msi', CONFIG + 0x40, 16);
}

export const interruptLifeSteps: readonly WeightedStep[] = [
  [3, turnOn],
  [1, turnOff],
  [6, act],
  [3, signalUnmask],
  [2, signalWrite],
  [8, line],
  [2, command],
  [2, wire],
  [1, look],
];

function serialFile(s: VfioSession): DeviceFile | undefined {
  return s.file(isSerial);
}
/** Which reasons there are to interrupt, modem lines, and the FIFO. */
const ENABLES: readonly [readonly [number, number], ...(readonly [number, number])[]] = [
  [1, 1],
  [1, 2],
  [1, 4],
  [1, 8],
  [1, 15],
  [1, 0],
  [4, 3],
  [4, 8],
  [4, 0x20],
  [2, 0],
  [2, 1],
  [2, 7],
  [2, 0xc1],
];

function enable(s: VfioSession): void {
  const file = serialFile(s);
  const port = s.random.below(2);
  if (file === undefined) return;
  const [register, value] = s.random.pick(ENABLES);
  s.machine.pwrite(file, `${port}:${register}`, port * REGION_SPAN + register, word(value, 1));
}
function transfer(s: VfioSession): void {
  const file = serialFile(s);
  const port = s.random.below(2);
  if (file === undefined) return;
  const count = s.random.pick([1, 1, 2, 16]);
  const bytes = Uint8Array.from({ length: 1 }, () => s.random.below(256));
  for (let i = 0; i < count; i++) {
    if (s.random.percent(60)) s.machine.pwrite(file, `${port}:0`, port * REGION_SPAN, bytes);
    else s.machine.pread(file, `${port}:0`, port * REGION_SPAN, 1);
  }
  for (const register of [2, 5, 6]) s.machine.pread(file, `${port}:${register}`, port * REGION_SPAN + register, 1);
}

export const serialInterruptLifeSteps: readonly WeightedStep[] = [
  [3, turnOn],
  [1, turnOff],
  [5, act],
  [5, enable],
  [6, transfer],
];
