// A virtual command queue (VCMDQ): it takes commands from memory when its registers say that there are some, executes them at
// once, and stops at an error until that is acknowledged (tegra241-cmdqv.c; SMMUv3 manual (IHI 0070), 3.5, 7.1).
//
// What neither tells is decided here:
// - PROD, and CONS of a queue that is not enabled, can be written; the other way round CONS keeps its value, as in an SMMUv3.
//   Bits above the wrap bit are dropped.
// - PROD further ahead of CONS than the queue is long makes no sense, and nothing is executed until it makes sense again: a
//   write executes as many commands as the queue holds at most.
// - CONS.ERR is there as long as its error is. A queue whose GERROR and GERRORN differ in bit 0 executes nothing, whoever
//   made them differ; acknowledged, it goes on at CONS, with the command as it is then.
// - Disabling changes nothing but CONFIG and STATUS; enabled again, it goes on at CONS.
// - An init error is there on demand alone: the driver gives no queue a base or a size that hardware could refuse. Until it is
//   acknowledged the queue cannot be enabled; then CONFIG is to be written again.
import { PAGE_SIZE } from '../../memory/backing.js';
import { CERROR } from '../smmuv3/command-queue.js';
import type { GuestCommands } from './guest-commands.js';
import type { HwQueueControl, HwQueueState } from './queue-control.js';
import { ALL_ERRORS, ENABLE, ERROR_SHIFT, GERROR, LOG2_COMMAND, REGISTER } from './registers.js';

/** Memory by physical page and offset in it, a 64-bit word at a time. */
export interface CommandMemory {
  /** False where there is no memory. */
  loadFrom(page: number, offset: number): boolean;
  /** The halves of the word that was loaded last. */
  readonly low: number;
  readonly high: number;
}

const PAGE_BITS = 12;

const ERROR_NAMES = {
  [CERROR.illegal]: 'illegal-command',
  [CERROR.abort]: 'fetch-aborted',
  [CERROR.atcTimeout]: 'atc-timeout',
} as const;

export class VirtualCommandQueue implements HwQueueControl {
  readonly #memory: CommandMemory;
  readonly #commands: GuestCommands;
  readonly #raise: () => void;
  /** Whether page 0 shows it: CMDQ_ALLOC. */
  allocated = false;
  /** BASE: where it lies, and how many commands it holds. */
  #page = 0;
  #offset = 0;
  #length = 1;
  #prod = 0;
  #cons = 0;
  #error: number = CERROR.none;
  #config = 0;
  #enabled = false;
  #gerror = 0;
  #gerrorn = 0;
  #executed = 0;
  #abortFetch = false;
  #failEnable = false;

  /** @param raise sends the interrupt of its interface */
  constructor(memory: CommandMemory, commands: GuestCommands, raise: () => void) {
    this.#memory = memory;
    this.#commands = commands;
    this.#raise = raise;
  }

  /** Gives it memory, of 2^log2Length commands; whose queue it was before is forgotten. */
  setBase(address: number, log2Length: number): void {
    this.#page = Math.floor(address / PAGE_SIZE);
    this.#offset = address % PAGE_SIZE;
    this.#length = 2 ** log2Length;
    this.#executed = 0;
    this.#abortFetch = false;
    this.#failEnable = false;
    this.#commands.flush();
  }

  /** Whether it has an error that is not acknowledged: its bit of LVCMDQ_ERR_MAP. */
  get failed(): boolean {
    return this.#gerror !== this.#gerrorn;
  }

  read(register: number): number {
    switch (register) {
      case REGISTER.cons:
        return (this.#error << ERROR_SHIFT) | this.#cons;
      case REGISTER.prod:
        return this.#prod;
      case REGISTER.config:
        return this.#config;
      case REGISTER.status:
        return this.#enabled ? ENABLE : 0;
      case REGISTER.gerror:
        return this.#gerror;
      case REGISTER.gerrorn:
        return this.#gerrorn;
      default:
        return 0;
    }
  }

  write(register: number, value: number): void {
    switch (register) {
      case REGISTER.cons:
        if (!this.#enabled) this.#cons = value & this.#indexMask;
        break;
      case REGISTER.prod:
        this.#prod = value & this.#indexMask;
        this.#run();
        break;
      case REGISTER.config:
        this.#configure(value & ENABLE);
        break;
      case REGISTER.gerrorn:
        this.#acknowledge(value & ALL_ERRORS);
        break;
      default:
      // STATUS and GERROR are read only, and there is nothing behind them.
    }
  }

  /** An index, and the wrap bit above it. */
  get #indexMask(): number {
    return 2 * this.#length - 1;
  }

  #configure(enable: number): void {
    this.#config = enable;
    if (enable === 0) {
      this.#enabled = false;
    } else if (!this.#enabled) {
      this.#enable();
    }
  }
  #enable(): void {
    if (this.#isActive(GERROR.init)) return;
    if (this.#failEnable) {
      this.#failEnable = false;
      this.#fail(GERROR.init);
      return;
    }
    this.#enabled = true;
    this.#run();
  }

  #acknowledge(value: number): void {
    this.#gerrorn = value;
    if (this.#isActive(GERROR.command)) return;
    this.#error = CERROR.none;
    this.#run();
  }

  #isActive(error: number): boolean {
    return ((this.#gerror ^ this.#gerrorn) & error) !== 0;
  }
  /** Makes an error active, unless it is, and tells. */
  #fail(error: number): void {
    if (!this.#isActive(error)) this.#gerror ^= error;
    this.#raise();
  }

  /** Executes what is there. */
  #run(): void {
    if (!this.#enabled || this.#isActive(GERROR.command)) return;
    const mask = this.#indexMask;
    if (((this.#prod - this.#cons) & mask) > this.#length) return;
    while (this.#cons !== this.#prod) {
      const error = this.#executeNext();
      if (error !== CERROR.none) {
        this.#error = error;
        this.#fail(GERROR.command);
        return;
      }
      this.#cons = (this.#cons + 1) & mask;
      this.#executed++;
    }
  }

  #executeNext(): number {
    const memory = this.#memory;
    const at = this.#offset + ((this.#cons & (this.#length - 1)) << LOG2_COMMAND);
    const page = this.#page + (at >>> PAGE_BITS);
    const offset = at & (PAGE_SIZE - 1);
    if (this.#abortFetch || !memory.loadFrom(page, offset)) return this.#fetchAborted();
    // As signed words: those are never allocated.
    const word0 = memory.low | 0;
    const word1 = memory.high | 0;
    if (!memory.loadFrom(page, offset + 8)) return this.#fetchAborted();
    return this.#commands.execute(word0, word1, memory.low | 0, memory.high | 0);
  }
  #fetchAborted(): number {
    this.#abortFetch = false;
    return CERROR.abort;
  }

  inspect(): HwQueueState {
    return {
      enabled: this.#enabled,
      prod: this.#prod,
      cons: this.#cons,
      error: this.#errorName(),
      executed: this.#executed,
    };
  }
  #errorName(): HwQueueState['error'] {
    if (this.#isActive(GERROR.init)) return 'init';
    return this.#error in ERROR_NAMES ? ERROR_NAMES[this.#error as keyof typeof ERROR_NAMES] : undefined;
  }
  abortNextFetch(): void {
    this.#abortFetch = true;
  }
  failNextEnable(): void {
    this.#failEnable = true;
  }
}
