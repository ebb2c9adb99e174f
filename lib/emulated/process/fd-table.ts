// The file descriptors of the process on an emulated machine. The numbers lie above those of any real file, so that mixing
// them up is EBADF.
import { ERRNO } from '../../uapi/errno.js';
import type { OpenFile } from '../kernel/file.js';
import type { FileTable } from '../kernel/process.js';

/** The first made-up fd. */
const FIRST_FD = 2 ** 30;

interface Entry {
  readonly file: OpenFile;
  /** Whether a holder answers for closing it: what an ioctl has just made has none yet. */
  owned: boolean;
}

export class FdTable implements FileTable {
  readonly #entries: (Entry | undefined)[] = [];
  /** No index below this one is free. */
  #lowest = 0;
  #open = 0;
  #owned = 0;

  /** `limit`: RLIMIT_NOFILE. */
  constructor(readonly limit: number) {}

  /** How many have a holder. */
  get owned(): number {
    return this.#owned;
  }
  /** How many are open. */
  get open(): number {
    return this.#open;
  }

  get(fd: number): OpenFile | undefined {
    return this.#entries[fd - FIRST_FD]?.file;
  }
  install(file: OpenFile): number {
    if (this.#open >= this.limit) return -ERRNO.EMFILE;
    let index = this.#lowest;
    while (this.#entries[index] !== undefined) index++;
    this.#entries[index] = { file, owned: false };
    this.#lowest = index + 1;
    this.#open++;
    return FIRST_FD + index;
  }
  /** `install`, with a holder. */
  installOwned(file: OpenFile): number {
    const fd = this.install(file);
    if (fd >= 0) this.own(fd);
    return fd;
  }

  own(fd: number): number {
    const entry = this.#entries[fd - FIRST_FD];
    if (entry === undefined) return -ERRNO.EBADF;
    if (entry.owned) return -ERRNO.EEXIST;
    entry.owned = true;
    this.#owned++;
    return 0;
  }
  disown(fd: number): number {
    const entry = this.#entries[fd - FIRST_FD];
    if (entry?.owned !== true) return -ERRNO.EBADF;
    entry.owned = false;
    this.#owned--;
    return 0;
  }
  /** Closes an fd that has a holder. */
  close(fd: number): number {
    const rc = this.disown(fd);
    if (rc < 0) return rc;
    const index = fd - FIRST_FD;
    const file = this.#entries[index]?.file;
    this.#entries[index] = undefined;
    this.#lowest = Math.min(this.#lowest, index);
    this.#open--;
    file?.release();
    return 0;
  }
}
