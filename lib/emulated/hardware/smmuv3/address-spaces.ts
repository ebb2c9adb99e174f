// Whom the TLB's entries belong to: address spaces, told apart by VMID and ASID, each with a tag of its own. A VMID's global
// entries, which hold for all of its ASIDs, are one space more.
import type { Tlb } from '../tlb.js';

/** The `asid` of a space of global entries. */
export const GLOBAL = -1;

export class AddressSpace {
  /** It may have entries, and is listed with its VMID's; without it there are none. */
  used = false;

  constructor(
    readonly tag: number,
    readonly vmid: number,
    readonly asid: number,
  ) {}
}

/** More than this many spaces of a VMID are not looked through one by one: all that the VMID has goes. */
const MOST_ONE_BY_ONE = 256;

/** The address spaces of one VMID. */
class VmidSpaces {
  readonly byAsid = new Map<number, AddressSpace>();
  /** The spaces that entries were made in since all of them went. */
  readonly used: AddressSpace[] = [];

  forgetUsed(): void {
    for (const space of this.used) space.used = false;
    this.used.length = 0;
  }
}

export class AddressSpaces {
  readonly #tlb: Tlb;
  readonly #byVmid = new Map<number, VmidSpaces>();
  /** By tag less 1. */
  readonly #byTag: AddressSpace[] = [];
  #empty = true;

  constructor(tlb: Tlb) {
    this.#tlb = tlb;
  }

  /** The space of an ASID, or of GLOBAL. */
  get(vmid: number, asid: number): AddressSpace {
    let spaces = this.#byVmid.get(vmid);
    if (spaces === undefined) {
      spaces = new VmidSpaces();
      this.#byVmid.set(vmid, spaces);
    }
    let space = spaces.byAsid.get(asid);
    if (space === undefined) {
      space = new AddressSpace(this.#byTag.length + 1, vmid, asid);
      spaces.byAsid.set(asid, space);
      this.#byTag.push(space);
    }
    return space;
  }

  byTag(tag: number): AddressSpace | undefined {
    return this.#byTag[tag - 1];
  }

  /** An entry is made in a space. */
  use(space: AddressSpace): void {
    if (space.used) return;
    space.used = true;
    this.#empty = false;
    this.#byVmid.get(space.vmid)?.used.push(space);
  }

  /** Forgets all of an ASID; global entries stay. */
  removeAsid(vmid: number, asid: number): void {
    const space = this.#byVmid.get(vmid)?.byAsid.get(asid);
    if (space !== undefined) this.#tlb.removeTag(space.tag);
  }

  /** Forgets all of a VMID. */
  removeVmid(vmid: number): void {
    const spaces = this.#byVmid.get(vmid);
    if (spaces === undefined) return;
    for (const { tag } of spaces.used) this.#tlb.removeTag(tag);
    spaces.forgetUsed();
  }

  removeAll(): void {
    if (this.#empty) return;
    this.#empty = true;
    this.#tlb.clear();
    for (const spaces of this.#byVmid.values()) spaces.forgetUsed();
  }

  /** Forgets the leaves around pages of an ASID, and global ones there. */
  removeRange(vmid: number, asid: number, first: number, last: number): void {
    const spaces = this.#byVmid.get(vmid);
    if (spaces === undefined) return;
    this.#removeFrom(spaces.byAsid.get(asid), first, last);
    this.#removeFrom(spaces.byAsid.get(GLOBAL), first, last);
  }

  /** The same of every ASID. */
  removeRangeOfAll(vmid: number, first: number, last: number): void {
    const used = this.#byVmid.get(vmid)?.used;
    if (used === undefined) return;
    if (used.length > MOST_ONE_BY_ONE) this.removeVmid(vmid);
    else for (const space of used) this.#removeFrom(space, first, last);
  }

  #removeFrom(space: AddressSpace | undefined, first: number, last: number): void {
    if (space === undefined) return;
    if (first === last) this.#tlb.removePage(space.tag, first);
    else this.#tlb.removeRange(space.tag, first, last);
  }
}
