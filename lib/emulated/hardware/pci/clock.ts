// Time on an emulated machine: work that devices do later. It moves with the turns of the event loop, and with accesses to
// registers, so that a program that polls without giving the loop a turn sees the device go on.
import type { ModelFaults } from '../../memory/faults.js';

/** Accesses to a device's BARs until what it does is done. */
export const ACCESSES = 8;

interface Task {
  readonly work: () => void;
  accesses: number;
}

export class DeviceClock {
  readonly #faults: ModelFaults;
  readonly #tasks: Task[] = [];
  #scheduled = false;
  #paused = false;

  constructor(faults: ModelFaults) {
    this.#faults = faults;
  }

  later(work: () => void): void {
    this.#tasks.push({ work, accesses: ACCESSES });
    this.#schedule();
  }
  #schedule(): void {
    if (this.#scheduled || this.#paused || this.#tasks.length === 0) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#turn();
    });
  }

  /** What was asked for before this turn is done; work that asks for more gets another turn. */
  #turn(): void {
    if (!this.#paused) this.#run(this.#tasks.length);
    this.#schedule();
    // Nobody called: it is an uncaught exception.
    this.#faults.settle();
  }
  #run(count: number): void {
    for (const { work } of this.#tasks.splice(0, count)) this.#faults.guard(work, undefined);
  }

  /** A register was accessed. */
  access(): void {
    if (this.#paused) return;
    let due = 0;
    for (const task of this.#tasks) if (--task.accesses <= 0) due++;
    if (due > 0) this.#run(due);
  }
  /** The device stands still, and goes on where it was. */
  pause(): void {
    this.#paused = true;
  }
  resume(): void {
    this.#paused = false;
    this.#schedule();
  }
  /** Nothing of it will be done. */
  forget(): void {
    this.#tasks.length = 0;
  }
}
