// What device models threw: a model is a program of its own, called in the middle of the kernel's work. That work is done to its
// end, and the system call that led to it throws.

export class ModelFaults {
  #kept: unknown[] = [];

  get pending(): boolean {
    return this.#kept.length > 0;
  }
  /** Calls a model; what it throws is kept, and the answer is `otherwise`. */
  guard<T>(work: () => T, otherwise: T): T {
    try {
      return work();
    } catch (error) {
      this.#kept.push(error);
      return otherwise;
    }
  }
  /** Throws what was kept. */
  settle(): void {
    if (!this.pending) return;
    const errors = this.#kept;
    this.#kept = [];
    if (errors.length === 1) throw errors[0];
    throw new AggregateError(errors, 'models of devices threw several errors');
  }
}
