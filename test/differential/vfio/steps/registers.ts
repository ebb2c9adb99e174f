// Reading and writing regions of a device, through its file and mapped.
import { vfio_pci_region_index } from '../../../../lib/uapi/index.js';
import { type DeviceFile, isSerial, PAGE, REGION_SPAN, type VfioSession } from '../session.js';
import { word } from './prepare.js';
import type { WeightedStep } from './step.js';

const { VFIO_PCI_CONFIG_REGION_INDEX: CONFIG, VFIO_PCI_ROM_REGION_INDEX: ROM } = vfio_pci_region_index.values;
const BAR_SIZE = 0x10_0000;
/** Bytes of edu's registers that start DMA or computing: only steps that know how write them. */
const GUARDED: readonly (readonly [start: number, end: number])[] = [
  [0x08, 0x0c],
  [0x80, 0xa0],
];
/** Where edu says what its last DMA was, which another sequence began. */
const DMA_COMMAND = 0x98;

function at(region: number, offset: number): number {
  return region * REGION_SPAN + offset;
}
function where(region: number, offset: number): string {
  return `${region}:${offset.toString(16)}`;
}

/** How many bytes: mostly one access. */
function width(s: VfioSession): number {
  return s.random.percent(85) ? s.random.pick([1, 2, 4, 4, 4, 8]) : s.random.pick([0, 3, 5, 6, 7, 12, 16, 33]);
}

function configOffset(s: VfioSession): number {
  return s.random.weighted<() => number>([
    [30, () => s.random.pick([0, 4, 5, 6, 7, 0x0c, 0x0d, 0x0e, 0x10, 0x14, 0x30, 0x34, 0x3c, 0x3d])],
    [25, () => 0x40 + s.random.below(0x10)],
    [25, () => 4 * s.random.below(64)],
    [20, () => s.random.below(256)],
  ])();
}
function eduConfigOffset(s: VfioSession): number {
  return s.random.percent(96) ? configOffset(s) : s.random.pick([0x100, 0xfff, 0x1000, 0x1_0000, 2 ** 32]);
}

function readConfig(s: VfioSession): void {
  const file = s.pci();
  if (file === undefined) return;
  const offset = eduConfigOffset(s);
  const length = s.random.percent(10) ? 256 : width(s);
  s.machine.pread(file, where(CONFIG, offset), at(CONFIG, offset), length);
}

function writeConfig(s: VfioSession): void {
  const file = s.pci();
  if (file === undefined) return;
  const offset = eduConfigOffset(s);
  const bytes = s.bytes(width(s));
  s.machine.pwrite(file, where(CONFIG, offset), at(CONFIG, offset), bytes);
  s.machine.pread(file, where(CONFIG, offset & ~3), at(CONFIG, offset & ~3), 8);
}

/** Memory, bus mastering and the interrupt, as drivers turn them on and off. */
function writeCommand(s: VfioSession): void {
  const file = s.pci();
  if (file === undefined) return;
  const command = s.random.percent(75) ? s.random.pick([2, 6, 6, 0x402, 0x406]) : s.random.below(0x800);
  s.machine.pwrite(file, where(CONFIG, 4), at(CONFIG, 4), word(command, 2));
  s.machine.pread(file, where(CONFIG, 4), at(CONFIG, 4), 4);
}

function barOffset(s: VfioSession): number {
  return s.random.weighted<() => number>([
    [60, () => s.random.pick([0, 4, 8, 0x20, 0x24, 0x60, 0x64, 0x80, 0x88, 0x90])],
    [15, () => s.random.below(0x80)],
    [10, () => 0xa0 + 4 * s.random.below(0x3_0000)],
    [10, () => BAR_SIZE - s.random.below(12)],
    [5, () => s.random.pick([BAR_SIZE, BAR_SIZE + 4, 2 ** 32, 2 ** 39])],
  ])();
}
function isGuarded(offset: number, length: number): boolean {
  return GUARDED.some(([start, end]) => offset < end && offset + length > start);
}
function tellsLastDma(offset: number, length: number): boolean {
  return offset < DMA_COMMAND + 8 && offset + length > DMA_COMMAND;
}

