// Looks at mapped registers: all the time while a program writes to them, and every millisecond when it has not for a while.
import path from 'node:path';
import type { MmioMapping } from '../emulated/kernel/file.js';
import { NO_ROOM, unlessRefused } from '../emulated/remote/file-calls.js';
import { SharedRegisters } from './shared-registers.js';

/** Milliseconds after a write during which nothing else is waited for. */
const BUSY = 20;
/** Milliseconds between two looks otherwise; what a timer does at least. */
const IDLE = 1;
/** Milliseconds between two looks at registers of the device that nobody used yet. */
const ALL = 50;

interface RegisterWatchOptions {
  /** After an access to a device. */
  readonly settle: () => void;
  /** Does what may reveal a defect. */
  readonly guard: (work: () => void) => void;
}

export class RegisterWatch {
  readonly #folder: string;
  readonly #settle: RegisterWatchOptions['settle'];
  readonly #guard: RegisterWatchOptions['guard'];
  readonly #mapped = new Set<SharedRegisters>();
  #number = 0;
  #busyUntil = 0;
  #allAt = 0;
  #timer: NodeJS.Timeout | undefined;
  #turn: NodeJS.Immediate | undefined;

  constructor(folder: string, { settle, guard }: RegisterWatchOptions) {
    this.#folder = folder;
    this.#settle = settle;
    this.#guard = guard;
  }

  /** Registers for a program to map, by the number in the name of their file; undefined where there is no room for it. */
  add(
    mapping: MmioMapping,
    length: number,
  ): { readonly registers: SharedRegisters; readonly number: number } | undefined {
    const number = ++this.#number;
    const file = path.join(this.#folder, `registers-${number}`);
    const make = () => new SharedRegisters(mapping, file, length, (closed) => this.#mapped.delete(closed));
    const registers = unlessRefused(make, NO_ROOM);
    if (registers === undefined) return undefined;
    this.#mapped.add(registers);
    this.#schedule();
    return { registers, number };
  }

  /** Before a call, so that it finds what the program wrote before it. */
  look(): void {
    let written = false;
    for (const registers of this.#mapped) written = registers.look() || written;
    if (!written) return;
    this.#busyUntil = performance.now() + BUSY;
    this.show();
    this.#settle();
  }
  /** After a call, so that the program finds what it changed. */
  show(): void {
    for (const registers of this.#mapped) registers.publish();
  }
  #showAll(): void {
    const now = performance.now();
    if (now < this.#allAt) return;
    for (const registers of this.#mapped) registers.publishAll();
    this.#allAt = performance.now() + ALL;
  }
  stop(): void {
    clearTimeout(this.#timer);
    clearImmediate(this.#turn);
    this.#mapped.clear();
  }

  #schedule(): void {
    if (this.#timer !== undefined || this.#turn !== undefined) return;
    if (performance.now() < this.#busyUntil) this.#turn = setImmediate(() => this.#again());
    else this.#timer = setTimeout(() => this.#again(), IDLE);
  }
  #again(): void {
    this.#timer = undefined;
    this.#turn = undefined;
    this.#guard(() => {
      this.look();
      this.#showAll();
      this.show();
    });
    if (this.#mapped.size > 0) this.#schedule();
  }
}
