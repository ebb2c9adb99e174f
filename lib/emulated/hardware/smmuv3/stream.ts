// A stream: what one device's accesses go through (SMMUv3 manual, IHI 0070, 3.3).
import type { Translator } from '../dma.js';
import { Atc } from './atc.js';
import { NestedPath } from './nested-path.js';
import { AbortPath, type Path, Stage2Path, TablePath } from './path.js';
import type { KernelTable, Stage2 } from './stage2.js';
import { decodeSte } from './ste.js';
import type { TranslationUnit } from './translation-unit.js';

/** What a stream's table entry says, as the driver installs it. */
export type StreamConfig =
  /** Everything is refused without an event (STE.Config 0b000). */
  | { readonly kind: 'abort' }
  /** A page table of the kernel's, for accesses without a PASID. */
  | { readonly kind: 'table'; readonly table: KernelTable }
  /** Stage 2 alone, for a guest (0b110). */
  | { readonly kind: 'bypass'; readonly stage2: Stage2 }
  /** Both stages (0b111). `ste`: the entry's first two words of 64 bits, as four of 32. */
  | { readonly kind: 'nested'; readonly stage2: Stage2; readonly ste: Uint32Array };

/** No PASID. */
const NONE = -1;
const REFUSED = -1;
const PAGE_SIZE = 4096;

/** Whether both are the same guest's tables on the same stage 2, which a VMID stands for as long as anything is on it. */
function isSameGuest(one: StreamConfig, other: StreamConfig): boolean {
  if (one.kind !== 'nested' || other.kind !== 'nested') return false;
  const isSameStage2 = one.stage2.vmid === other.stage2.vmid && one.stage2.stalls === other.stage2.stalls;
  return isSameStage2 && one.ste.every((word, i) => word === other.ste[i]);
}

export class Stream implements Translator {
  /** Its device's, for inspection. */
  name = '';
  /** The device has an ATC (PCI ATS): it is used where STE.EATS says so too. */
  ats = false;
  /** The device answers invalidations of its ATC. A broken one does not, and forgets nothing. */
  answersInvalidations = true;
  /** Accesses from now on can wait for a fault to be mended. */
  mayStall = false;
  /** What the device keeps. */
  readonly atc = new Atc();
  /** In the micro TLB: what goes by stage 2 alone. Contexts have positive ones. */
  readonly quickTag: number;
  readonly #unit: TranslationUnit;
  readonly #pasids = new Map<number, KernelTable>();
  #config: StreamConfig = { kind: 'abort' };
  #path: Path;
  /** The PASID of the last access that came through, and its tag in the micro TLB. */
  #lastPasid = NONE;
  #lastTag = 0;

  constructor(
    unit: TranslationUnit,
    readonly id: number,
  ) {
    this.#unit = unit;
    this.#path = new AbortPath(unit, this.#pasids);
    this.quickTag = unit.newStreamTag();
  }

  /** After an access that was refused: the tag that it waits by, to be given to `waitFor`; -1 where it does not wait. */
  get stalledTag(): number {
    return this.#unit.access.stalledTag;
  }

  /**
   * Puts another configuration into force, as after CMD_CFGI_STE: cached context descriptors go, TLB entries stay. Where it is
   * the one that is there, the driver writes and invalidates nothing (arm_smmu_write_entry).
   */
  install(config: StreamConfig): void {
    if (isSameGuest(config, this.#config)) return;
    this.#config = config;
    this.#path = this.#pathOf(config);
    this.#forgetQuick();
    const ats = config.kind === 'nested' && decodeSte(config.ste).ats;
    // Without STE.EATS the driver has ATS switched off in the device, whose cache goes with it.
    if (!ats) this.atc.clear();
  }
  #pathOf(config: StreamConfig): Path {
    const unit = this.#unit;
    if (config.kind === 'table') return new TablePath(unit, config.table, this.#pasids);
    if (config.kind === 'bypass') return new Stage2Path(unit, config.stage2, this.quickTag);
    if (config.kind === 'nested') return new NestedPath(unit, this, config.stage2, decodeSte(config.ste));
    return new AbortPath(unit, this.#pasids);
  }

  /** A page table of the kernel's for a PASID (1 and up), or none; in force with the kinds 'table' and 'abort'. */
  setPasid(pasid: number, table: KernelTable | undefined): void {
    if (table === undefined) this.#pasids.delete(pasid);
    else this.#pasids.set(pasid, table);
  }

  /**
   * Translates an access; what refuses it is in an event by then, if it is to be told at all.
   * @param page the address's bits 63 to 12; `offset` its bits 11 to 0
   * @param pasid 0 for an access without one
   * @returns the physical address, good to the end of its page of 4 KiB; -1 where the access is refused, or waits
   */
  translate(page: number, offset: number, write: boolean, pasid: number): number {
    if (pasid === this.#lastPasid) {
      const frame = this.#unit.micro.find(this.#lastTag, page, write);
      if (frame >= 0) return frame * PAGE_SIZE + offset;
    }
    return this.#isTranslated(page, offset, write, pasid) ? this.#unit.access.address : REFUSED;
  }
  #isTranslated(page: number, offset: number, write: boolean, pasid: number): boolean {
    const { access } = this.#unit;
    access.stream = this.id;
    access.page = page;
    access.offset = offset;
    access.write = write;
    access.pasid = pasid;
    access.mayStall = this.mayStall;
    access.stalledTag = -1;
    access.quickTag = 0;
    const answer = this.#path.translate(access);
    this.#lastPasid = access.quickTag === 0 ? NONE : pasid;
    this.#lastTag = access.quickTag;
    return answer >= 0;
  }

  /** Resolves when the driver ends a wait (CMD_RESUME): true where the access is to be tried again, false where it is refused. */
  waitFor(stag: number): Promise<boolean> {
    return this.#unit.stalls.waitFor(stag);
  }

  /** CMD_CFGI_CD */
  forgetContext(substream: number): void {
    this.#path.forgetContext(substream);
    this.#forgetQuick();
  }
  /** CMD_CFGI_CD_ALL, CMD_CFGI_STE */
  forgetContexts(): void {
    this.#path.forgetContexts();
    this.#forgetQuick();
  }
  /** What the device keeps goes, by the device's own doing. */
  forgetTranslations(): void {
    this.atc.clear();
    this.#forgetQuick();
  }
  #forgetQuick(): void {
    this.#unit.micro.forget();
    this.#lastPasid = NONE;
  }
}