function readBar(s: VfioSession): void {
  const file = s.pci();
  const [offset, length] = [barOffset(s), width(s)];
  if (file === undefined || tellsLastDma(offset, length)) return;
  s.machine.pread(file, where(0, offset), at(0, offset), length);
}

function writeBar(s: VfioSession): void {
  const file = s.pci();
  const [offset, bytes] = [barOffset(s), s.bytes(width(s))];
  if (file === undefined || isGuarded(offset, bytes.length)) return;
  s.machine.pwrite(file, where(0, offset), at(0, offset), bytes);
}

/** The interrupt line goes up, or down. */
function raise(s: VfioSession): void {
  const file = s.pci();
  if (file === undefined) return;
  const [register, bits] = s.random.percent(60) ? [0x60, 1 << s.random.below(4)] : [0x64, 0xffff_ffff];
  s.machine.pwrite(file, where(0, register), at(0, register), word(bits, 4));
}

async function factorial(s: VfioSession): Promise<void> {
  const file = s.pci();
  if (file === undefined) return;
  s.machine.pwrite(file, where(0, 0x20), at(0, 0x20), word(s.random.pick([0, 0x80, 0xff]), 4));
  s.machine.pwrite(file, where(0, 8), at(0, 8), word(s.random.pick([0, 1, 5, 12, 13, 20, 33, 40, 1000]), 4));
  await s.machine.until(() => (s.machine.peek(file, at(0, 0x20)) & 1) === 0);
  s.machine.pread(file, where(0, 8), at(0, 8), 4);
  s.machine.pread(file, where(0, 0x20), at(0, 0x20), 8);
}

/** Regions that are not there, or that are nothing. */
function otherRegion(s: VfioSession): void {
  const file = s.pci();
  if (file === undefined) return;
  const region = s.random.pick([1, 2, 5, ROM, 8, 9, 10, 15, 100, 8000]);
  const offset = s.random.pick([0, 4, 0x3c0, 0xfffff]);
  if (s.random.percent(60)) s.machine.pread(file, where(region, offset), at(region, offset), width(s));
  else s.machine.pwrite(file, where(region, offset), at(region, offset), s.bytes(width(s)));
}

function mmap(s: VfioSession): void {
  const { random } = s;
  const file = s.file();
  if (file === undefined) return;
  const region = random.percent(85) ? 0 : random.pick([1, ROM, CONFIG, 8, 9, 4000]);
  const offset = random.percent(75) ? 0 : PAGE * random.pick([1, 16, 254, 255, 256, 257, 0x10_0000]);
  const length = random.percent(60) ? PAGE : PAGE * random.pick([2, 16, 255, 256, 257]);
  const mapped = s.machine.map(file, where(region, offset), at(region, offset), length);
  if (mapped !== undefined) s.windows.push({ name: s.name(`${file.name} window`), region: mapped, offset });
}

/** What an access to mapped registers did: it may end in nothing, where memory is off. */
function noteAccess(s: VfioSession, what: string, access: () => number | bigint | undefined): void {
  let answer: string;
  try {
    answer = String(access());
  } catch (error) {
    answer = error instanceof Error && 'code' in error ? `threw ${error.code}` : 'threw';
  }
  s.machine.note(`${what} ${answer}`);
}

function touch(s: VfioSession): void {
  const window = s.random.pick(s.windows);
  if (window === undefined) return;
  const { region, offset } = window;
  const bits = s.random.pick([8, 16, 32, 32, 64] as const);
  const length = bits / 8;
  const place = s.random.percent(60) ? s.random.pick([0, 4, 0x20, 0x24, 0x60, 0x64]) : s.random.below(region.length);
  const aligned = place - (place % length);
  const name = `${window.name} ${aligned.toString(16)}/${bits}`;
  if (s.random.percent(60)) {
    if (tellsLastDma(offset + aligned, length)) return;
    noteAccess(s, `${name} read`, () => region[`read${bits}`](aligned));
  } else if (!isGuarded(offset + aligned, length)) {
    const value = s.random.pick([0, 1, 0x80, 0xff]);
    noteAccess(s, `${name} write ${value}`, () => {
      if (bits === 64) region.write64(aligned, BigInt(value));
      else region[`write${bits}`](aligned, value);
      return undefined;
    });
  }
}

