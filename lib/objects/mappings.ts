// Which ranges of an IOAS this process mapped, and the memory behind each: the memory must stay while the kernel may
// still pin it, and dirty tracking needs to know where the holes are.
import { U64_MAX } from '../host/arguments.js';
import type { MemoryHold } from '../host/memory.js';

/** For memory that the caller of an unsafe call keeps. */
export const CALLERS: MemoryHold = { release: () => undefined, share: () => CALLERS };
/** For a file that the caller of an unsafe call keeps: it is mapped by the file, not by an address of this process. */
export const CALLERS_FILE: MemoryHold = { release: () => undefined, share: () => CALLERS_FILE };

/** IOVAs and lengths below 2^53 are numbers here, others bigint: numbers are much faster, and few values are larger. */
export type Compact = number | bigint;

/** One mapping. */
export class Mapping {
  constructor(
    /** Its IOVA. */
    readonly start: Compact,
    /** Its length. */
    readonly size: Compact,
    /** Undefined where the memory belongs to somebody else (a file that was mapped by fd). */
    readonly hold: MemoryHold | undefined,
    /** Where it starts in its memory, bytes. */
    readonly offset = 0,
    /** What devices may do: the kernel's flags of mapping. */
    readonly access = 0,
    /** Whether the kernel knows the memory by its address in this process, not by its file. */
    readonly byAddress = false,
  ) {}
  get iova(): bigint {
    return BigInt(this.start);
  }
  get length(): bigint {
    return BigInt(this.size);
  }
}

/** A stretch of IOVAs that is mapped from end to end. */
export interface MappedRun {
  readonly iova: bigint;
  readonly length: bigint;
}

export function compact(value: bigint): Compact {
  return value <= 0x1f_ffff_ffff_ffffn ? Number(value) : value;
}

/** No count of removals: what was noted then may have been unmapped since. */
const NEVER = -1;
/** Places kept at least for mappings to come. */
const SPARE = 1024;

export class MappingTable {
  /**
   * Undefined where a mapping was: IOVAs are used again and again, and a Map that is added to and deleted from in turn
   * is rebuilt every few steps.
   */
  readonly #byIova = new Map<Compact, Mapping | undefined>();
  /** How many mappings went since the last sweep. */
  #gone = 0;
  #generation = 0;
  /** What an unmapping that failed half-way may have unmapped, or not. */
  readonly #suspects = new Set<Mapping>();
  /** What may have been unmapped before it was noted; its IOVA may be another mapping's by now. Suspects too. */
  readonly #overtaken = new Set<Mapping>();
  #removals = 0;
  #closed = false;
  #keepsAddresses = false;

  /** `complete`: nobody else maps there, so what is not in the table is not mapped. */
  constructor(readonly complete = true) {}

  /** Changes with every mapping and unmapping. */
  get generation(): number {
    return this.#generation;
  }
  /** Changes with every unmapping. */
  get removals(): number {
    return this.#removals;
  }
  get size(): number {
    return this.#live().length;
  }

