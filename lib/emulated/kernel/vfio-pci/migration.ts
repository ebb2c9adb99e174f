// Migration as a variant driver of Linux would do it (mlx5, hisilicon) for a function whose state can be taken out and put
// back. The stream is states one behind the other, each complete: the last one counts. While the device still runs, a first
// one is sent, and another whenever it changed.
import { ERRNO } from '../../../uapi/errno.js';
import { vfio_device_mig_state, vfio_migration_flags } from '../../../uapi/vfio-constants.js';
import type { OpenFile } from '../file.js';
import type { Process } from '../process.js';
import type { MigrationOps } from '../vfio/driver.js';
import { type PrecopyInfo, ResumingFile, type SavingDevice, SavingFile } from '../vfio/migration-file.js';
import { goThroughStates, type Traveller } from '../vfio/migration-states.js';
import type { MigrationHardware } from './function.js';

const STATE = vfio_device_mig_state.values;
const FLAGS = vfio_migration_flags.values;

/** What a state starts with in the stream: a mark, and how many bytes follow. */
const MARK = 0x6d69_6772;
const HEADER_SIZE = 8;
/** Bytes of a stream that is taken in. */
const LARGEST_STREAM = 64 * 1024 * 1024;

/** States in which the device is at work, and may do DMA. */
const WORKING: ReadonlySet<number> = new Set([STATE.VFIO_DEVICE_STATE_RUNNING, STATE.VFIO_DEVICE_STATE_PRE_COPY]);
const COPYING_BEFORE: ReadonlySet<number> = new Set([
  STATE.VFIO_DEVICE_STATE_PRE_COPY,
  STATE.VFIO_DEVICE_STATE_PRE_COPY_P2P,
]);

function record(state: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(HEADER_SIZE + state.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, MARK, true);
  view.setUint32(4, state.length, true);
  bytes.set(state, HEADER_SIZE);
  return bytes;
}
/** The last state of a stream; undefined where it is none, or not all of it is there. */
function lastState(stream: Uint8Array): Uint8Array | undefined {
  const view = new DataView(stream.buffer, stream.byteOffset, stream.length);
  let state: Uint8Array | undefined;
  for (let at = 0; at < stream.length; ) {
    if (at + HEADER_SIZE > stream.length || view.getUint32(at, true) !== MARK) return undefined;
    const start = at + HEADER_SIZE;
    at = start + view.getUint32(at + 4, true);
    if (at > stream.length) return undefined;
    state = stream.subarray(start, at);
  }
  return state;
}
function equal(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && one.every((byte, i) => byte === other[i]);
}

export class Migration implements MigrationOps, Traveller, SavingDevice {
  readonly flags: number;
  state: number = STATE.VFIO_DEVICE_STATE_RUNNING;
  precopyInfoV2 = false;
  readonly #hardware: MigrationHardware;
  readonly #process: Process;
  #saving: SavingFile | undefined;
  #resuming: ResumingFile | undefined;
  /** What was sent last, and how many of the bytes that wait came after the first state. */
  #sent = new Uint8Array(0);
  #dirty = 0;

  constructor(hardware: MigrationHardware, process: Process) {
    this.#hardware = hardware;
    this.#process = process;
    const p2p = hardware.p2p ? FLAGS.VFIO_MIGRATION_P2P : 0;
    this.flags = FLAGS.VFIO_MIGRATION_STOP_COPY | p2p | (hardware.preCopy ? FLAGS.VFIO_MIGRATION_PRE_COPY : 0);
  }

  setState(state: number): OpenFile | undefined | number {
    return goThroughStates(this, state);
  }
  dataSize(): bigint {
    return BigInt(HEADER_SIZE + this.#hardware.save().length);
  }
  /** The device was reset, or is closed: whatever was under way is over, and it runs. */
  reset(): void {
    this.#endStreams();
    if (!WORKING.has(this.state)) this.#hardware.start();
    this.state = STATE.VFIO_DEVICE_STATE_RUNNING;
  }

  step(from: number, to: number): OpenFile | undefined | number {
    if (from === STATE.VFIO_DEVICE_STATE_RESUMING) {
      const rc = this.#load();
      if (rc < 0) return rc;
    }
    if (WORKING.has(from) && !WORKING.has(to)) this.#hardware.stop();
    const file = this.#stream(from, to);
    if (!WORKING.has(from) && WORKING.has(to)) this.#hardware.start();
    return file;
  }
  /** Starts a stream, goes on with it, or ends it, as the state to come has one. */
  #stream(from: number, to: number): OpenFile | undefined {
    if (to === STATE.VFIO_DEVICE_STATE_RESUMING) {
      this.#resuming = new ResumingFile(LARGEST_STREAM);
      return this.#resuming.hold();
    }
    const copies = COPYING_BEFORE.has(to) || to === STATE.VFIO_DEVICE_STATE_STOP_COPY;
    if (!copies) {
      this.#endStreams();
      return undefined;
    }
    const isNew = this.#saving === undefined;
    this.#saving ??= new SavingFile(this.#process, this);
    // The state in which the device stopped is sent in any case.
    if (isNew || !COPYING_BEFORE.has(to)) this.#send(this.#saving);
    if (isNew) this.#dirty = 0;
    return isNew && !COPYING_BEFORE.has(from) ? this.#saving.hold() : undefined;
  }
  #send(file: SavingFile): void {
    this.#sent = this.#hardware.save().slice();
    const bytes = record(this.#sent);
    file.append(bytes);
    this.#dirty += bytes.length;
  }
  #load(): number {
    const state = lastState(this.#resuming?.state ?? new Uint8Array(0));
    return state !== undefined && this.#hardware.load(state) ? 0 : -ERRNO.EINVAL;
  }
  #endStreams(): void {
    for (const file of [this.#saving, this.#resuming]) {
      file?.disable();
      file?.release();
    }
    this.#saving = undefined;
    this.#resuming = undefined;
  }

  /** What changed since the last state was sent is there to be read from now on. */
  precopyInfo(): PrecopyInfo | number {
    const file = this.#saving;
    if (!COPYING_BEFORE.has(this.state) || file === undefined) return -ERRNO.EINVAL;
    if (file.left === 0) {
      this.#dirty = 0;
      if (!equal(this.#hardware.save(), this.#sent)) this.#send(file);
    }
    const dirty = Math.min(this.#dirty, file.left);
    return { initial: BigInt(file.left - dirty), dirty: BigInt(dirty) };
  }
  /** While the device still runs there may be more. */
  atEnd(): number {
    return COPYING_BEFORE.has(this.state) ? -ERRNO.ENOMSG : 0;
  }
}
