// VMIDs, which tell stage-2 tables apart: the lowest free one is taken, as an ida gives them; 0 is for streams without a
// stage 2 (arm_smmu_domain_finalise_s2, arm-smmu-v3.c).
import { ERRNO } from '../../../../uapi/errno.js';

const FIRST = 1;

export class Vmids {
  readonly #end: number;
  readonly #used = new Set<number>();

  /** @param bits bits of a VMID */
  constructor(bits: number) {
    this.#end = 2 ** bits;
  }

  /** -ENOSPC where all are in use. */
  take(): number {
    for (let vmid = FIRST; vmid < this.#end; vmid++) {
      if (this.#used.has(vmid)) continue;
      this.#used.add(vmid);
      return vmid;
    }
    return -ERRNO.ENOSPC;
  }
  give(vmid: number): void {
    this.#used.delete(vmid);
  }
}