  /** Notes a mapping. `since`: `removals` as they were before the kernel was asked, where code of others ran since. */
  add(mapping: Mapping, since = this.#removals): void {
    if (this.#closed) {
      this.#release(mapping);
      return;
    }
    if (since !== this.#removals) {
      this.#overtaken.add(mapping);
      this.#suspects.add(mapping);
      this.#generation++;
      return;
    }
    if (this.#suspects.size > 0) this.#forgetStale(mapping);
    // The kernel has nothing else there: somebody else unmapped what is noted there.
    const before = this.#byIova.get(mapping.start);
    if (before !== undefined) this.#forget(before);
    this.#byIova.set(mapping.start, mapping);
    this.#generation++;
  }

  /** Notes a mapping of the process before; one that is not sure may be gone. */
  restore({
    iova,
    length,
    hold,
    offset,
    access,
    sure,
  }: Omit<Mapping, 'start' | 'size' | 'byAddress'> & { readonly sure: boolean }): void {
    const mapping = new Mapping(compact(iova), compact(length), hold, offset, access);
    this.add(mapping, sure ? this.#removals : NEVER);
  }

  /**
   * Unmapping this range failed, maybe half-way: what lies inside may be gone from the kernel. It is forgotten when
   * something else is mapped in its place; until then its memory stays.
   */
  doubt(iova: bigint, length: bigint): void {
    this.#removals++;
    for (const mapping of this.#inside(iova, length)) this.#suspects.add(mapping);
    this.#generation++;
  }

  /** Forgets what lay inside the range, and lets its memory go. */
  remove(start: Compact, size: Compact): void {
    this.#generation++;
    this.#removals++;
    const exact = this.#byIova.get(start);
    if (exact !== undefined && exact.size === size && this.#overtaken.size === 0) {
      this.#forget(exact);
      return;
    }
    if (start === 0 && size === U64_MAX) {
      this.releaseAll();
      return;
    }
    for (const mapping of this.#inside(BigInt(start), BigInt(size))) this.#forget(mapping);
  }

  /** Lets everything go, and whatever is added later at once: the address space is gone. */
  close(): void {
    this.#closed = true;
    this.releaseAll();
  }

  releaseAll(): void {
    this.#generation++;
    this.#removals++;
    this.#suspects.clear();
    const all = this.#live();
    this.#byIova.clear();
    this.#overtaken.clear();
    this.#gone = 0;
    for (const mapping of all) this.#release(mapping);
  }

  /** All mappings, and whether each is surely there. */
  entries(): readonly { readonly mapping: Mapping; readonly sure: boolean }[] {
    return this.#live().map((mapping) => ({ mapping, sure: !this.#suspects.has(mapping) }));
  }

  /** Mappings that touch the range, in the order of their IOVAs. */
  within(iova: bigint, length: bigint): Mapping[] {
    const end = iova + length;
    return this.#live()
      .filter((mapping) => mapping.iova < end && mapping.iova + mapping.length > iova)
      .sort((a, b) => (a.iova < b.iova ? -1 : 1));
  }

  /**
   * The parts of the range that are mapped, neighbours joined; what may be a hole is not joined with what is not. Where
   * somebody else mapped, all of the range is taken to be mapped: that is for the caller to know.
   */
  runs(iova: bigint, length: bigint): MappedRun[] {
    if (!this.complete) return [{ iova, length }];
    const end = iova + length;
    const runs: { iova: bigint; length: bigint }[] = [];
    let joinable = false;
    for (const mapping of this.within(iova, length)) {
      const start = mapping.iova > iova ? mapping.iova : iova;
      const stop = mapping.iova + mapping.length < end ? mapping.iova + mapping.length : end;
      const last = runs.at(-1);
      const sure = !this.#suspects.has(mapping) && mapping.hold?.revocable !== true;
      if (last !== undefined && joinable && sure && last.iova + last.length === start) last.length += stop - start;
      else runs.push({ iova: start, length: stop - start });
      joinable = sure;
    }
    return runs;
  }

  /** Mappings that lie wholly inside the range. */
  #inside(iova: bigint, length: bigint): Mapping[] {
    const end = iova + length;
    return this.#live().filter((mapping) => mapping.iova >= iova && mapping.iova + mapping.length <= end);
  }

  #live(): Mapping[] {
    return [...this.#byIova.values(), ...this.#overtaken].filter((mapping) => mapping !== undefined);
  }

  /** Forgets what cannot be mapped any more, since something else is mapped in its place. */
  #forgetStale({ iova, length }: Mapping): void {
    for (const suspect of this.#suspects) {
      if (suspect.iova < iova + length && suspect.iova + suspect.length > iova) this.#forget(suspect);
    }
  }

  /**
   * Somebody else may map, unmap and copy with the same file: what is noted here may not be what is so, and the kernel may
   * know an address that this table has forgotten. Memory that was mapped by its address is never let go from now on.
   */
  keepAddresses(): void {
    this.#keepsAddresses = true;
  }
  #release(mapping: Mapping): void {
    if (!(this.#keepsAddresses && mapping.byAddress)) mapping.hold?.release();
  }

  #forget(mapping: Mapping): void {
    if (!this.#overtaken.delete(mapping)) {
      this.#byIova.set(mapping.start, undefined);
      this.#gone++;
    }
    // A sweep visits all places, so it waits for a good part of them.
    if (this.#gone > SPARE && this.#gone > this.#byIova.size / 2) this.#sweep();
    if (this.#suspects.size > 0) this.#suspects.delete(mapping);
    this.#release(mapping);
  }

  #sweep(): void {
    for (const [start, mapping] of this.#byIova) if (mapping === undefined) this.#byIova.delete(start);
    this.#gone = 0;
  }
}
