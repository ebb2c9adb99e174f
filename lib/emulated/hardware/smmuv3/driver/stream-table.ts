// A page table of the kernel's as one device's stream goes through it: alone, or as stage 2 below a guest's.
import type { Translation } from '../../../kernel/driver.js';
import type { KernelTable, Stage2 } from '../stage2.js';
import type { Smmuv3PagingDomain } from './paging-domain.js';

export class StreamTable implements KernelTable, Stage2 {
  readonly stage: 1 | 2;
  readonly vmid: number;
  readonly #table: { readonly translation: Translation | undefined };

  /** @param stalls the device waits where it meets a fault (CD.S, STE.S2S) */
  constructor(
    { stage, vmid, table }: Smmuv3PagingDomain,
    readonly stalls: boolean,
  ) {
    this.stage = stage;
    this.vmid = vmid;
    this.#table = table;
  }

  get translation(): Translation | undefined {
    return this.#table.translation;
  }
}
