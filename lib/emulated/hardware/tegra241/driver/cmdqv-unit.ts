// The CMDQV beside one SMMU, of which each has its own: virtual interfaces to give away (tegra241-cmdqv.c,
// tegra241_cmdqv_init_vintf).
import { ERRNO } from '../../../../uapi/errno.js';
import type { Kernel } from '../../../kernel/kernel.js';
import type { Smmu } from '../../smmuv3/smmu.js';
import { LOG2_INTERFACES } from '../parameters.js';
import { VirtualInterface } from '../virtual-interface.js';

export class CmdqvUnit {
  readonly #kernel: Kernel;
  readonly #smmu: Smmu;
  /** The hardware's, by index, as far as they have been used: their registers stay. */
  readonly #interfaces: (VirtualInterface | undefined)[] = [];
  /** Which are in use; the first one is the kernel's own. */
  readonly #used = [true, ...new Array<boolean>(2 ** LOG2_INTERFACES - 1).fill(false)];

  constructor(kernel: Kernel, smmu: Smmu) {
    this.#kernel = kernel;
    this.#smmu = smmu;
  }

  /** Takes an interface; answers its index, or -errno. */
  takeInterface(): number {
    const index = this.#used.indexOf(false);
    if (index < 0) return -ERRNO.ENOSPC;
    if (!this.#kernel.allocates()) return -ERRNO.ENOMEM;
    this.#used[index] = true;
    return index;
  }
  giveBack(index: number): void {
    this.#used[index] = false;
  }
  /** The hardware of an interface. */
  interfaceAt(index: number): VirtualInterface {
    const made = this.#interfaces[index] ?? new VirtualInterface(this.#kernel.physical, this.#smmu);
    this.#interfaces[index] = made;
    return made;
  }
}
