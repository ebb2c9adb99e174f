// The unit's TLB of guests' first-stage leaves, told apart by domain id and PASID (VT-d manual, 6.2.4). What the host's own
// tables map is not kept here: the kernel invalidates that as soon as it changes.
import { Tlb, type TlbEntry } from '../tlb.js';

export interface IotlbEntry extends TlbEntry {
  readonly domainId: number;
  readonly pasid: number;
}

export class Iotlb {
  readonly leaves = new Tlb();
  /** Tags by domain id, and there by PASID. */
  readonly #tags = new Map<number, Map<number, number>>();
  #lastTag = 0;

  /** What entries of a PASID in a domain are tagged with. */
  tagOf(domainId: number, pasid: number): number {
    let tags = this.#tags.get(domainId);
    if (tags === undefined) {
      tags = new Map();
      this.#tags.set(domainId, tags);
    }
    let tag = tags.get(pasid);
    if (tag === undefined) {
      tag = ++this.#lastTag;
      tags.set(pasid, tag);
    }
    return tag;
  }

  /** Forgets a PASID's leaves that have any of 2^`order` pages from `page` on. */
  removePages(domainId: number, pasid: number, page: number, order: number): void {
    const tag = this.#tags.get(domainId)?.get(pasid);
    if (tag !== undefined) removeLeaves(this.leaves, tag, page, order);
  }
  /** Forgets all of a PASID. */
  removePasid(domainId: number, pasid: number): void {
    const tag = this.#tags.get(domainId)?.get(pasid);
    if (tag !== undefined) this.leaves.removeTag(tag);
  }
  /** Forgets all of a domain. */
  removeDomain(domainId: number): void {
    for (const tag of this.#tags.get(domainId)?.values() ?? []) this.leaves.removeTag(tag);
  }

  /** All that is kept, for inspection. */
  entries(): IotlbEntry[] {
    const owners = new Map<number, { domainId: number; pasid: number }>();
    for (const [domainId, tags] of this.#tags) {
      for (const [pasid, tag] of tags) owners.set(tag, { domainId, pasid });
    }
    return [...this.leaves.entries()].flatMap((entry) => {
      const owner = owners.get(entry.tag);
      return owner === undefined ? [] : { ...entry, ...owner };
    });
  }
}

/** Forgets the leaves of a tag that have any of 2^`order` pages from `page` on. */
export function removeLeaves(tlb: Tlb, tag: number, page: number, order: number): void {
  if (order === 0) tlb.removePage(tag, page);
  else tlb.removeRange(tag, page, page + 2 ** order - 1);
}