function unmap(s: VfioSession): void {
  const [window] = s.windows.splice(s.random.below(s.windows.length), 1);
  if (window !== undefined) s.machine.note(`${window.name} unmap ${window.region.free()}`);
}

export const registerSteps: readonly WeightedStep[] = [
  [5, readConfig],
  [6, writeConfig],
  [5, writeCommand],
  [4, readBar],
  [4, writeBar],
  [6, raise],
  [1, factorial],
  [1, otherRegion],
  [3, mmap],
  [5, touch],
  [1, unmap],
];

// The serial device. Linux reads beyond its records where it is asked to (BARs from 2 on, configuration space from 0xff
// on), and takes more bytes than it was given for a BAR's address: that is not done here.

/** Registers are found by the low 16 bits of an offset. */
function portOffset(s: VfioSession): number {
  return s.random.percent(95) ? s.random.below(9) : 0x1_0000 + s.random.below(8);
}
function serialFile(s: VfioSession): DeviceFile | undefined {
  return s.file(isSerial);
}

function readPort(s: VfioSession): void {
  const file = serialFile(s);
  const [port, offset] = [s.random.below(2), portOffset(s)];
  if (file !== undefined)
    s.machine.pread(file, where(port, offset), at(port, offset), s.random.percent(85) ? 1 : width(s));
}
function writePort(s: VfioSession): void {
  const file = serialFile(s);
  const [port, offset] = [s.random.below(2), portOffset(s)];
  const bytes = s.bytes(s.random.percent(85) ? 1 : width(s));
  if (file !== undefined) s.machine.pwrite(file, where(port, offset), at(port, offset), bytes);
}
/** Bytes that come back. */
function send(s: VfioSession): void {
  const file = serialFile(s);
  if (file === undefined) return;
  const port = s.random.below(2);
  const count = s.random.pick([1, 2, 3, 16, 17]);
  for (let i = 0; i < count; i++) s.machine.pwrite(file, where(port, 0), at(port, 0), word(i + 1, 1));
}

function readSerialConfig(s: VfioSession): void {
  const file = serialFile(s);
  const [offset, length] = [configOffset(s), width(s)];
  if (file === undefined || offset + length > 0xff) return;
  s.machine.pread(file, where(CONFIG, offset), at(CONFIG, offset), length);
}
function writeSerialConfig(s: VfioSession): void {
  const file = serialFile(s);
  if (file === undefined) return;
  const offset = s.random.percent(50) ? 4 * s.random.below(64) : s.random.pick([0x10, 0x14, 0x3c, 0x1_0010, 0x100]);
  s.machine.pwrite(
    file,
    where(CONFIG, offset),
    at(CONFIG, offset),
    word(s.random.pick([0, 0xffff_ffff, 0xc000, 0x1_0003]), 4),
  );
  if (offset < 0xfc) s.machine.pread(file, where(CONFIG, offset), at(CONFIG, offset), 4);
}
function otherSerialRegion(s: VfioSession): void {
  const file = serialFile(s);
  if (file === undefined) return;
  const region = s.random.pick([6, 8, 9, 100]);
  if (s.random.percent(50)) s.machine.pread(file, where(region, 0), at(region, 0), width(s));
  else s.machine.pwrite(file, where(region, 0), at(region, 0), s.bytes(width(s)));
}

export const serialRegisterSteps: readonly WeightedStep[] = [
  [6, readPort],
  [8, writePort],
  [4, send],
  [2, readSerialConfig],
  [2, writeSerialConfig],
  [1, otherSerialRegion],
];
