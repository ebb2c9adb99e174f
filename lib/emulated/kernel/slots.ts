// Columns of numbers that grow together: what a million small records take least memory as.

type Column = Float64Array | Int32Array | Uint16Array | Uint8Array;

/** As long as `capacity`, with what was in it. */
export function grown<C extends Column>(column: C, capacity: number): C {
  const larger = new (column.constructor as new (length: number) => C)(capacity);
  larger.set(column);
  return larger;
}

/** Numbers of records: the ones that were freed again first, the last one of them first. */
export class Slots {
  #free: Int32Array = new Int32Array(8);
  #freeCount = 0;
  #next = 0;
  #capacity = 0;

  /** Whether the columns must grow before the next `take`. */
  get isFull(): boolean {
    return this.#freeCount === 0 && this.#next === this.#capacity;
  }
  /** Makes room; answers how many records the columns must hold from now on. */
  grow(): number {
    this.#capacity = Math.max(16, Math.ceil(this.#capacity * 1.25));
    return this.#capacity;
  }
  take(): number {
    return this.#freeCount > 0 ? (this.#free[--this.#freeCount] ?? 0) : this.#next++;
  }
  give(slot: number): void {
    if (this.#freeCount === this.#free.length) this.#free = grown(this.#free, Math.ceil(this.#free.length * 1.5));
    this.#free[this.#freeCount++] = slot;
  }
}
