// The state of a device as a stream of bytes that only its driver understands: read from one device, written to another.
// The files are opened by the kernel, blocking; some can be polled (drivers/vfio/pci/mlx5), some cannot and never wait
// (samples/vfio-mdev/mtty.c).
import { checkOptions, checkSignal, toBytes, toSize } from '../host/arguments.js';
import { IommufdError, outOfRange, UsageError } from '../host/errors.js';
import { refusal, tryCall } from '../objects/call.js';
import { VFIO_MIG_GET_PRECOPY_INFO, vfio_precopy_info_flags } from '../uapi/vfio.js';
import type { DeviceCore } from './core.js';
import { OwnedFile } from './owned-file.js';

export interface PrecopyInfo {
  /** About how many bytes of the first version are still to be read: better leave 'pre-copy' at 0 only. */
  readonly initialBytes: bigint;
  /** About how many bytes changed since they were read. */
  readonly dirtyBytes: bigint;
  /** Whether the first version started anew; undefined until `migration.enablePrecopyInfoV2()`. */
  readonly reinitialized: boolean | undefined;
}

export interface ChunkOptions {
  /** Bytes that one chunk has at most, 1 to 65536; 65536 if left out. */
  readonly size?: number;
  /** Ends the wait for data: the iterator then rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** Bytes moved by one call: they pass through the arena. */
const CHUNK = 65_536;
const EPERM = -1;
const EIO = -5;
const EINVAL = -22;
const ENOTTY = -25;
const ENOMSG = -42;

/** Devices whose precopy infos have flags: before that is asked for, the field holds whatever the driver left there. */
const flagged = new WeakSet<DeviceCore>();

/** From now on the flags of this device's precopy infos mean something. */
export function expectPrecopyFlags(core: DeviceCore): void {
  flagged.add(core);
}

/** Made by `migration.setState`. Ends when the device leaves the state; close it then. It closes with the device too. */
export class MigrationStream {
  /** 'save': to be read; 'load': to be written. */
  readonly direction: 'save' | 'load';
  readonly #core: DeviceCore;
  readonly #file: OwnedFile;
  /** Ends the wait for data. */
  #wake: (() => void) | undefined;

  /** Not for callers: use `migration.setState`. Takes the fd. */
  constructor(core: DeviceCore, fd: number, direction: 'save' | 'load') {
    this.#core = core;
    this.direction = direction;
    this.#file = new OwnedFile(core, fd, `the ${direction} stream`, () => this.#wake?.());
  }

  /** The fd, owned by this object, for other programs to read or write. */
  get fd(): number {
    return this.#file.fd;
  }
  get closed(): boolean {
    return !this.#file.open;
  }

  /**
   * The next bytes; none at the end. While the device is in 'pre-copy' the end is only that of what there is now: read
   * again later, and after going to 'stop-copy'. May block for as long as the device takes to save: `chunks` does not.
   * @param max bytes at most, 1 to 65536; 65536 if left out
   * @throws IommufdError ENODEV (the device left the state that the stream is for)
   */
  read(max = CHUNK): Uint8Array {
    const length = chunkSize(max, 'max');
    this.#checkDirection('save');
    const { seam } = this.#core;
    const fd = this.#file.fd;
    const { arena } = seam;
    const mark = arena.mark();
    try {
      const at = arena.take(length);
      const result = seam.read(fd, at, length);
      // What drivers answer at the end of what a running device has to give.
      if (result === ENOMSG) return new Uint8Array(0);
      if (result < 0) throw new IommufdError('migration read', result, { length });
      return arena.bytes.slice(at, at + Math.min(result, length));
    } finally {
      arena.release(mark);
    }
  }

