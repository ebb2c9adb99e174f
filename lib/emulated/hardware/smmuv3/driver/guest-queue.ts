// A guest's commands on their way into the SMMU's queue: checked one by one, made the guest's own by its VMID and its devices'
// StreamIDs, and issued in batches (arm_vsmmu_convert_user_cmd and arm_vsmmu_cache_invalidate, arm-smmu-v3-iommufd.c).
import { ERRNO } from '../../../../uapi/errno.js';
import { OP, OP_MASK, sync } from './commands.js';
import type { Smmuv3Iommu } from './iommu.js';

const COMMAND_BYTES = 16;
/** Commands that are issued together: as many as fit into a batch of the driver's, with the CMD_SYNC behind them. */
const BATCH = 63;
const VMID_MASK = 0xffff;
/** The word with VMID or StreamID, and those behind it. */
const WORD1 = 4;
const WORD2 = 8;
const WORD3 = 12;

export class GuestQueue {
  readonly #iommu: Smmuv3Iommu;
  readonly #vmid: number;
  readonly #streamOf: (virtId: number) => number;
  /** How many commands count as done after `run`. */
  done = 0;

  /** @param streamOf the StreamID behind one of the guest's, or -1 */
  constructor(iommu: Smmuv3Iommu, vmid: number, streamOf: (virtId: number) => number) {
    this.#iommu = iommu;
    this.#vmid = vmid;
    this.#streamOf = streamOf;
  }

  /**
   * Carries commands out, until one is refused (-EIO). The ones before it count as done, also those of its batch, which are
   * not issued then.
   */
  run(commands: DataView, count: number): number {
    let issued = 0;
    this.done = 0;
    while (this.done < count) {
      if (!this.#convert(commands, this.done * COMMAND_BYTES)) return -ERRNO.EIO;
      this.done++;
      if (this.done < count && this.done - issued < BATCH) continue;
      this.#issue(commands, issued, this.done);
      issued = this.done;
    }
    return 0;
  }

  #convert(commands: DataView, at: number): boolean {
    const word0 = commands.getUint32(at, true);
    const word1 = commands.getUint32(at + WORD1, true);
    const word2 = commands.getUint32(at + WORD2, true);
    if (!this.#iommu.userCommands.allows(word0, word1, word2, commands.getUint32(at + WORD3, true))) return false;
    switch (word0 & OP_MASK) {
      case OP.tlbiNsnhAll:
        // Everything is everything of the guest.
        commands.setUint32(at, OP.tlbiNhAll, true);
        commands.setUint32(at + WORD1, this.#vmid, true);
        return true;
      case OP.atcInv:
      case OP.cfgiCd:
      case OP.cfgiCdAll:
        return this.#replaceStream(commands, at + WORD1, word1);
      default:
        commands.setUint32(at + WORD1, (word1 & ~VMID_MASK) | this.#vmid, true);
        return true;
    }
  }
  #replaceStream(commands: DataView, at: number, virtId: number): boolean {
    const stream = this.#streamOf(virtId);
    if (stream >= 0) commands.setUint32(at, stream, true);
    return stream >= 0;
  }

  #issue(commands: DataView, first: number, end: number): void {
    const { smmu } = this.#iommu;
    for (let at = first * COMMAND_BYTES; at < end * COMMAND_BYTES; at += COMMAND_BYTES) {
      // A command in error is skipped, and nobody told.
      smmu.execute(
        commands.getUint32(at, true),
        commands.getUint32(at + WORD1, true),
        commands.getUint32(at + WORD2, true),
        commands.getUint32(at + WORD3, true),
      );
    }
    sync(smmu);
  }
}
