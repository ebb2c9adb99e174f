// An NVMe controller's registers and doorbells (NVM Express Base Specification 1.4, section 3.1).
import { setTimeout as pause } from 'node:timers/promises';
import type { MmioRegion } from 'iommufd';

const CAPABILITIES = 0x00;
const CONFIGURATION = 0x14;
const STATUS = 0x1c;
const ADMIN_QUEUE_SIZES = 0x24;
const ADMIN_SUBMISSION_QUEUE = 0x28;
const ADMIN_COMPLETION_QUEUE = 0x30;
const DOORBELLS = 0x1000;

const READY = 1 << 0;
const FATAL = 1 << 1;
const SHUT_DOWN = 2 << 2;
const SHUTDOWN_MASK = 3 << 2;

const ENABLE = 1 << 0;
const SHUT_DOWN_NORMALLY = 1 << 14;
/** Entries of submission queues have 2^6 bytes, of completion queues 2^4; pages have 4 KiB (0), commands are NVM's (0). */
const ENTRY_SIZES = (6 << 16) | (4 << 20);

/** Bytes of the registers that this driver uses: doorbells of the first queues included. */
export const REGISTERS_SIZE = 0x2000;

export class Registers {
  readonly #mmio: MmioRegion;
  readonly #doorbellStride: number;
  readonly #patience: number;
  /** Entries that a queue may have at most. */
  readonly mostEntries: number;

  constructor(mmio: MmioRegion) {
    this.#mmio = mmio;
    const capabilities = mmio.read64(CAPABILITIES);
    this.mostEntries = Number(capabilities & 0xffffn) + 1;
    // Told in steps of 500 ms.
    this.#patience = Number((capabilities >> 24n) & 0xffn) * 500;
    this.#doorbellStride = 4 << Number((capabilities >> 32n) & 0xfn);
  }

  /** Off, and on again with these admin queues. */
  async start(entries: number, submission: bigint, completion: bigint): Promise<void> {
    await this.stop();
    this.#mmio.write32(ADMIN_QUEUE_SIZES, (entries - 1) | ((entries - 1) << 16));
    this.#mmio.write64(ADMIN_SUBMISSION_QUEUE, submission);
    this.#mmio.write64(ADMIN_COMPLETION_QUEUE, completion);
    this.#mmio.write32(CONFIGURATION, ENTRY_SIZES | ENABLE);
    await this.#until('ready', (status) => (status & READY) !== 0);
  }

  /** Off: the controller forgets its queues, and touches memory no more. */
  async stop(): Promise<void> {
    this.#mmio.write32(CONFIGURATION, 0);
    await this.#until('off', (status) => (status & READY) === 0);
  }

  /** Lets the controller write out what it keeps. */
  async shutDown(): Promise<void> {
    this.#mmio.write32(CONFIGURATION, ENTRY_SIZES | ENABLE | SHUT_DOWN_NORMALLY);
    await this.#until('shut down', (status) => (status & SHUTDOWN_MASK) === SHUT_DOWN);
  }

  /** Tells that a submission queue has entries up to here. */
  ringSubmission(queue: number, tail: number): void {
    this.#mmio.write32(DOORBELLS + 2 * queue * this.#doorbellStride, tail);
  }
  /** Tells that the entries of a completion queue up to here were seen. */
  ringCompletion(queue: number, head: number): void {
    this.#mmio.write32(DOORBELLS + (2 * queue + 1) * this.#doorbellStride, head);
  }

  async #until(what: string, holds: (status: number) => boolean): Promise<void> {
    const deadline = Date.now() + this.#patience;
    for (;;) {
      const status = this.#mmio.read32(STATUS);
      if (holds(status)) return;
      if ((status & FATAL) !== 0) throw new Error('the controller says that it has failed for good');
      if (Date.now() > deadline) throw new Error(`the controller is not ${what} after ${this.#patience} ms`);
      await pause(5);
    }
  }
}