  /**
   * All chunks until the end: the same end that `read` has, without blocking where the driver can be polled.
   * @throws what `read` throws; the signal's reason when aborted; UsageError ERR_IOMMUFD_BUSY while another one waits
   */
  async *chunks(options: ChunkOptions = {}): AsyncGenerator<Uint8Array, void, undefined> {
    checkOptions(options, ['size', 'signal']);
    const { size = CHUNK, signal } = options;
    const max = chunkSize(size, 'size');
    checkSignal(signal);
    this.#checkDirection('save');
    for (;;) {
      // Whoever takes the chunks may have aborted.
      signal?.throwIfAborted();
      // With nothing to give, a running device's file becomes readable when something changes: maybe never.
      if (this.#nothingYet()) return;
      await this.#readable(signal);
      signal?.throwIfAborted();
      const chunk = this.read(max);
      if (chunk.length === 0) return;
      yield chunk;
    }
  }

  [Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    return this.chunks();
  }

  /**
   * Writes the next bytes of a state, cut anywhere.
   * @throws IommufdError ENODEV (the device left 'resuming'), and what the driver makes of data that is not for it:
   * EINVAL, EFAULT, ENOMEM, EOPNOTSUPP
   */
  write(bytes: Uint8Array): void {
    const data = toBytes(bytes, 'bytes');
    this.#checkDirection('load');
    const fd = this.#file.fd;
    const { arena } = this.#core.seam;
    const mark = arena.mark();
    try {
      const at = arena.take(Math.min(data.length, CHUNK));
      for (let done = 0; done < data.length; ) done += this.#writeSome(fd, at, data.subarray(done, done + CHUNK), done);
    } finally {
      arena.release(mark);
    }
  }

  #writeSome(fd: number, at: number, part: Uint8Array, done: number): number {
    const { seam } = this.#core;
    seam.arena.bytes.set(part, at);
    const result = seam.write(fd, at, part.length);
    // A driver that takes nothing would be asked for ever.
    const errno = result === 0 ? EIO : result;
    if (errno < 0) throw new IommufdError('migration write', errno, { length: part.length, written: done });
    return result;
  }

  /**
   * How much there is to read before 'stop-copy' (VFIO_MIG_GET_PRECOPY_INFO, Linux 6.2).
   * @throws IommufdError EINVAL (the device is not in 'pre-copy' or 'pre-copy-p2p'), ENOTTY (it has no such states)
   */
  precopyInfo(): PrecopyInfo {
    this.#checkDirection('save');
    const { result, out } = this.#askPrecopyInfo();
    if (result < 0) throw refusal(this.#core, VFIO_MIG_GET_PRECOPY_INFO, result, {});
    const reinitialized = (out.flags & vfio_precopy_info_flags.values.VFIO_PRECOPY_INFO_REINIT) !== 0;
    return {
      initialBytes: out.initial_bytes,
      dirtyBytes: out.dirty_bytes,
      reinitialized: flagged.has(this.#core) ? reinitialized : undefined,
    };
  }

  #askPrecopyInfo() {
    return tryCall({ seam: this.#core.seam, fd: this.#file.fd }, VFIO_MIG_GET_PRECOPY_INFO, {});
  }

  /** Whether the device is in 'pre-copy', and says that it has nothing to give. */
  #nothingYet(): boolean {
    const { result, out } = this.#askPrecopyInfo();
    if (result === EINVAL || result === ENOTTY) return false;
    return result >= 0 && out.initial_bytes === 0n && out.dirty_bytes === 0n;
  }

  /** Waits until a read would not block. */
  #readable(signal: AbortSignal | undefined): Promise<void> {
    const { seam } = this.#core;
    return new Promise((resolve) => {
      if (this.#wake !== undefined) throw new UsageError('ERR_IOMMUFD_BUSY', 'somebody else waits for this stream');
      const watch = seam.watch(this.#file.fd, () => wake());
      if (typeof watch === 'number') {
        if (watch !== EPERM) throw new IommufdError('epoll_ctl', watch, { fd: this.#file.fd });
        // It cannot be polled, so it never waits. The event loop must turn all the same between gigabytes.
        setImmediate(resolve);
        return;
      }
      const wake = (): void => {
        this.#wake = undefined;
        signal?.removeEventListener('abort', wake);
        watch.close();
        resolve();
      };
      this.#wake = wake;
      signal?.addEventListener('abort', wake);
      watch.arm();
      // By a listener to traces, since it was last asked.
      if (signal?.aborted === true) wake();
    });
  }

  #checkDirection(needed: 'save' | 'load'): void {
    if (this.direction === needed) return;
    const way = needed === 'save' ? 'read' : 'written';
    throw new UsageError('ERR_IOMMUFD_UNAVAILABLE', `this ${this.direction} stream cannot be ${way}`);
  }

  /** Closes the stream; the device stays in its state. Twice is fine. */
  close(): void {
    this.#file.close();
  }
  [Symbol.dispose](): void {
    this.close();
  }

  toJSON(): Record<string, unknown> {
    return { type: 'MigrationStream', direction: this.direction, closed: this.closed };
  }
}

function chunkSize(value: number, name: string): number {
  const size = toSize(value, name);
  if (size < 1 || size > CHUNK) throw outOfRange(name, `between 1 and ${CHUNK}`, value);
  return size;
}
