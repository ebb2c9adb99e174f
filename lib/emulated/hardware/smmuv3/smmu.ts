// An SMMUv3 as hardware (Arm SMMUv3 manual, IHI 0070): streams, what is cached of their guests' tables, events and commands. It
// knows no kernel: the driver's part is in driver/.
import type { PhysicalMemory } from '../../memory/physical.js';
import type { TlbEntryState } from '../platform.js';
import { CommandQueue } from './command-queue.js';
import { IDENTIFICATION, type Identification } from './identification.js';
import { cachedTranslations } from './inspect.js';
import { Stream } from './stream.js';
import { TranslationUnit } from './translation-unit.js';

export class Smmu {
  /** IDR0 to IDR5 as GET_HW_INFO tells them, IIDR and AIDR. */
  readonly identification: Identification = IDENTIFICATION;
  readonly #unit: TranslationUnit;
  readonly #queue: CommandQueue;

  constructor(physical: PhysicalMemory) {
    this.#unit = new TranslationUnit(physical);
    this.#queue = new CommandQueue(this.#unit);
  }

  /** Called with each event record that the hardware writes: 8 words of 32 bits, which are valid during the call. */
  get onEvent(): (record: Uint32Array) => void {
    return this.#unit.faults.onEvent;
  }
  set onEvent(report: (record: Uint32Array) => void) {
    this.#unit.faults.onEvent = report;
  }

  /** A device's accesses come by this StreamID. What it does before anything is installed is refused. */
  addStream(id: number): Stream {
    const stream = new Stream(this.#unit, id);
    this.#unit.streams.set(id, stream);
    return stream;
  }
  findStream(id: number): Stream | undefined {
    return this.#unit.streams.get(id);
  }

  /** Another command queue: invalidations of ATCs that time out are told at the next CMD_SYNC of the same queue. */
  addQueue(): CommandQueue {
    return new CommandQueue(this.#unit);
  }

  /**
   * Carries out a command of the SMMU's own queue: four words of 32 bits, with physical VMID and StreamID.
   * @returns one of CERROR; where it is not 0, nothing was done
   */
  execute(word0: number, word1: number, word2: number, word3: number): number {
    return this.#queue.execute(word0, word1, word2, word3);
  }

  /** Stage 2 of this VMID changed: all that is cached of it goes, stage-1 entries included. ATCs are told by CMD_ATC_INV. */
  invalidateVmid(vmid: number): void {
    this.#unit.invalidateVmid(vmid);
  }

  /** CMD_RESUME: ends the wait of a stalled access, which tries again or is refused. */
  resume(stream: number, stag: number, retry: boolean): void {
    this.#unit.stalls.resume(stream, stag, retry);
  }

  /** All translations that are cached, in the SMMU and in devices. */
  tlb(): TlbEntryState[] {
    return cachedTranslations(this.#unit);
  }
}
