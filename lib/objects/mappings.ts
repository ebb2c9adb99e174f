// Which ranges of an IOAS this process mapped, and the memory behind each: the memory must stay while the kernel may
// still pin it, and dirty tracking needs to know where the holes are.
import { U64_MAX } from '../host/arguments.js';
import type { MemoryHold } from '../host/memory.js';

/** IOVAs below 2^53 are numbers here, others bigint: a Map finds numbers much faster, and few IOVAs are larger. */
export type IovaKey = number | bigint;

export interface Mapping {
  readonly iova: bigint;
  readonly length: bigint;
  /** Undefined where the memory belongs to somebody else (a file that was mapped by fd). */
  readonly hold: MemoryHold | undefined;
}

/** A stretch of IOVAs that is mapped from end to end. */
export interface MappedRun {
  readonly iova: bigint;
  readonly length: bigint;
}

export function iovaKey(iova: bigint): IovaKey {
  return iova <= 0x1f_ffff_ffff_ffffn ? Number(iova) : iova;
}

export class MappingTable {
  readonly #byIova = new Map<IovaKey, Mapping>();
  #generation = 0;

  /** Changes with every mapping and unmapping. */
  get generation(): number {
    return this.#generation;
  }
  get size(): number {
    return this.#byIova.size;
  }

  add(mapping: Mapping): void {
    this.#byIova.set(iovaKey(mapping.iova), mapping);
    this.#generation++;
  }

  /** Forgets what lay inside the range, and lets its memory go. */
  remove(iova: bigint, length: bigint): void {
    this.#generation++;
    const key = iovaKey(iova);
    const exact = this.#byIova.get(key);
    if (exact !== undefined && exact.length === length) {
      this.#byIova.delete(key);
      exact.hold?.release();
      return;
    }
    if (iova === 0n && length === U64_MAX) {
      this.releaseAll();
      return;
    }
    const end = iova + length;
    for (const [inner, mapping] of this.#byIova) {
      if (mapping.iova < iova || mapping.iova + mapping.length > end) continue;
      this.#byIova.delete(inner);
      mapping.hold?.release();
    }
  }

  releaseAll(): void {
    this.#generation++;
    const all = [...this.#byIova.values()];
    this.#byIova.clear();
    for (const mapping of all) mapping.hold?.release();
  }

  /** Mappings that touch the range, in the order of their IOVAs. */
  within(iova: bigint, length: bigint): Mapping[] {
    const end = iova + length;
    return [...this.#byIova.values()]
      .filter((mapping) => mapping.iova < end && mapping.iova + mapping.length > iova)
      .sort((a, b) => (a.iova < b.iova ? -1 : 1));
  }

  /** The parts of the range that are mapped, neighbours joined. */
  runs(iova: bigint, length: bigint): MappedRun[] {
    const end = iova + length;
    const runs: { iova: bigint; length: bigint }[] = [];
    for (const mapping of this.within(iova, length)) {
      const start = mapping.iova > iova ? mapping.iova : iova;
      const stop = mapping.iova + mapping.length < end ? mapping.iova + mapping.length : end;
      const last = runs.at(-1);
      if (last !== undefined && last.iova + last.length === start) last.length += stop - start;
      else runs.push({ iova: start, length: stop - start });
    }
    return runs;
  }
}
