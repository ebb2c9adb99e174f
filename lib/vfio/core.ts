// What the parts of one VfioDevice share: its file, whether it may be asked, and what must go before the file is closed.
import { IommufdError, UsageError } from '../host/errors.js';
import type { Seam } from '../host/seam.js';
import type { Port } from '../objects/call.js';

/** Something of a device that must go before its file is closed: a mapped BAR, connected interrupts, a data stream. */
export interface Part {
  /** Lets go; twice is fine. */
  close(): void;
}

/** Why the memory behind a device's regions was taken away from those who look at it. */
export type MemoryLoss = 'reset' | 'memory off' | 'low power';

const collected = new FinalizationRegistry<{ seam: Seam; fd: number; owned: boolean }>(({ seam, fd, owned }) => {
  const note = owned ? 'its fd was closed' : 'its fd stays open';
  process.emitWarning(`a VfioDevice was collected without close(): ${note}`, { code: 'IOMMUFD_COLLECTED' });
  if (owned) seam.close(fd);
});

/** A device's file. Regions, interrupts and features hold it, so that the fd stays as long as one of them can be used. */
export class DeviceCore implements Port {
  readonly #parts = new Set<Part>();
  readonly #listeners = new Set<(why: MemoryLoss) => void>();
  #state: 'open' | 'bound' | 'closed' = 'open';

  /** Takes the fd over where it is owned. */
  constructor(
    readonly seam: Seam,
    readonly fd: number,
    readonly name: string,
    readonly owned: boolean,
  ) {
    collected.register(this, { seam, fd, owned }, this);
  }

  get closed(): boolean {
    return this.#state === 'closed';
  }
  get bound(): boolean {
    return this.#state === 'bound';
  }

  /** Throws unless the file is open. */
  checkOpen(): void {
    if (this.closed) throw new UsageError('ERR_IOMMUFD_DESTROYED', `${this.name} is closed`);
  }
  /** Throws unless the device can be asked about itself: until it is bound, the kernel answers EINVAL to everything. */
  check(): void {
    this.checkOpen();
    if (this.bound) return;
    throw new UsageError('ERR_IOMMUFD_UNAVAILABLE', `${this.name} is not bound to an iommufd yet: bind it first`);
  }
  markBound(): void {
    if (this.#state === 'open') this.#state = 'bound';
  }

  /** Something that goes before the file does, the newest first. */
  add(part: Part): void {
    this.#parts.add(part);
  }
  remove(part: Part): void {
    this.#parts.delete(part);
  }

  /** Tells when the memory of the device's regions is taken away; answers what stops it. */
  onMemoryLoss(listener: (why: MemoryLoss) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
  /** A reset, or memory that was turned off: mapped BARs and dma-bufs of them are dead. */
  memoryLost(why: MemoryLoss): void {
    for (const listener of [...this.#listeners]) listener(why);
  }

  /** Gives the fd back as it came, to whoever gave it: taking it over failed. */
  abandon(): void {
    if (this.closed) return;
    this.#state = 'closed';
    collected.unregister(this);
    if (this.owned) this.seam.disown(this.fd);
  }

  /** Lets all parts go, then the file. Twice is fine. */
  close(): void {
    if (this.closed) return;
    this.#state = 'closed';
    const errors: unknown[] = [];
    for (const part of [...this.#parts].reverse()) {
      try {
        part.close();
      } catch (error) {
        errors.push(error);
      }
    }
    this.#parts.clear();
    this.#listeners.clear();
    collected.unregister(this);
    const rc = this.owned ? this.seam.close(this.fd) : 0;
    if (rc < 0) errors.push(new IommufdError('close', rc, { name: this.name }));
    if (errors.length === 1) throw errors[0];
    if (errors.length > 1) throw new AggregateError(errors, `${this.name} is closed, but not all of it went well`);
  }
}
