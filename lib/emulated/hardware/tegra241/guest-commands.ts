// What a queue of a guest's interface makes of a command: it knows four of them, and makes them the guest's own, by its VMID
// and its devices' StreamIDs (tegra241-cmdqv.c, tegra241_guest_vcmdq_supports_cmd; SMMUv3 manual (IHI 0070), 4.4 to 4.7).
import { CERROR, COMMAND } from '../smmuv3/command-queue.js';
import type { StreamMatches } from './stream-matches.js';

/** A command queue of the SMMU. */
export interface CommandTarget {
  /** Executes a command with the SMMU's own VMID and StreamID, told as four words of 32 bits; answers a CERROR. */
  execute(word0: number, word1: number, word2: number, word3: number): number;
  /** Nobody waits for what devices have not answered so far. */
  reset(): void;
}

const OPCODE_MASK = 0xff;
/** CMD_SYNC: how its completion is told (CS). */
const COMPLETION_SIGNAL = 3 << 12;
const VMID_MASK = 0xffff;

export class GuestCommands {
  readonly #target: CommandTarget;
  readonly #streams: StreamMatches;
  /** The guest's: what it writes into a command itself does not count. */
  vmid = 0;

  constructor(target: CommandTarget, streams: StreamMatches) {
    this.#target = target;
    this.#streams = streams;
  }

  /**
   * The queue has a new owner. What devices did not answer is not that one's: the driver sees to it too, since hardware would
   * tell at the next CMD_SYNC (tegra241_vcmdq_hw_flush_timeout).
   */
  flush(): void {
    this.#target.reset();
  }

  execute(word0: number, word1: number, word2: number, word3: number): number {
    switch (word0 & OPCODE_MASK) {
      case COMMAND.tlbiNhAsid:
      case COMMAND.tlbiNhVa:
        return this.#target.execute(word0, (word1 & ~VMID_MASK) | this.vmid, word2, word3);
      case COMMAND.atcInv:
        return this.#invalidateAtc(word0, word1, word2, word3);
      case COMMAND.sync:
        return this.#sync(word0);
      default:
        return CERROR.illegal;
    }
  }

  /**
   * A StreamID that stands for none of the guest's devices makes the command illegal: by IOMMU_HWPT_INVALIDATE it is
   * refused too (EIO), and the guest learns of its mistake.
   */
  #invalidateAtc(word0: number, word1: number, word2: number, word3: number): number {
    const stream = this.#streams.physical(word1);
    if (stream < 0) return CERROR.illegal;
    return this.#target.execute(word0, stream, word2, word3);
  }

  /**
   * Everything before it is done by now, unless a device did not answer an ATC_INV. Its completion is seen by CONS alone: a
   * guest's queue sends no interrupt and no event for it, and Linux asks for none on this hardware.
   */
  #sync(word0: number): number {
    if ((word0 & COMPLETION_SIGNAL) !== 0) return CERROR.illegal;
    return this.#target.execute(COMMAND.sync, 0, 0, 0);
  }
}
