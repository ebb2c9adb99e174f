// DMA of edu, begun in a way that is safe everywhere: QEMU ends itself where a transfer leaves the device's buffer, and
// counts one of its last byte as such (docs/specs/edu in QEMU's tree, hw/misc/edu.c).
import { type DeviceFile, isSerial, type VfioSession } from '../session.js';
import { IOVA } from './files.js';
import { word } from './prepare.js';
import type { WeightedStep } from './step.js';

const CONFIG_COMMAND = 7 * 2 ** 40 + 4;
const BUFFER = 0x4_0000;
const MOST = 4095;
const [SOURCE, DESTINATION, COUNT, COMMAND] = [0x80, 0x88, 0x90, 0x98] as const;
const [TO_MEMORY, INTERRUPT] = [2, 4];

/** Files whose device has a buffer that is known to hold zeros, or what came since. */
const cleared = new WeakSet<DeviceFile>();

/** What a device reads without bus mastering is zeros: that leaves nothing of another sequence's in its buffer. */
async function clear(s: VfioSession, file: DeviceFile): Promise<void> {
  const { machine } = s;
  if (cleared.has(file)) return;
  cleared.add(file);
  machine.quietly(() => {
    machine.pwrite(file, '', CONFIG_COMMAND, word(2, 2));
    for (const [at, value] of [
      [SOURCE, Number(IOVA)],
      [DESTINATION, BUFFER],
      [COUNT, MOST],
      [COMMAND, 1],
    ] as const) {
      machine.pwrite(file, '', at, word(value, 8));
    }
  });
  await machine.until(() => (machine.peek(file, COMMAND) & 1) === 0);
}

async function dma(s: VfioSession): Promise<void> {
  const { machine, random } = s;
  const file = s.file((one) => !isSerial(one));
  if (file === undefined || !file.bound) return;
  await clear(s, file);
  if (random.percent(90)) machine.pwrite(file, 'command', CONFIG_COMMAND, word(6, 2));
  const count = random.pick([1, 4, 100, 4000, MOST]);
  const inside = BUFFER + random.below(MOST - count + 1);
  const outside = random.percent(90) ? Number(IOVA) + random.below(0x8000) : random.pick([0, 0x1000, 0xfff_fff0]);
  const command = 1 | random.pick([0, 0, TO_MEMORY, TO_MEMORY | INTERRUPT, INTERRUPT]);
  const out = (command & TO_MEMORY) !== 0;
  // All of them, or none: what an earlier transfer left there, beside the rest, might lead out of the buffer.
  const writes = [
    [SOURCE, out ? inside : outside],
    [DESTINATION, out ? outside : inside],
    [COUNT, count],
  ] as const;
  const ready = writes.every(([at, value]) => machine.pwrite(file, `0:${at.toString(16)}`, at, word(value, 8)) === 8);
  if (!ready) return;
  machine.pwrite(file, '0:98', COMMAND, word(command, 8));
  await machine.until(() => (machine.peek(file, COMMAND) & 1) === 0);
  await machine.settle();
  machine.pread(file, '0:98', COMMAND, 8);
  s.noteMemory();
}

export const dmaSteps: readonly WeightedStep[] = [[1, dma]];
