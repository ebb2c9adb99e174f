// Columns of numbers that grow together: what a million small records take least memory as.

type Column = Float64Array | Int32Array | Uint16Array | Uint8Array;

/** As long as `capacity`, with what was in it. */
export function grown<C extends Column>(column: C, capacity: number): C {
  const larger = new (column.constructor as new (length: number) => C)(capacity);
  larger.set(column);
  return larger;
}

/** Numbers of records: given in order, and the freed ones again, the last one first. */
export class Slots {
  #free: Int32Array = new Int32Array(8);
  #freeCount = 0;
  #next = 0;
  capacity = 0;

  /** The next slot; `grow` is told a larger capacity where that is needed. */
  take(grow: (capacity: number) => void): number {
    if (this.#freeCount > 0) return this.#free[--this.#freeCount] ?? 0;
    if (this.#next === this.capacity) {
      this.capacity = Math.max(16, Math.ceil(this.capacity * 1.5));
      grow(this.capacity);
    }
    return this.#next++;
  }
  give(slot: number): void {
    if (this.#freeCount === this.#free.length) this.#free = grown(this.#free, Math.ceil(this.#free.length * 1.5));
    this.#free[this.#freeCount++] = slot;
  }
}
