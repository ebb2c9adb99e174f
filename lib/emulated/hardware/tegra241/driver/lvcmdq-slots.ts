// The command queues of a vIOMMU's interface (LVCMDQ) as Linux's driver gives them out: from the first one upwards, each
// needing the one before it (tegra241-cmdqv.c, tegra241_vintf_alloc_lvcmdq_user).
import { ERRNO } from '../../../../uapi/errno.js';
import type { HwQueue } from '../../../kernel/hw-queue.js';
import type { Kernel } from '../../../kernel/kernel.js';
import type { HwQueueControl } from '../queue-control.js';
import { LOG2_COMMAND, REGISTER } from '../registers.js';
import type { VirtualCommandQueue } from '../virtual-command-queue.js';

/** Bytes: two commands. */
const SHORTEST = 32n;
/** What BASE has bits for: addresses below this, at a multiple of the shortest length. */
const BASE_END = 2 ** 48;
/** IDR1.CMDQS: log2 of the commands that a queue of the SMMU holds at most. */
const CMDQS_SHIFT = 21;
const CMDQS_MASK = 0x1f;

export class LvcmdqSlots {
  readonly #kernel: Kernel;
  readonly #hardware: readonly VirtualCommandQueue[];
  readonly #longest: bigint;
  readonly #slots: (HwQueue | undefined)[];

  /** @param idr the SMMU's identification registers */
  constructor(kernel: Kernel, hardware: readonly VirtualCommandQueue[], idr: readonly number[]) {
    this.#kernel = kernel;
    this.#hardware = hardware;
    this.#longest = 1n << BigInt((((idr[1] ?? 0) >>> CMDQS_SHIFT) & CMDQS_MASK) + LOG2_COMMAND);
    this.#slots = hardware.map(() => undefined);
  }

  /** Answers what undoes it, or -errno. */
  init(queue: HwQueue, index: number, physical: number): (() => void) | number {
    const hardware = this.#hardware[index];
    if (hardware === undefined) return -ERRNO.EINVAL;
    if (this.#slots[index] !== undefined) return -ERRNO.EEXIST;
    const previous = index === 0 ? undefined : this.#slots[index - 1];
    if (index > 0 && previous === undefined) return -ERRNO.EIO;
    if (!this.#isLength(queue.length) || !this.#isBase(queue, physical)) return -ERRNO.EINVAL;
    const refusal = previous === undefined ? 0 : queue.dependOn(previous);
    if (refusal < 0) return refusal;
    hardware.allocated = true;
    reset(hardware);
    hardware.setBase(physical, log2(queue.length) - LOG2_COMMAND);
    this.#slots[index] = queue;
    return () => {
      reset(hardware);
      hardware.allocated = false;
      this.#slots[index] = undefined;
      if (previous !== undefined) queue.undepend(previous);
    };
  }

  control(queue: HwQueue): HwQueueControl | undefined {
    return this.#hardware[this.#slots.indexOf(queue)];
  }

  #isLength(length: bigint): boolean {
    return (length & (length - 1n)) === 0n && length >= SHORTEST && length <= this.#longest;
  }
  /** The vQUEUE patches asked it of the address that the guest sees. */
  #isBase(queue: HwQueue, physical: number): boolean {
    const address = this.#kernel.dialect === 'vqueue-v3' ? Number(queue.baseAddress) : physical;
    return address < BASE_END && address % Number(queue.length) === 0;
  }
}

function log2(length: bigint): number {
  return Math.log2(Number(length));
}

/** As the driver does before a queue is somebody's, and after: what GERROR was told stays, acknowledged. */
function reset(hardware: VirtualCommandQueue): void {
  hardware.write(REGISTER.config, 0);
  hardware.write(REGISTER.prod, 0);
  hardware.write(REGISTER.cons, 0);
  hardware.setBase(0, 0);
  hardware.write(REGISTER.gerrorn, hardware.read(REGISTER.gerror));
}
