// The migration of a serial device: its states, and the streams that they open.
import {
  ERRNO,
  VFIO_DEVICE_FEATURE,
  VFIO_DEVICE_RESET,
  VFIO_MIG_GET_PRECOPY_INFO,
  vfio_device_mig_state,
} from '../../../../lib/uapi/index.js';
import { type DeviceFile, isSerial, type Stream, U32_MAX, type VfioSession } from '../session.js';
import { GET, INDEX, SET } from './features.js';
import { word } from './prepare.js';
import type { WeightedStep } from './step.js';

const STATE = INDEX.VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE;
const { VFIO_DEVICE_STATE_RESUMING: RESUMING } = vfio_device_mig_state.values;
/** Bytes of a state's header, and of each port. */
const HEADER = 24;
const PORT = 36;

/** Of any device: those that are none of these refuse. */
function setState(s: VfioSession): void {
  const { random } = s;
  const file = random.percent(95) ? s.file(isSerial) : s.pci();
  if (file === undefined || s.streams.length > 8) return;
  const state = random.percent(96) ? random.below(8) : random.pick([8, 9, U32_MAX]);
  const tail = [state, random.pick([-1, 0, 5])];
  const argsz = random.percent(95) ? undefined : random.pick([8, 12, 15, 20]);
  const struct = { values: { flags: STATE | SET }, tail, fdAt: 12, argsz };
  const { result, view } = s.machine.ioctl(file, VFIO_DEVICE_FEATURE, struct);
  const fd = view.getInt32(12, true);
  if (result < 0 || fd < 0 || fd === tail[1]) return;
  const kind = state === RESUMING ? 'resuming' : 'saving';
  s.streams.push({ fd: s.machine.own(fd), name: s.name(kind), kind, role: file.role, position: 0 });
}

function getState(s: VfioSession): void {
  const file = s.file();
  if (file !== undefined) s.machine.ioctl(file, VFIO_DEVICE_FEATURE, { values: { flags: STATE | GET }, tail: [0, 7] });
}
function dataSize(s: VfioSession): void {
  const file = s.file(isSerial);
  const flags = INDEX.VFIO_DEVICE_FEATURE_MIG_DATA_SIZE | GET;
  if (file !== undefined) s.machine.ioctl(file, VFIO_DEVICE_FEATURE, { values: { flags }, tail: new Uint8Array(8) });
}
function precopyInfoV2(s: VfioSession): void {
  const file = s.file(isSerial);
  const flags = INDEX.VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2 | SET;
  if (file !== undefined) s.machine.ioctl(file, VFIO_DEVICE_FEATURE, { values: { flags }, tail: [] });
}

function stream(s: VfioSession, kind?: Stream['kind']): Stream | undefined {
  const likely = s.random.percent(95) ? s.streams.filter((one) => kind === undefined || one.kind === kind) : s.streams;
  return s.random.percent(70) ? likely.at(-1) : s.random.pick(likely);
}

function precopyInfo(s: VfioSession): void {
  const file = stream(s);
  if (file === undefined) return;
  const argsz = s.random.percent(85) ? undefined : s.random.pick([0, 8, 16, 23, 32]);
  s.machine.ioctl(file, VFIO_MIG_GET_PRECOPY_INFO, { values: { flags: s.random.below(2) }, argsz });
}

function readStream(s: VfioSession): void {
  const file = stream(s, 'saving');
  if (file === undefined) return;
  const bytes = s.machine.read(file, s.random.pick([1, 8, 24, 40, 96, 200, 200, 500]));
  if (bytes.length === HEADER + 2 * PORT) s.saved.push(bytes);
}

