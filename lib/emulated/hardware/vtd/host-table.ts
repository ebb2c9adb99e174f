// A page table of the host's, as the unit walks it: the kernel keeps it, and it is equal to an IOAS at all times.
import type { Translation } from '../../kernel/driver.js';

export interface HostTable {
  /** The map behind it; undefined while there is none. */
  readonly translation: Translation | undefined;
  /** The physical page behind a page, for this kind of access; -1 where its entry does not allow it, or there is none. */
  frame(page: number, write: boolean): number;
  /** Its entry for a page allowed a write: it is dirty from now on. */
  written(page: number): void;
}

/** A first-stage table of a guest's, as a PASID table entry points at it (VT-d manual, 9.6). */
export interface GuestTable {
  /** Where the root lies: a guest physical address, a multiple of 4 KiB. */
  readonly root: number;
  readonly levels: 4 | 5;
  /** Entries note in a flag of their own that the unit used them (EAFE). */
  readonly extendedAccessed: boolean;
}
