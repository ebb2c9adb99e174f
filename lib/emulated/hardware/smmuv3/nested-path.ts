// The way of an access through both stages: a guest's own tables, and on top of them the kernel's.
import { inUpperHalf, isTranslated, type Regime } from '../armv8/regime.js';
import { WALK } from '../armv8/walker.js';
import { PERMIT } from '../tlb.js';
import type { Access } from './access.js';
import { type Context, Contexts, NO_CONTEXT } from './contexts.js';
import { EVENT, FAULT_CLASS } from './event-record.js';
import { keyOf, UPPER_HALF } from './input-address.js';
import { bypassStage1, type Path, TRANSLATED, throughStage2 } from './path.js';
import { frameOf, type Stage2 } from './stage2.js';
import { type Ste, WITHOUT_SUBSTREAM } from './ste.js';
import type { Stream } from './stream.js';
import type { TranslationUnit } from './translation-unit.js';

const REFUSED = -1;
const PAGE = 4096;

export class NestedPath implements Path {
  readonly #unit: TranslationUnit;
  readonly #stream: Stream;
  readonly #stage2: Stage2;
  readonly #ste: Ste;
  readonly #contexts: Contexts;
  // What stage 1 made of the present access: the page behind it, and the leaf it is in.
  #outPage = 0.5;
  #permissions = 0;
  #log2Pages = 0;

  constructor(unit: TranslationUnit, stream: Stream, stage2: Stage2, ste: Ste) {
    this.#unit = unit;
    this.#stream = stream;
    this.#stage2 = stage2;
    this.#ste = ste;
    this.#contexts = new Contexts(unit, stage2, ste);
  }

  /** The device may keep translations. */
  get #ats(): boolean {
    return this.#ste.ats && this.#stream.ats;
  }

  forgetContext(substream: number): void {
    this.#contexts.forget(substream);
  }
  forgetContexts(): void {
    this.#contexts.clear();
  }

  translate(access: Access): number {
    if (this.#ats) {
      const answer = this.#translated(access);
      if (answer >= 0) return answer;
    }
    const { faults } = this.#unit;
    const { illegal, substreamBits, withoutSubstream } = this.#ste;
    if (illegal) return faults.badConfiguration(access, EVENT.badSte);
    if (access.pasid !== 0) {
      if (access.pasid >= 2 ** substreamBits) return faults.badSubstream(access);
    } else if (substreamBits > 0 && withoutSubstream !== WITHOUT_SUBSTREAM.substream0) {
      if (withoutSubstream !== WITHOUT_SUBSTREAM.bypass) return faults.streamDisabled(access);
      return bypassStage1(this.#unit, this.#stage2, access, this.#stream.quickTag);
    }
    const context = this.#contexts.find(access.pasid) ?? this.#contexts.fetch(access.pasid);
    return context === undefined ? this.#withoutContext(access) : this.#through(access, context);
  }

  /**
   * By the device's own cache, where that has the address: nobody else is asked but stage 2. What is not to be had that way
   * the device asks for anew.
   */
  #translated(access: Access): number {
    const { atc } = this.#stream;
    const { page, write } = access;
    if (!atc.find(access.pasid, page) || (atc.permissions & (write ? PERMIT.write : PERMIT.read)) === 0) return REFUSED;
    const frame = frameOf(this.#stage2.translation, atc.outPage, write);
    if (frame < 0) return REFUSED;
    access.address = frame * PAGE + access.offset;
    return TRANSLATED;
  }

  #withoutContext(access: Access): number {
    const { faults } = this.#unit;
    const { failure, address } = this.#contexts;
    if (failure === NO_CONTEXT.substream) return faults.badSubstream(access);
    if (failure === NO_CONTEXT.descriptor) return faults.badConfiguration(access, EVENT.badContext);
    if (failure === NO_CONTEXT.abort) return faults.contextAbort(access, address);
    return this.#tableFault(access, address, FAULT_CLASS.context);
  }

  #through(access: Access, context: Context): number {
    const { page, write } = access;
    const high = page >= UPPER_HALF && inUpperHalf(page);
    const regime = high ? context.upper : context.lower;
    // The TLB does not know the top byte.
    const untranslated = regime === undefined || (page >= UPPER_HALF && !isTranslated(regime, page, high));
    const ended = untranslated ? WALK.translation : this.#lookUp(context, regime, page, high);
    if (ended !== WALK.done) return this.#fault(access, context, ended);
    if ((this.#permissions & (write ? PERMIT.write : PERMIT.read)) === 0) {
      return this.#unit.faults.stage1(access, EVENT.permission, context);
    }
    const answer = throughStage2(this.#unit, this.#stage2, access, this.#outPage, context.quickTag);
    if (answer >= 0 && this.#ats) this.#answer(access);
    return answer;
  }

  /** Finds the page behind an address, in the TLB or in the guest's tables; answers one of WALK. */
  #lookUp(context: Context, regime: Regime, page: number, high: boolean): number {
    const { tlb } = this.#unit;
    const key = keyOf(page);
    const { space, globals } = context;
    if (!tlb.find(space.tag, key) && !(globals.used && tlb.find(globals.tag, key))) {
      return this.#walk(context, regime, page, key, high);
    }
    this.#outPage = tlb.outPage;
    this.#permissions = tlb.permissions;
    this.#log2Pages = tlb.log2Pages;
    return WALK.done;
  }

  #walk(context: Context, regime: Regime, page: number, key: number, high: boolean): number {
    const { tlb, walker, memory, spaces } = this.#unit;
    memory.stage2 = this.#stage2.translation;
    const ended = walker.walk(regime, page, high);
    if (ended !== WALK.done) return ended;
    const { log2Pages, outPage, permissions } = walker;
    const space = walker.global ? context.globals : context.space;
    const inLeaf = pageInLeaf(key, log2Pages);
    tlb.insert(space.tag, key - inLeaf, log2Pages, outPage, permissions);
    spaces.use(space);
    this.#outPage = outPage + inLeaf;
    this.#permissions = permissions;
    this.#log2Pages = log2Pages;
    return WALK.done;
  }

  /** The device keeps what its translation request was answered. */
  #answer({ pasid, page }: Access): void {
    const inLeaf = pageInLeaf(page, this.#log2Pages);
    this.#stream.atc.insert(pasid, page - inLeaf, this.#log2Pages, this.#outPage - inLeaf, this.#permissions);
  }

  #fault(access: Access, context: Context, ended: number): number {
    const { faults, walker } = this.#unit;
    if (ended === WALK.abort) return faults.walkAbort(access, walker.fetchAddress);
    if (ended === WALK.fetch) return this.#tableFault(access, walker.fetchAddress, FAULT_CLASS.table);
    return faults.stage1(access, STAGE_1_EVENTS[ended] ?? EVENT.translation, context);
  }

  /** Stage 2 refuses to let a guest's table be read. */
  #tableFault(access: Access, address: number, faultClass: number): number {
    const { translation, stalls = false } = this.#stage2;
    return this.#unit.faults.stage2(access, translation, Math.floor(address / PAGE), faultClass, stalls);
  }
}

/** By WALK: what it is in an event. */
const STAGE_1_EVENTS: readonly number[] = Object.assign(new Array<number>(WALK.abort + 1).fill(EVENT.translation), {
  [WALK.addressSize]: EVENT.addressSize,
  [WALK.access]: EVENT.access,
  [WALK.permission]: EVENT.permission,
});

/** Which page of its leaf a page is: leaves have 2 ** 30 pages at most. */
function pageInLeaf(page: number, log2Pages: number): number {
  return page & ((1 << log2Pages) - 1);
}
