// MSI and MSI-X vectors, each with the eventfd that it signals (the MSI half of vfio_pci_intrs.c). Vectors of MSI are there
// from the start; those of MSI-X can be added one by one.
import { ERRNO } from '../../../uapi/errno.js';
import type { EventFile } from '../event-file.js';
import type { OpenFunction } from './open-function.js';
import { eventfdOf } from './virqfd.js';

export class Messages {
  readonly kind: 'msi' | 'msix';
  readonly #open: OpenFunction;
  readonly #triggers = new Map<number, EventFile>();
  /** Vectors that the hardware has been given. */
  #count: number;

  private constructor(open: OpenFunction, kind: 'msi' | 'msix', count: number) {
    this.#open = open;
    this.kind = kind;
    this.#count = count;
    open.hardware.setVectors(kind, count);
  }

  /** Turns vectors on; -EINVAL where another kind is, -ERANGE for none at all, -ENOMEM. */
  static enable(open: OpenFunction, kind: 'msi' | 'msix', count: number): Messages | number {
    if (open.interrupts.kind !== undefined) return -ERRNO.EINVAL;
    if (count === 0) return -ERRNO.ERANGE;
    if (!open.kernel.allocates()) return -ERRNO.ENOMEM;
    return new Messages(open, kind, count);
  }
  stop(): void {
    this.#triggers.clear();
    this.#open.hardware.setVectors(this.kind, 0);
  }

  /** A vector fires, or is made to: one without an eventfd is lost. */
  signal(vector: number): void {
    this.#triggers.get(vector)?.signal();
  }
  /** Eventfds for vectors in a row, negative numbers for none. Where one is refused, all of the row are off. */
  setBlock(start: number, fds: readonly number[]): number {
    for (const [i, fd] of fds.entries()) {
      const rc = this.#setTrigger(start + i, fd);
      if (rc === 0) continue;
      for (let vector = start; vector <= start + i; vector++) this.#triggers.delete(vector);
      return rc;
    }
    return 0;
  }
  #setTrigger(vector: number, fd: number): number {
    this.#triggers.delete(vector);
    if (fd < 0) return 0;
    if (vector >= this.#count) {
      if (this.kind === 'msi') return -ERRNO.EINVAL;
      this.#count = vector + 1;
      this.#open.hardware.setVectors(this.kind, this.#count);
    }
    if (!this.#open.kernel.allocates()) return -ERRNO.ENOMEM;
    const file = eventfdOf(this.#open.process, fd);
    if (typeof file === 'number') return file;
    this.#triggers.set(vector, file);
    return 0;
  }
}
