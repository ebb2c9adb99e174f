// A virtual interface (VINTF): command queues that act for one guest, and the page of registers that the guest gets
// (tegra241-cmdqv.c).
import type { MmapRegion } from '../../kernel/driver.js';
import { type CommandTarget, GuestCommands } from './guest-commands.js';
import { Page0 } from './page0.js';
import { LOG2_QUEUES, LOG2_STREAMS, PAGE0_SIZE } from './parameters.js';
import { StreamMatches } from './stream-matches.js';
import { type CommandMemory, VirtualCommandQueue } from './virtual-command-queue.js';

/** Bytes of LVCMDQ_ERR_MAP: a bit for each of 128 queues. */
const ERROR_MAP_SIZE = 16;

export class VirtualInterface {
  readonly streams = new StreamMatches(2 ** LOG2_STREAMS);
  readonly queues: readonly VirtualCommandQueue[];
  /** Page 0. */
  readonly region: MmapRegion;
  readonly #commands: readonly GuestCommands[];
  #onError: ((errorMap: Uint8Array) => void) | undefined;

  /** @param smmu gives each queue one of its own to act by, which tells it of its own commands alone */
  constructor(memory: CommandMemory, smmu: { addQueue(): CommandTarget }) {
    this.#commands = Array.from({ length: 2 ** LOG2_QUEUES }, () => new GuestCommands(smmu.addQueue(), this.streams));
    this.queues = this.#commands.map((commands) => new VirtualCommandQueue(memory, commands, () => this.#interrupt()));
    this.region = { length: PAGE0_SIZE, registers: new Page0(this.queues) };
  }

  /**
   * CONFIG: it acts for the guest of a VMID from now on.
   * @param onError the interrupt: each new error of a queue raises it, with LVCMDQ_ERR_MAP as it is then
   */
  enable(vmid: number, onError: (errorMap: Uint8Array) => void): void {
    for (const commands of this.#commands) commands.vmid = vmid;
    this.#onError = onError;
  }
  /** It acts for nobody any more: its queues and streams have been given back. */
  disable(): void {
    this.#onError = undefined;
  }

  #interrupt(): void {
    const map = new Uint8Array(ERROR_MAP_SIZE);
    this.queues.forEach((queue, i) => {
      if (queue.failed) map[i >> 3] = (map[i >> 3] ?? 0) | (1 << (i & 7));
    });
    this.#onError?.(map);
  }
}
