// What the two kinds of event queue share (iommufd/eventq.c): an object with a file of its own, from which events are
// read. While the file is open it refers to the object, and keeps the iommufd open.
import { ERRNO } from '../../uapi/errno.js';
import { OpenFile } from './file.js';
import type { IommufdContext } from './iommufd-file.js';
import { IommufdObject } from './object-table.js';

export abstract class EventQueue extends IommufdObject {
  #file: EventFile | undefined;

  constructor(readonly context: IommufdContext) {
    super();
  }

  /** Whether there is anything to read. */
  abstract readonly pending: boolean;
  /** Fills the bytes with whole records; answers how many bytes, 0 where nothing waits, or -errno. */
  abstract readEvents(into: Uint8Array): number;
  writeEvents(_from: Uint8Array): number {
    return -ERRNO.EINVAL;
  }

  /** Gives the queue its file; answers the fd, or -errno. */
  open(): number {
    const { kernel, process } = this.context;
    if (!kernel.allocates()) return -ERRNO.ENOMEM;
    const file = new EventFile(this, () => {
      this.#file = undefined;
    });
    const fd = process.files.install(file);
    if (fd < 0) file.release();
    else this.#file = file;
    return fd;
  }
  /** Something came: whoever waits for the file hears of it. */
  protected wake(): void {
    this.#file?.waiters.wake();
  }
}

class EventFile extends OpenFile {
  readonly #queue: EventQueue;
  readonly #onClosed: () => void;

  constructor(queue: EventQueue, onClosed: () => void) {
    super();
    this.#queue = queue;
    this.#onClosed = onClosed;
    queue.users++;
    queue.context.file.hold();
  }

  override read(into: Uint8Array): number {
    return this.#queue.readEvents(into);
  }
  override write(from: Uint8Array): number {
    return this.#queue.writeEvents(from);
  }
  /** There are no positions in a queue. */
  override pread(): number {
    return -ERRNO.ESPIPE;
  }
  override pwrite(): number {
    return -ERRNO.ESPIPE;
  }
  override readable(): boolean {
    return this.#queue.pending;
  }
  protected override closed(): void {
    this.#onClosed();
    this.#queue.users--;
    this.#queue.context.file.release();
  }
}
