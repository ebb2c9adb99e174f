// A file that a call on a device has made: a stream of its state, a dma-buf. It is closed with the device, by its owner,
// or when it was collected.
import { destroyed, IommufdError } from '../host/errors.js';
import type { Seam } from '../host/seam.js';
import type { DeviceCore, Part } from './core.js';

const collected = new FinalizationRegistry<{ seam: Seam; fd: number; what: string }>(({ seam, fd, what }) => {
  process.emitWarning(`${what} was collected without close(): its fd was closed`, { code: 'IOMMUFD_COLLECTED' });
  seam.close(fd);
});

export class OwnedFile implements Part {
  readonly #core: DeviceCore;
  readonly #fd: number;
  readonly #what: string;
  readonly #beforeClose: () => void;
  #open = true;

  /**
   * Takes an fd that the kernel has just handed out; where that fails, nothing is left open.
   * @param beforeClose what must go before the fd does: a watch
   */
  constructor(core: DeviceCore, fd: number, what: string, beforeClose: () => void = () => undefined) {
    const owned = core.seam.own(fd);
    if (owned < 0) throw new IommufdError('fcntl', owned, { fd });
    this.#core = core;
    this.#fd = fd;
    this.#what = `${what} of ${core.name}`;
    this.#beforeClose = beforeClose;
    if (core.closed) {
      // A listener to traces closed the device after the call that made the file.
      core.seam.close(fd);
      core.checkOpen();
    }
    core.add(this);
    collected.register(this, { seam: core.seam, fd, what: this.#what }, this);
  }

  get open(): boolean {
    return this.#open;
  }

  /** Its number may be another file's once this is closed, so then it throws. */
  get fd(): number {
    if (!this.#open) throw destroyed(this.#what);
    return this.#fd;
  }

  /** Twice is fine. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    collected.unregister(this);
    this.#core.remove(this);
    this.#beforeClose();
    const rc = this.#core.seam.close(this.#fd);
    if (rc < 0) throw new IommufdError('close', rc, { fd: this.#fd });
  }
}
