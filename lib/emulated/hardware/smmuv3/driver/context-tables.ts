// The memory that the kernel's own table of context descriptors for a device takes, made as substreams come into use
// (arm_smmu_alloc_cd_ptr, arm-smmu-v3.c). It stays for as long as the device does.
import type { Kernel } from '../../../kernel/kernel.js';

/** Descriptors in a second-level table; as many need but one level. */
const LEAF_ENTRIES = 1024;

export class ContextTables {
  readonly #kernel: Kernel;
  readonly #hasLeaves: boolean;
  #allocated = false;
  readonly #leaves = new Set<number>();

  /** @param ssidBits bits of the device's substream numbers */
  constructor(kernel: Kernel, ssidBits: number, twoLevels: boolean) {
    this.#kernel = kernel;
    this.#hasLeaves = twoLevels && 2 ** ssidBits > LEAF_ENTRIES;
  }

  /** Makes room for the descriptor of a substream; false where there is no memory. */
  makeRoom(ssid: number): boolean {
    if (!this.#allocated && !this.#makeTable()) return false;
    if (!this.#hasLeaves) return true;
    const leaf = Math.floor(ssid / LEAF_ENTRIES);
    if (this.#leaves.has(leaf)) return true;
    if (!this.#kernel.allocates()) return false;
    this.#leaves.add(leaf);
    return true;
  }
  /** With two levels there are two: what the hardware reads, and where the kernel keeps its own pointers. */
  #makeTable(): boolean {
    if (!this.#kernel.allocates() || (this.#hasLeaves && !this.#kernel.allocates())) return false;
    this.#allocated = true;
    return true;
  }
}
