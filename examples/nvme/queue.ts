// A pair of NVMe queues: commands go in, completions come out, both rings in memory that the controller reaches.
import { COMMAND_SIZE } from './commands.js';
import type { Page } from './pages.js';
import type { Registers } from './registers.js';

const COMPLETION_SIZE = 16;
/** Entries of each ring: as many commands as a page has. One stays empty, so that full and empty differ. */
export const ENTRIES = 64;

interface Pending {
  readonly resolve: (result: number) => void;
  readonly reject: (error: Error) => void;
}

export class QueuePair {
  readonly #registers: Registers;
  readonly #pending = new Map<number, Pending>();
  #tail = 0;
  #head = 0;
  /** Completions of this round through the ring have this bit set, those of the round before have it the other way. */
  #phase = 1;
  #lastId = 0;

  constructor(
    /** 0 is the admin queue. */
    readonly id: number,
    readonly submission: Page,
    readonly completion: Page,
    registers: Registers,
  ) {
    this.#registers = registers;
  }

  /** Hands a command to the controller, and answers the first word of its completion. */
  submit(command: Uint8Array): Promise<number> {
    if (this.#pending.size === ENTRIES - 1) return Promise.reject(new Error(`queue ${this.id} is full`));
    const id = this.#freeId();
    const bytes = Uint8Array.from(command);
    new DataView(bytes.buffer).setUint16(2, id, true);
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
      this.submission.write(this.#tail * COMMAND_SIZE, bytes);
      this.#tail = (this.#tail + 1) % ENTRIES;
      // The command is in memory before the doorbell rings: writes of registers are ordered after those to memory.
      this.#registers.ringSubmission(this.id, this.#tail);
    });
  }

  /** Takes what has completed: called when the queue's interrupt came. */
  reap(): void {
    const before = this.#head;
    for (;;) {
      const bytes = this.completion.read(this.#head * COMPLETION_SIZE, COMPLETION_SIZE);
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
      const status = view.getUint16(14, true);
      if ((status & 1) !== this.#phase) break;
      this.#settle(view.getUint16(12, true), status >> 1, view.getUint32(0, true));
      this.#head = (this.#head + 1) % ENTRIES;
      if (this.#head === 0) this.#phase ^= 1;
    }
    if (this.#head !== before) this.#registers.ringCompletion(this.id, this.#head);
  }

  /** Nothing will complete any more. */
  fail(error: Error): void {
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
  }

  #freeId(): number {
    do this.#lastId = (this.#lastId + 1) % 0x10000;
    while (this.#pending.has(this.#lastId));
    return this.#lastId;
  }

  #settle(id: number, status: number, result: number): void {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    // Bits 0 to 7 are the status code, 8 to 10 its type; the others say whether to try again.
    const code = status & 0x7ff;
    if (code === 0) pending?.resolve(result);
    else
      pending?.reject(
        new Error(`the controller refused a command: status type ${code >> 8}, code 0x${(code & 0xff).toString(16)}`),
      );
  }
}
