// What a guest calls its devices, and what the SMMU does: the registers SID_MATCH and SID_REPLACE of a virtual interface
// (tegra241-cmdqv.c).

/** The largest StreamID that SID_MATCH has room for: 20 bits. */
export const LAST_VIRTUAL_STREAM = 0xf_ffff;

const NONE = -1;

export class StreamMatches {
  readonly #match: number[];
  readonly #replace: number[];

  constructor(count: number) {
    this.#match = new Array<number>(count).fill(NONE);
    this.#replace = new Array<number>(count).fill(NONE);
  }

  /** Which pair is free; -1 where none is. */
  findFree(): number {
    return this.#match.indexOf(NONE);
  }
  set(index: number, virtual: number, physical: number): void {
    this.#match[index] = virtual;
    this.#replace[index] = physical;
  }
  clear(index: number): void {
    this.set(index, NONE, NONE);
  }

  /** What the SMMU calls the guest's stream; -1 where the guest has none of that id. All 32 bits are compared. */
  physical(virtual: number): number {
    const wanted = virtual >>> 0;
    for (let i = 0; i < this.#match.length; i++) if (this.#match[i] === wanted) return this.#replace[i] ?? NONE;
    return NONE;
  }
}
