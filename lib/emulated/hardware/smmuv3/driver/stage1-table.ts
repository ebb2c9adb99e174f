// The kernel's own stage-1 table of a domain, as the hardware reads it. Stage 1 has pages that can only be read, but none that
// can only be written: what may be written may be read (arm_lpae_prot_to_pte, io-pgtable-arm.c).
import type { PagingDomain, Translation } from '../../../kernel/driver.js';

export class Stage1Table implements Translation {
  protected readonly domain: PagingDomain;

  constructor(domain: PagingDomain) {
    this.domain = domain;
  }

  /** What is walked; undefined while there is none. */
  get translation(): Translation | undefined {
    return this.domain.translation === undefined ? undefined : this;
  }
  translate(page: number, offset: number, write: boolean): number {
    const { translation } = this.domain;
    if (translation === undefined) return -1;
    const address = translation.translate(page, offset, write);
    return address >= 0 || write ? address : translation.translate(page, offset, true);
  }
  frame(page: number, write: boolean): number {
    const { translation } = this.domain;
    if (translation === undefined) return -1;
    const frame = translation.frame(page, write);
    return frame >= 0 || write ? frame : translation.frame(page, true);
  }
}
