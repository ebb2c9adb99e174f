// Who mapped a stretch of memory, and pays for what is pinned of it (iopt_pages_update_pinned in iommufd/pages.c). On a machine
// with several processes it stays the one that mapped it, whoever pins.
import { ERRNO } from '../../uapi/errno.js';
import type { Process } from './process.js';
import { grown } from './slots.js';

/** Who is charged for pinned pages. */
const CHARGE = { none: 0, user: 1, mm: 2 } as const;

export class PageCharges {
  readonly #process: Process;
  #modes = new Uint8Array(0);
  /** Who mapped it, by slot, where that is not the process itself. */
  readonly #others = new Map<number, Process>();
  /** Whether there ever was one: where not, nothing is looked up. */
  #hasOthers = false;

  constructor(process: Process) {
    this.#process = process;
  }

  grow(capacity: number): void {
    this.#modes = grown(this.#modes, capacity);
  }
  /** The process that calls now maps memory. */
  take(slot: number, mode: 'user' | 'mm'): void {
    const { caller } = this.#process;
    this.#modes[slot] = caller.rights.ipcLock ? CHARGE.none : CHARGE[mode];
    if (caller !== this.#process) this.#set(slot, caller);
  }
  #set(slot: number, owner: Process): void {
    this.#others.set(slot, owner);
    this.#hasOthers = true;
  }
  drop(slot: number): void {
    if (this.#hasOthers) this.#others.delete(slot);
  }

  /** Who mapped it. */
  ownerOf(slot: number): Process {
    return this.#hasOthers ? (this.#others.get(slot) ?? this.#process) : this.#process;
  }
  /** Whether another process calls now. */
  isOthers(slot: number): boolean {
    return this.ownerOf(slot) !== this.#process.caller;
  }
  /**
   * Stretches, with how many pages of them are pinned, become the caller's (charge_current in iommufd/ioas.c): it pays for all of
   * them before their owners get theirs back. 0 or -ENOMEM.
   */
  adopt(stretches: ReadonlyMap<number, number>): number {
    const { caller } = this.#process;
    const others = [...stretches].filter(([slot]) => this.isOthers(slot));
    for (const [i, [slot, count]] of others.entries()) {
      const rc = this.#charge(caller, slot, count);
      if (rc === 0) continue;
      for (const [paid, pages] of others.slice(0, i)) this.#uncharge(caller, paid, pages);
      return rc;
    }
    for (const [slot, count] of others) {
      this.uncharge(slot, count);
      this.#set(slot, caller);
    }
    return 0;
  }

  /** 0, or -ENOMEM: over the limit. */
  charge(slot: number, count: number): number {
    return this.#charge(this.ownerOf(slot), slot, count);
  }
  uncharge(slot: number, count: number): void {
    this.#uncharge(this.ownerOf(slot), slot, count);
  }
  #charge(process: Process, slot: number, count: number): number {
    const { charged, rights } = process;
    const mode = this.#modes[slot];
    if (mode !== CHARGE.none) {
      const payer = mode === CHARGE.user ? 'user' : 'mm';
      if (charged[payer] + count > rights.lockedPages) return -ERRNO.ENOMEM;
      charged[payer] += count;
    }
    process.pinned += count;
    return 0;
  }
  #uncharge(process: Process, slot: number, count: number): void {
    const { charged } = process;
    const mode = this.#modes[slot];
    process.pinned -= count;
    if (mode === CHARGE.user) charged.user -= count;
    else if (mode === CHARGE.mm) charged.mm -= count;
  }
}
