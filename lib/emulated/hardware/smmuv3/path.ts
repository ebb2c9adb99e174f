// The ways an access can take, by what is installed for its stream (STE.Config): refused, by the kernel's own tables, by
// stage 2 alone. The way through both stages is nested-path.ts.
import { PERMIT } from '../tlb.js';
import type { Access } from './access.js';
import { EVENT, FAULT_CLASS } from './event-record.js';
import { ADDRESS_BITS } from './identification.js';
import { frameOf, type KernelTable, type Stage2 } from './stage2.js';
import type { TranslationUnit } from './translation-unit.js';

export interface Path {
  /** TRANSLATED, and the access has its address; or -1 where it is refused, which is reported by then. */
  translate(access: Access): number;
  /** Forgets a cached context descriptor, or all of them. */
  forgetContext(substream: number): void;
  forgetContexts(): void;
}

/** What is not negative. */
export const TRANSLATED = 0;
const REFUSED = -1;
const PAGE_SIZE = 4096;
/** Pages that stage 2 can be asked for. */
const INTERMEDIATE_PAGES = 2 ** (ADDRESS_BITS - 12);
const RECORDS = { records: true, stalls: false };

/** A path without context descriptors of a guest's. */
abstract class KernelPath implements Path {
  abstract translate(access: Access): number;
  forgetContext(): void {}
  forgetContexts(): void {}
}

/** Everything is refused, and nothing told (Config 0b000); but for PASIDs that have tables of the kernel's. */
export class AbortPath extends KernelPath {
  readonly #unit: TranslationUnit;
  readonly #pasids: ReadonlyMap<number, KernelTable>;

  constructor(unit: TranslationUnit, pasids: ReadonlyMap<number, KernelTable>) {
    super();
    this.#unit = unit;
    this.#pasids = pasids;
  }

  translate(access: Access): number {
    if (this.#pasids.size === 0) return REFUSED;
    // Linux then has a context descriptor table, with S1DSS to terminate what has no PASID.
    if (access.pasid === 0) return this.#unit.faults.streamDisabled(access);
    return throughPasidTable(this.#unit, this.#pasids, access);
  }
}

/** A page table of the kernel's, and others for PASIDs. */
export class TablePath extends KernelPath {
  readonly #unit: TranslationUnit;
  readonly #table: KernelTable;
  readonly #pasids: ReadonlyMap<number, KernelTable>;

  constructor(unit: TranslationUnit, table: KernelTable, pasids: ReadonlyMap<number, KernelTable>) {
    super();
    this.#unit = unit;
    this.#table = table;
    this.#pasids = pasids;
  }

  translate(access: Access): number {
    if (access.pasid === 0) return throughTable(this.#unit, this.#table, access);
    if (this.#pasids.size === 0) return this.#unit.faults.badSubstream(access);
    return throughPasidTable(this.#unit, this.#pasids, access);
  }
}

function throughPasidTable(unit: TranslationUnit, pasids: ReadonlyMap<number, KernelTable>, access: Access): number {
  const table = pasids.get(access.pasid);
  return table === undefined
    ? unit.faults.badConfiguration(access, EVENT.badContext)
    : throughTable(unit, table, access);
}

function throughTable({ faults }: TranslationUnit, table: KernelTable, access: Access): number {
  const { translation, stage = 1, stalls = false } = table;
  const { page, write } = access;
  const frame = frameOf(translation, page, write);
  if (frame >= 0) {
    access.address = frame * PAGE_SIZE + access.offset;
    return TRANSLATED;
  }
  if (stage === 2) return faults.stage2(access, translation, page, FAULT_CLASS.input, stalls);
  // Stage 1 cannot forbid reading alone; and to ask about writing could count as a write where these are tracked.
  const readable = write && frameOf(translation, page, false) >= 0;
  return faults.stage1(access, readable ? EVENT.permission : EVENT.translation, { records: true, stalls });
}

/** A guest's stream without stage 1: its addresses are the guest's physical ones. */
export class Stage2Path extends KernelPath {
  readonly #unit: TranslationUnit;
  readonly #stage2: Stage2;
  readonly #quickTag: number;

  constructor(unit: TranslationUnit, stage2: Stage2, quickTag: number) {
    super();
    this.#unit = unit;
    this.#stage2 = stage2;
    this.#quickTag = quickTag;
  }

  translate(access: Access): number {
    // SubstreamIDs are stage 1's.
    if (access.pasid !== 0) return this.#unit.faults.badSubstream(access);
    return bypassStage1(this.#unit, this.#stage2, access, this.#quickTag);
  }
}

/** Takes an address as one of the guest's physical ones; one that is too long is a fault of stage 1 (manual, 3.4). */
export function bypassStage1(unit: TranslationUnit, stage2: Stage2, access: Access, quickTag: number): number {
  const { page } = access;
  if (page >= INTERMEDIATE_PAGES) return unit.faults.stage1(access, EVENT.addressSize, RECORDS);
  return throughStage2(unit, stage2, access, page, quickTag);
}

/** Asks stage 2 for the page behind an access, and keeps what it answers for accesses of this kind. */
export function throughStage2(
  { micro, faults }: TranslationUnit,
  stage2: Stage2,
  access: Access,
  page: number,
  quickTag: number,
): number {
  const { translation } = stage2;
  const { write } = access;
  const frame = frameOf(translation, page, write);
  if (frame < 0) return faults.stage2(access, translation, page, FAULT_CLASS.input, stage2.stalls === true);
  micro.insert(quickTag, access.page, frame, write ? PERMIT.write : PERMIT.read);
  access.quickTag = quickTag;
  access.address = frame * PAGE_SIZE + access.offset;
  return TRANSLATED;
}
