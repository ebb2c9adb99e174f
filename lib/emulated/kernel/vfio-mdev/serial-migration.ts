// How the serial device migrates: its ports behind a header, all of it read while it is stopped but the header
// (samples/vfio-mdev/mtty.c).
import { ERRNO } from '../../../uapi/errno.js';
import { vfio_device_mig_state, vfio_migration_flags } from '../../../uapi/vfio-constants.js';
import type { OpenFile } from '../file.js';
import type { Kernel } from '../kernel.js';
import type { Process } from '../process.js';
import type { MigrationOps } from '../vfio/driver.js';
import { type PrecopyInfo, ResumingFile, type SavingDevice, SavingFile } from '../vfio/migration-file.js';
import { goThroughStates, type Traveller } from '../vfio/migration-states.js';
import { PORT_SIZE, type Uart } from './uart.js';

const {
  VFIO_DEVICE_STATE_RUNNING: RUNNING,
  VFIO_DEVICE_STATE_STOP_COPY: STOP_COPY,
  VFIO_DEVICE_STATE_RESUMING: RESUMING,
  VFIO_DEVICE_STATE_PRE_COPY: PRE_COPY,
  VFIO_DEVICE_STATE_PRE_COPY_P2P: PRE_COPY_P2P,
} = vfio_device_mig_state.values;
const { VFIO_MIGRATION_STOP_COPY, VFIO_MIGRATION_P2P, VFIO_MIGRATION_PRE_COPY } = vfio_migration_flags.values;

/** u64 magic, u32 major and minor version, u32 ports, u32 flags. */
const HEADER_SIZE = 24;
const MAGIC = 0x7e9d_0989_8c3e_2c4en;
const MAJOR = 1;

const isCopyingBefore = (state: number): boolean => state === PRE_COPY || state === PRE_COPY_P2P;

export class SerialMigration implements MigrationOps, SavingDevice, Traveller {
  readonly flags = VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_P2P | VFIO_MIGRATION_PRE_COPY;
  /** It outlives the file that the device was opened by. */
  state: number = RUNNING;
  precopyInfoV2 = false;
  /** Who has the device open. */
  process: Process | undefined;
  readonly #kernel: Kernel;
  readonly #ports: readonly Uart[];
  #saving: SavingFile | undefined;
  #resuming: ResumingFile | undefined;

  constructor(kernel: Kernel, ports: readonly Uart[]) {
    this.#kernel = kernel;
    this.#ports = ports;
  }

  setState(state: number): OpenFile | undefined | number {
    return goThroughStates(this, state);
  }
  dataSize(): bigint {
    return BigInt(this.#size);
  }
  get #size(): number {
    return HEADER_SIZE + this.#ports.length * PORT_SIZE;
  }
  precopyInfo(): PrecopyInfo | number {
    if (!isCopyingBefore(this.state)) return -ERRNO.EINVAL;
    return { initial: BigInt(this.#saving?.left ?? 0), dirty: 0n };
  }
  /** The device runs, and what was under way is over. Its ports stay as they are. */
  reset(): void {
    this.state = RUNNING;
    this.disableFiles();
  }

  step(from: number, to: number): OpenFile | undefined | number {
    if (to === RESUMING) return this.#resume();
    if (to === STOP_COPY || (isCopyingBefore(to) && !isCopyingBefore(from))) return this.#save(to);
    if (from === RESUMING) return this.#load();
    if (from === STOP_COPY || (isCopyingBefore(from) && !isCopyingBefore(to))) this.disableFiles();
    return undefined;
  }

  #save(to: number): OpenFile | undefined | number {
    const { process } = this;
    const before = this.#saving;
    if (before === undefined) {
      if (process === undefined || !this.#allocatesFile()) return -ERRNO.ENOMEM;
      this.#saving = new SavingFile(process, this);
      this.#saving.append(this.#header());
    }
    if (to === STOP_COPY) for (const port of this.#ports) this.#saving?.append(port.save());
    return before === undefined ? this.#saving?.hold() : undefined;
  }
  #resume(): OpenFile | number {
    if (!this.#allocatesFile()) return -ERRNO.ENOMEM;
    const check = (state: Uint8Array, before: number): boolean => {
      const isWhole = before < HEADER_SIZE && state.length >= HEADER_SIZE;
      return !isWhole || this.#header().every((byte, i) => byte === state[i]);
    };
    this.#resuming = new ResumingFile(this.#size, check);
    return this.#resuming.hold();
  }
  /** What is kept of it, and the file itself. */
  #allocatesFile(): boolean {
    return this.#kernel.allocates() && this.#kernel.allocates();
  }
  /** A header that was refused does not keep the rest from being loaded. */
  #load(): number | undefined {
    const state = this.#resuming?.state;
    // Closing the device takes the file away, in that state too: Linux does not look whether it is there.
    if (state === undefined || state.length < this.#size) return -ERRNO.EINVAL;
    this.#ports.forEach((port, i) => {
      port.load(state.subarray(HEADER_SIZE + i * PORT_SIZE));
    });
    this.disableFiles();
    return undefined;
  }
  #header(): Uint8Array {
    const bytes = new Uint8Array(HEADER_SIZE);
    const view = new DataView(bytes.buffer);
    view.setBigUint64(0, MAGIC, true);
    view.setUint32(8, MAJOR, true);
    view.setUint32(16, this.#ports.length, true);
    return bytes;
  }

  disableFiles(): void {
    const files = [this.#saving, this.#resuming];
    this.#saving = undefined;
    this.#resuming = undefined;
    for (const file of files) {
      file?.disable();
      file?.release();
    }
  }
}
