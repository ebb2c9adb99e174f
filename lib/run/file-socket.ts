// A file of the emulated machine in programs: their fds are a socket to here. The kernel below us closes, duplicates, inherits
// and passes it on; when the last fd is gone, the socket ends, and the file is closed. While there is something to
// read, a byte lies in the socket, so that programs can wait for it however they like.
import type { Socket } from 'node:net';
import type { OpenFile } from '../emulated/kernel/file.js';

/** Bytes that lie in sockets count up to here. */
const SIGNS = 256;

export class FileSocket {
  readonly #socket: Socket;
  #file: OpenFile | undefined;
  /** Whether a byte lies there. */
  #signed = false;
  /** Which one: of two readers one may take the byte that is not its own. */
  #sign = 0;
  readonly #waiter = (): void => {
    this.update();
    // Who wakes us may be about to add what there is to read.
    setImmediate(() => this.update());
  };

  constructor(
    readonly inode: bigint,
    socket: Socket,
  ) {
    this.#socket = socket;
  }

  get file(): OpenFile | undefined {
    return this.#file;
  }
  /** From now on the socket stands for this file; takes its reference over. */
  become(file: OpenFile): void {
    this.#file = file;
    file.waiters.add(this.#waiter);
    // What cannot be waited for is always ready (DEFAULT_POLLMASK).
    if (file.readable() === undefined) this.#write();
    else this.update();
  }
  /** Puts the byte there once there is something to read. */
  update(): void {
    if (this.#signed || this.#file?.readable() !== true) return;
    this.#signed = true;
    this.#sign = (this.#sign + 1) % SIGNS;
    this.#write();
  }
  /** A reader took a byte that was not the one meant: it lies there again, if it is to. */
  putBack(): void {
    if (this.#signed && this.#file?.readable() === true) this.#write();
  }
  /** The byte that lies there, or lay there last. */
  get sign(): number {
    return this.#sign;
  }
  #write(): void {
    this.#socket.write(Buffer.of(this.#sign));
  }
  /** After a read: what the reader is to do about the byte. */
  afterRead(): 'drain' | 'empty' | 'leave' {
    if (this.#file?.readable() !== false) return 'leave';
    if (!this.#signed) return 'empty';
    this.#signed = false;
    return 'drain';
  }

  /** The last fd of it is gone. */
  close(): void {
    const file = this.#file;
    this.#file = undefined;
    file?.waiters.remove(this.#waiter);
    file?.release();
  }
}
