// A VT-d unit in scalable mode: the functions behind it, the TLB they share, and the invalidations that software sends
// (VT-d manual, 6.5.2).
import type { PhysicalMemory } from '../../memory/physical.js';
import { MicroTlb } from '../micro-tlb.js';
import type { TlbEntryState } from '../platform.js';
import { TableMemory } from '../table-memory.js';
import { PERMIT, type TlbEntry } from '../tlb.js';
import { FirstStageWalker } from './first-stage.js';
import { VtdFunction } from './function.js';
import { Iotlb } from './iotlb.js';

export class VtdUnit {
  readonly iotlb = new Iotlb();
  /** Whole translations, the host's tables included. */
  readonly fast = new MicroTlb();
  readonly walker: FirstStageWalker;
  readonly #tables: TableMemory;
  readonly #functions: VtdFunction[] = [];
  #lastFastTag = 0;

  constructor(physical: PhysicalMemory) {
    this.#tables = new TableMemory(physical);
    this.walker = new FirstStageWalker(this.#tables, physical);
  }

  addFunction(name: string, hasTlb: boolean): VtdFunction {
    const made = new VtdFunction(this, name, hasTlb);
    this.#functions.push(made);
    return made;
  }
  newFastTag(): number {
    return ++this.#lastFastTag;
  }

  /** Forgets what follows from others: whole translations, and what is known of a guest's memory. */
  forget(): void {
    this.fast.forget();
    this.#tables.forget();
  }

  /** Of a PASID in a domain: 2^`order` pages from `page` on, a multiple of that. */
  invalidatePages(domainId: number, pasid: number, page: number, order: number): void {
    this.iotlb.removePages(domainId, pasid, page, order);
    this.forget();
  }
  /** Of a PASID in a domain: all. */
  invalidatePasid(domainId: number, pasid: number): void {
    this.iotlb.removePasid(domainId, pasid);
    this.forget();
  }
  /** All of a domain. Where it is nested, second-stage pages are invalidated so too: which leaves they are behind is not known. */
  invalidateDomain(domainId: number): void {
    this.iotlb.removeDomain(domainId);
    this.forget();
  }

  /** All leaves of guests' tables that are kept, in the order of their addresses. */
  tlb(): TlbEntryState[] {
    const own = this.iotlb.entries().map((entry) => stateOf('tlb', entry, entry.pasid, entry.domainId));
    const devices = this.#functions.flatMap(({ name, deviceTlb }) =>
      [...(deviceTlb?.entries() ?? [])].map((entry) => stateOf(`atc ${name}`, entry, entry.tag - 1)),
    );
    return [...own, ...devices].sort((a, b) => Number(a.iova - b.iova));
  }
}

/** A domain id tells as much as a VMID: whose memory the addresses behind the first stage are in. */
function stateOf(where: string, entry: TlbEntry, pasid: number, domainId?: number): TlbEntryState {
  const { page, pages, outPage, permissions } = entry;
  return {
    where,
    iova: BigInt(page) << 12n,
    length: BigInt(pages) << 12n,
    address: BigInt(outPage) << 12n,
    readable: (permissions & PERMIT.read) !== 0,
    writable: (permissions & PERMIT.write) !== 0,
    pasid,
    ...(domainId === undefined ? {} : { vmid: domainId }),
  };
}
