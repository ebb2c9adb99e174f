// Stage 2, which the kernel keeps: from a guest's physical addresses to memory.
import type { Translation } from '../../kernel/driver.js';

/** A guest's stage 2. What it answers is kept: whoever changes it calls `Smmu.invalidateVmid`. */
export interface Stage2 {
  readonly vmid: number;
  /**
   * The kernel's table as it is now; undefined while there is none. What it refuses to read it is asked whether it may be
   * written, and the other way, to tell what kind of fault that is.
   */
  readonly translation: Translation | undefined;
  /** Faults stall the access (STE.S2S). */
  readonly stalls?: boolean;
}

/** A page table that the kernel uses alone, of stage 1 if nothing else is said. */
export interface KernelTable {
  readonly translation: Translation | undefined;
  readonly stage?: 1 | 2;
  /** Faults stall the access (CD.S, STE.S2S). */
  readonly stalls?: boolean;
}

/** The physical page behind a page for this kind of access; -1 where it has none. */
export function frameOf(translation: Translation | undefined, page: number, write: boolean): number {
  return translation === undefined ? -1 : translation.frame(page, write);
}
