// A device's own cache of translations (PCI ATS): what the SMMU answered its translation requests, until an invalidation by
// CMD_ATC_INV that the device answers. It keeps what stage 1 made of an address; stage 2 is asked at each access, so that a
// device that does not forget reaches nothing that the kernel took from its guest.
import { Tlb } from '../tlb.js';

/** Requests without a PASID have the tag of PASID 0. */
const TAG_OF_0 = 1;
/** More PASIDs than this are not looked through one by one: everything is forgotten. */
const MOST_ONE_BY_ONE = 64;

export interface AtcEntry {
  readonly pasid: number;
  readonly page: number;
  readonly pages: number;
  readonly outPage: number;
  readonly permissions: number;
}

export class Atc {
  /** What the last `find` found. */
  outPage = 0.5;
  permissions = 0;
  /** Made with the first entry: most devices never have one. */
  #tlb: Tlb | undefined;
  readonly #pasids = new Set<number>();

  find(pasid: number, page: number): boolean {
    const tlb = this.#tlb;
    if (tlb === undefined || !tlb.find(pasid + TAG_OF_0, page)) return false;
    this.outPage = tlb.outPage;
    this.permissions = tlb.permissions;
    return true;
  }

  /** Keeps a leaf: its first pages, and its size. */
  insert(pasid: number, page: number, log2Pages: number, outPage: number, permissions: number): void {
    this.#tlb ??= new Tlb();
    this.#pasids.add(pasid);
    this.#tlb.insert(pasid + TAG_OF_0, page, log2Pages, outPage, permissions);
  }

  removeRange(pasid: number, first: number, last: number): void {
    this.#tlb?.removeRange(pasid + TAG_OF_0, first, last);
  }

  /** Of every PASID, and of requests without one. */
  removeRangeOfAll(first: number, last: number): void {
    if (this.#pasids.size > MOST_ONE_BY_ONE) this.clear();
    else for (const pasid of this.#pasids) this.removeRange(pasid, first, last);
  }

  clear(): void {
    if (this.#pasids.size === 0) return;
    this.#tlb?.clear();
    this.#pasids.clear();
  }

  /** For inspection. */
  *entries(): Generator<AtcEntry> {
    if (this.#tlb === undefined) return;
    for (const { tag, ...entry } of this.#tlb.entries()) yield { pasid: tag - TAG_OF_0, ...entry };
  }
}