/** What was saved, or something like it. Places in a port's FIFO stay within it: Linux's sample believes what it is sent. */
function someState(s: VfioSession): Uint8Array {
  const { random } = s;
  const bytes = (random.pick(s.saved) ?? plainState()).slice();
  if (random.percent(15)) {
    const at = random.below(HEADER);
    bytes[at] = (bytes[at] ?? 0) ^ 1;
  }
  for (const port of [HEADER, HEADER + PORT]) {
    if (random.percent(30)) bytes[port + random.below(24)] = random.below(256);
    if (random.percent(10)) bytes[port + 26] = random.below(17);
  }
  return bytes;
}
/** Two ports that were never touched. */
function plainState(): Uint8Array {
  const bytes = new Uint8Array(HEADER + 2 * PORT);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, 0x7e9d_0989_8c3e_2c4en, true);
  view.setUint32(8, 1, true);
  view.setUint32(16, 2, true);
  for (const port of [HEADER, HEADER + PORT]) bytes[port + 33] = 16;
  return bytes;
}

function writeStream(s: VfioSession): void {
  const { random } = s;
  const file = stream(s, 'resuming');
  if (file === undefined) return;
  const state = someState(s);
  const whole = random.percent(70) ? state.length : random.pick([0, 1, 8, HEADER, HEADER + 1, HEADER + PORT]);
  // What comes next of a state: elsewhere its bytes would mean something else.
  const part = state.subarray(file.position, Math.max(file.position, whole));
  const bytes = random.percent(92) ? part : new Uint8Array([...state.subarray(file.position), 0]);
  const result = s.machine.write(file, bytes);
  // A header that is refused was taken all the same.
  if (result >= 0 || result === -ERRNO.EFAULT) file.position += bytes.length;
}

/** From one device to the other: what it has is what the other one gets. */
function migrate(s: VfioSession): void {
  const files = s.files.filter((file) => isSerial(file) && file.bound);
  const [from, to] = [s.random.pick(files), s.random.pick(files)];
  if (from === undefined || to === undefined) return;
  for (const file of [from, to]) resetSerial(s, file);
  const saving = changeState(s, from, 3);
  const bytes = saving === undefined ? undefined : s.machine.read(saving, 200);
  changeState(s, from, 2);
  const resuming = changeState(s, to, 4);
  if (resuming !== undefined && bytes !== undefined) {
    s.machine.write(resuming, s.random.percent(50) ? bytes : someState(s));
  }
  changeState(s, to, 2);
  for (const file of [saving, resuming]) if (file !== undefined) s.machine.close(file);
}
function changeState(s: VfioSession, file: DeviceFile, state: number) {
  const struct = { values: { flags: STATE | SET }, tail: [state, -1], fdAt: 12 };
  const { result, view } = s.machine.ioctl(file, VFIO_DEVICE_FEATURE, struct);
  const fd = view.getInt32(12, true);
  return result < 0 || fd < 0 ? undefined : { fd: s.machine.own(fd), name: s.name('stream') };
}
function resetSerial(s: VfioSession, file: DeviceFile): void {
  s.machine.ioctlValue(file, 'VFIO_DEVICE_RESET', VFIO_DEVICE_RESET.request, 0);
}
function resetMigration(s: VfioSession): void {
  const file = s.file(isSerial);
  if (file !== undefined) resetSerial(s, file);
}

function closeStream(s: VfioSession): void {
  const [file] = s.streams.splice(s.random.below(s.streams.length), 1);
  if (file !== undefined) s.machine.close(file);
}
/** What makes no sense on a stream, or only at one end of it. */
function oddAccess(s: VfioSession): void {
  const file = stream(s);
  if (file === undefined) return;
  const accesses = [
    () => s.machine.pread(file, '0', 0, 8),
    () => s.machine.pwrite(file, '0', 0, word(1, 8)),
    () => s.machine.read(file, 0),
    () => s.machine.ioctlValue(file, 'VFIO_DEVICE_RESET', VFIO_DEVICE_RESET.request, 0),
  ];
  s.random.pick(accesses)?.();
}

export const migrationSteps: readonly WeightedStep[] = [
  [10, setState],
  [2, getState],
  [1, dataSize],
  [1, precopyInfoV2],
  [3, precopyInfo],
  [5, readStream],
  [5, writeStream],
  [2, migrate],
  [1, resetMigration],
  [2, closeStream],
  [1, oddAccess],
];
