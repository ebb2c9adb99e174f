// A queue that stays quick at any length: what was taken from its front is dropped now and then, not every time.

/** Slots taken at the front before the rest moves up, at least. */
const SLACK = 1024;

export class Fifo<T> {
  #items: (T | undefined)[] = [];
  #head = 0;

  get length(): number {
    return this.#items.length - this.#head;
  }
  get first(): T | undefined {
    return this.#items[this.#head];
  }
  push(item: T): void {
    this.#items.push(item);
  }
  shift(): T | undefined {
    const item = this.first;
    if (item === undefined) return undefined;
    this.#items[this.#head++] = undefined;
    if (this.#head >= SLACK && this.#head * 2 >= this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }
  /** Takes out all that match, in order. */
  take(matches: (item: T) => boolean): T[] {
    const items = this.#items.slice(this.#head).filter((item) => item !== undefined);
    this.#items = items.filter((item) => !matches(item));
    this.#head = 0;
    return items.filter(matches);
  }
}
