// What the streams and the command queues of an SMMU share: caches, the table walker, stalls, and the way for events.
import type { PhysicalMemory } from '../../memory/physical.js';
import { Stage1Walker } from '../armv8/walker.js';
import { MicroTlb } from '../micro-tlb.js';
import { TableMemory } from '../table-memory.js';
import { Tlb } from '../tlb.js';
import { Access } from './access.js';
import { AddressSpaces } from './address-spaces.js';
import { Faults } from './faults.js';
import { Stalls } from './stalls.js';
import type { Stream } from './stream.js';

/** Tags of contexts in the micro TLB are 1 to this. */
const CONTEXT_TAGS = 2 ** 30;

export class TranslationUnit {
  readonly streams = new Map<number, Stream>();
  readonly tlb = new Tlb();
  readonly micro = new MicroTlb();
  readonly spaces = new AddressSpaces(this.tlb);
  readonly stalls = new Stalls();
  readonly faults = new Faults(this.stalls);
  readonly access = new Access();
  readonly memory: TableMemory;
  readonly walker: Stage1Walker;
  #contextTag = 0;
  #streamTag = 0;

  constructor(physical: PhysicalMemory) {
    this.memory = new TableMemory(physical);
    this.walker = new Stage1Walker(this.memory);
  }

  /** A tag of a stream's own in the micro TLB. No StreamID, of 32 bits: the tags there have as many for contexts as well. */
  newStreamTag(): number {
    return --this.#streamTag;
  }
  /** A tag that no cached context has. */
  newContextTag(): number {
    if (this.#contextTag === CONTEXT_TAGS) {
      for (const stream of this.streams.values()) stream.forgetContexts();
      this.#contextTag = 0;
    }
    return ++this.#contextTag;
  }

  invalidateVmid(vmid: number): void {
    this.spaces.removeVmid(vmid);
    this.stage2Changed();
  }
  stage2Changed(): void {
    this.memory.forget();
    this.micro.forget();
  }
}
