// What an access meets that is refused, and what of it is told (SMMUv3 manual, IHI 0070, 7.3; for stalls 3.12.2). Each method
// answers -1, which is what `translate` then answers.
import type { Translation } from '../../kernel/driver.js';
import type { Access } from './access.js';
import { EVENT, EventRecord, FAULT_CLASS } from './event-record.js';
import { frameOf } from './stage2.js';
import { NO_STALL, type Stalls } from './stalls.js';

const REFUSED = -1;

/** What becomes of a fault of a stage: CD.R and CD.S, STE.S2R and S2S. */
interface FaultModel {
  readonly records: boolean;
  readonly stalls: boolean;
}

export class Faults {
  /** Called with each record. */
  onEvent: (record: Uint32Array) => void = () => {};
  readonly #record = new EventRecord();
  readonly #stalls: Stalls;

  constructor(stalls: Stalls) {
    this.#stalls = stalls;
  }

  /** C_BAD_STE, C_BAD_CD: the tables that say what to do are wrong. */
  badConfiguration(access: Access, type: number): number {
    this.#record.begin(type, access.stream, access.pasid);
    return this.#tell();
  }

  badSubstream(access: Access): number {
    this.#record.beginBadSubstream(access.stream, access.pasid);
    return this.#tell();
  }

  /** An access without a SubstreamID, where the stream takes only those that have one. */
  streamDisabled(access: Access): number {
    this.#record.begin(EVENT.streamDisabled, access.stream, 0);
    return this.#tell();
  }

  /** There is no memory where a context descriptor should be. */
  contextAbort(access: Access, address: number): number {
    this.#record.begin(EVENT.contextFetch, access.stream, access.pasid);
    this.#record.setFetch(address);
    return this.#tell();
  }

  /** There is no memory where a page table should be. */
  walkAbort(access: Access, address: number): number {
    this.#begin(EVENT.walkAbort, access, false, FAULT_CLASS.table);
    this.#record.setFetch(address);
    return this.#tell();
  }

  /** F_TRANSLATION, F_ADDR_SIZE, F_ACCESS, F_PERMISSION of stage 1. */
  stage1(access: Access, type: number, model: FaultModel): number {
    this.#begin(type, access, false, FAULT_CLASS.input);
    return this.#stallOrTell(access, model);
  }

  /**
   * Stage 2 refuses a page: the access's own, or one that a table lies in.
   * @param faultClass one of FAULT_CLASS; tables are read, whatever the access does
   */
  stage2(
    access: Access,
    translation: Translation | undefined,
    page: number,
    faultClass: number,
    stalls: boolean,
  ): number {
    const write = access.write && faultClass === FAULT_CLASS.input;
    const type = frameOf(translation, page, !write) < 0 ? EVENT.translation : EVENT.permission;
    this.#begin(type, access, true, faultClass);
    this.#record.setIntermediate(page);
    return this.#stallOrTell(access, stalls ? STALLING : RECORDING);
  }

  #begin(type: number, access: Access, stage2: boolean, faultClass: number): void {
    const write = access.write && faultClass !== FAULT_CLASS.context;
    this.#record.begin(type, access.stream, access.pasid);
    this.#record.setAccess(access.page, access.offset, write, stage2, faultClass);
  }

  /** Where faults stall, they are recorded whatever CD.R says. What cannot wait is refused at once. */
  #stallOrTell(access: Access, { records, stalls }: FaultModel): number {
    const tag = stalls && access.mayStall ? this.#stalls.add(access.stream) : NO_STALL;
    if (tag !== NO_STALL) this.#record.setStall(tag);
    access.stalledTag = tag;
    return records || stalls ? this.#tell() : REFUSED;
  }

  #tell(): number {
    this.onEvent(this.#record.words);
    return REFUSED;
  }
}

const RECORDING: FaultModel = { records: true, stalls: false };
const STALLING: FaultModel = { records: true, stalls: true };
