// Domain ids of a unit: the lowest free one is next. 0 is nobody's, and 1 is for what needs no id of its own
// (FLPT_DEFAULT_DID of intel/iommu.h).
import { DOMAIN_IDS } from '../registers.js';

const FIRST = 2;

export class DomainIds {
  readonly #taken = new Set<number>();
  /** None below is free. */
  #lowest = FIRST;

  /** -1 where all are taken. */
  take(): number {
    while (this.#taken.has(this.#lowest)) this.#lowest++;
    if (this.#lowest >= DOMAIN_IDS) return -1;
    this.#taken.add(this.#lowest);
    return this.#lowest++;
  }
  give(id: number): void {
    this.#taken.delete(id);
    this.#lowest = Math.min(this.#lowest, id);
  }
}
