// The context descriptors of a stream as the SMMU has cached them, by SubstreamID, and how they are found in a guest's tables,
// of one level or of two (SMMUv3 manual, IHI 0070, 3.3.2 and 5.3). Only what could be read and used is cached: it stays
// until CMD_CFGI_CD and its kin, whatever the guest writes. First-level descriptors are not cached.
import type { Regime } from '../armv8/regime.js';
import { FETCH } from '../table-memory.js';
import { type AddressSpace, GLOBAL } from './address-spaces.js';
import { type ContextDescriptor, decodeContext } from './context-descriptor.js';
import type { Stage2 } from './stage2.js';
import type { Ste } from './ste.js';
import type { TranslationUnit } from './translation-unit.js';

/** A cached descriptor: a guest's address space. */
export interface Context {
  readonly lower: Regime | undefined;
  readonly upper: Regime | undefined;
  readonly stalls: boolean;
  readonly records: boolean;
  /** What the TLB keeps of it. */
  readonly space: AddressSpace;
  /** What the TLB keeps for all ASIDs. */
  readonly globals: AddressSpace;
  /** In the micro TLB. */
  readonly quickTag: number;
}

/** Why there is none. */
export const NO_CONTEXT = {
  /** The first-level descriptor leads nowhere: C_BAD_SUBSTREAMID. */
  substream: 1,
  /** C_BAD_CD */
  descriptor: 2,
  /** Stage 2 refuses `address`. */
  stage2: 3,
  /** There is no memory at `address`. */
  abort: 4,
} as const;

const DONE = 0;
const DESCRIPTOR_BYTES = 64;
const FIRST_LEVEL_BYTES = 8;
const VALID = 1;
const SECOND_LEVEL_LOW = ~4095;
const SECOND_LEVEL_HIGH = 0xf_ffff;
const HIGH = 2 ** 32;
/** With more descriptors than this all of them are forgotten. */
const MOST = 1024;

export class Contexts {
  /** After a `fetch` that answered undefined: one of NO_CONTEXT, and the address that could not be read. */
  failure: number = NO_CONTEXT.descriptor;
  address = 0.5;
  readonly #unit: TranslationUnit;
  readonly #stage2: Stage2;
  readonly #ste: Ste;
  readonly #cached = new Map<number, Context>();

  constructor(unit: TranslationUnit, stage2: Stage2, ste: Ste) {
    this.#unit = unit;
    this.#stage2 = stage2;
    this.#ste = ste;
  }

  find(substream: number): Context | undefined {
    return this.#cached.get(substream);
  }
  forget(substream: number): void {
    this.#cached.delete(substream);
  }
  clear(): void {
    this.#cached.clear();
  }

  /** Reads one and caches it. */
  fetch(substream: number): Context | undefined {
    this.#unit.memory.stage2 = this.#stage2.translation;
    this.failure = this.#locate(substream);
    const descriptor = this.failure === DONE ? this.#read() : undefined;
    return descriptor === undefined ? undefined : this.#keep(substream, descriptor);
  }

  /** Finds where a descriptor lies: `address`. */
  #locate(substream: number): number {
    const { contextPointer, leafBits } = this.#ste;
    if (leafBits === 0) {
      this.address = contextPointer + substream * DESCRIPTOR_BYTES;
      return DONE;
    }
    const failure = this.#load(contextPointer + (substream >>> leafBits) * FIRST_LEVEL_BYTES);
    if (failure !== DONE) return failure;
    const { low, high } = this.#unit.memory;
    if ((low & VALID) === 0) return NO_CONTEXT.substream;
    const table = (high & SECOND_LEVEL_HIGH) * HIGH + ((low & SECOND_LEVEL_LOW) >>> 0);
    this.address = table + (substream & (2 ** leafBits - 1)) * DESCRIPTOR_BYTES;
    return DONE;
  }

  /** Reads the descriptor at `address`. */
  #read(): ContextDescriptor | undefined {
    const { memory } = this.#unit;
    const start = this.address;
    this.failure = this.#load(start);
    if (this.failure !== DONE) return undefined;
    const { low: low0, high: high0 } = memory;
    this.failure = this.#load(start + 8);
    if (this.failure !== DONE) return undefined;
    const { low: low1, high: high1 } = memory;
    this.failure = this.#load(start + 16);
    if (this.failure !== DONE) return undefined;
    const { low: low2, high: high2 } = memory;
    this.failure = NO_CONTEXT.descriptor;
    return decodeContext({ low0, high0, low1, high1, low2, high2 }, this.#ste.stallDisabled);
  }

  #load(address: number): number {
    const fetched = this.#unit.memory.load(address);
    if (fetched === FETCH.done) return DONE;
    this.address = address;
    return fetched === FETCH.abort ? NO_CONTEXT.abort : NO_CONTEXT.stage2;
  }

  #keep(substream: number, { lower, upper, stalls, records, asid }: ContextDescriptor): Context {
    const { spaces, micro } = this.#unit;
    const { vmid } = this.#stage2;
    if (this.#cached.size >= MOST) {
      this.clear();
      micro.forget();
    }
    const quickTag = this.#unit.newContextTag();
    const context = {
      ...{ lower, upper, stalls, records, quickTag },
      space: spaces.get(vmid, asid),
      globals: spaces.get(vmid, GLOBAL),
    };
    this.#cached.set(substream, context);
    return context;
  }
}
