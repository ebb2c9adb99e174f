// A device's function as the unit sees it: its PASID table, where its requests begin, and its device TLB, if it has one (PCI
// ATS). Requests without a PASID go by the entry of PASID 0 (RID_PASID).
import { PAGE_SIZE } from '../../memory/backing.js';
import type { Translator } from '../dma.js';
import { PERMIT, Tlb } from '../tlb.js';
import { NOTED_DIRTY, WALK } from './first-stage.js';
import type { GuestTable, HostTable } from './host-table.js';
import { removeLeaves } from './iotlb.js';
import type { VtdUnit } from './unit.js';

/** The PASID of requests that have none. */
export const NO_PASID = 0;

/** An entry of the PASID table, that is present. */
export interface PasidEntry {
  readonly domainId: number;
  /** What leads to memory: a first- or second-stage table of the host's. */
  readonly host: HostTable;
  /** A guest's first-stage table in front of it: nested translation. */
  readonly guest: GuestTable | undefined;
}

interface InstalledEntry extends PasidEntry {
  readonly pasid: number;
  /** What the unit's TLB tags its leaves with, and the fast path whole translations. */
  readonly tag: number;
  readonly fastTag: number;
}

/** Why a request was refused. */
export const FAULT = {
  none: 0,
  /** The device may ask for the page. */
  recoverable: 1,
  final: 2,
} as const;

/** Requests without a PASID to these pages are interrupts, and never translated (VT-d manual, 3.14). */
const INTERRUPTS = 0xfee00;
const INTERRUPTS_LAST = 0xfeeff;

/** What a leaf must permit for a write that needs no look at the table. */
const WRITE_NOTED = PERMIT.write | NOTED_DIRTY;

/** Whether a TLB has a leaf that permits an access; it is what was found then. */
function permits(tlb: Tlb, tag: number, page: number, write: boolean): boolean {
  // What is read there can be read: others are not kept.
  return tlb.find(tag, page) && (!write || (tlb.permissions & WRITE_NOTED) === WRITE_NOTED);
}

/** How many pages of a leaf come before this one. */
function offsetIn(page: number, log2Pages: number): number {
  return page & ((1 << log2Pages) - 1);
}

export class VtdFunction implements Translator {
  /** Why the last request that was refused was. */
  fault: number = FAULT.none;
  /** Whether it does as it is told when its device TLB is to forget something. */
  answersInvalidations = true;
  /** Leaves that the device keeps itself, tagged with the PASID and 1; undefined without ATS. */
  readonly deviceTlb: Tlb | undefined;
  readonly #unit: VtdUnit;
  #own: InstalledEntry | undefined;
  readonly #others = new Map<number, InstalledEntry>();

  /** Not for callers: `VtdUnit.addFunction` makes them. */
  constructor(
    unit: VtdUnit,
    readonly name: string,
    hasTlb: boolean,
  ) {
    this.#unit = unit;
    this.deviceTlb = hasTlb ? new Tlb() : undefined;
  }

  entryOf(pasid: number): PasidEntry | undefined {
    return pasid === NO_PASID ? this.#own : this.#others.get(pasid);
  }
  install(pasid: number, entry: PasidEntry): void {
    const { domainId, host, guest } = entry;
    const tag = this.#unit.iotlb.tagOf(domainId, pasid);
    const installed = { domainId, host, guest, pasid, tag, fastTag: this.#unit.newFastTag() };
    if (pasid === NO_PASID) this.#own = installed;
    else this.#others.set(pasid, installed);
  }
  remove(pasid: number): void {
    if (pasid === NO_PASID) this.#own = undefined;
    else this.#others.delete(pasid);
  }

  /** Device-TLB invalidation: 2^`order` pages from `page` on, or all of a PASID. */
  invalidatePages(pasid: number, page: number, order: number): void {
    if (this.deviceTlb !== undefined && this.answersInvalidations) removeLeaves(this.deviceTlb, pasid + 1, page, order);
    this.#unit.forget();
  }
  invalidatePasid(pasid: number): void {
    if (this.answersInvalidations) this.deviceTlb?.removeTag(pasid + 1);
    this.#unit.forget();
  }

  /** The device was reset: it keeps nothing. */
  forgetTranslations(): void {
    this.deviceTlb?.clear();
    this.#unit.forget();
  }

  translate(page: number, offset: number, write: boolean, pasid: number): number {
    const entry = pasid === NO_PASID ? this.#own : this.#others.get(pasid);
    if (entry === undefined) return this.#refuse(FAULT.final);
    const known = this.#unit.fast.find(entry.fastTag, page, write);
    if (known >= 0) return known * PAGE_SIZE + offset;
    const frame = this.#translateAnew(entry, page, write);
    return frame < 0 ? -1 : frame * PAGE_SIZE + offset;
  }

  #translateAnew(entry: InstalledEntry, page: number, write: boolean): number {
    const { host, guest } = entry;
    if (entry.pasid === NO_PASID && page >= INTERRUPTS && page <= INTERRUPTS_LAST) return this.#refuse(FAULT.final);
    const target = guest === undefined ? page : this.#firstStage(entry, guest, page, write);
    if (target < 0) return -1;
    const frame = host.frame(target, write);
    if (frame < 0) return this.#refuse(FAULT.recoverable);
    let permissions: number = PERMIT.read;
    if (write) {
      // Only a write makes the fast path one for writes: none passes unnoticed after dirty pages were read and forgotten.
      host.written(target);
      permissions = host.frame(target, false) < 0 ? PERMIT.write : PERMIT.read | PERMIT.write;
    }
    this.#unit.fast.insert(entry.fastTag, page, frame, permissions);
    return frame;
  }

  /** The guest's physical page behind one of its own; -1 where it is refused. */
  #firstStage(entry: InstalledEntry, guest: GuestTable, page: number, write: boolean): number {
    const { deviceTlb } = this;
    const { iotlb, walker } = this.#unit;
    const { leaves } = iotlb;
    if (deviceTlb !== undefined && permits(deviceTlb, entry.pasid + 1, page, write)) return deviceTlb.outPage;
    if (!permits(leaves, entry.tag, page, write)) {
      const walked = walker.walk(guest, entry.host, page, write);
      if (walked !== WALK.done) return this.#refuse(walked === WALK.recoverable ? FAULT.recoverable : FAULT.final);
      const { log2Pages, outPage, permissions } = walker;
      // What was there and did not do is of another size, maybe.
      leaves.removePage(entry.tag, page);
      leaves.insert(entry.tag, page - offsetIn(page, log2Pages), log2Pages, outPage, permissions);
      leaves.find(entry.tag, page);
    }
    const { outPage } = leaves;
    if (deviceTlb !== undefined) {
      const { log2Pages, permissions } = leaves;
      const within = offsetIn(page, log2Pages);
      deviceTlb.removePage(entry.pasid + 1, page);
      deviceTlb.insert(entry.pasid + 1, page - within, log2Pages, outPage - within, permissions);
    }
    return outPage;
  }

  #refuse(fault: number): number {
    this.fault = fault;
    return -1;
  }
}
