// The emulated kernel as a whole: what all its open files share.
import { isOlder } from '../../uapi/releases.js';
import type { PhysicalMemory } from '../memory/physical.js';
import type { Command } from './command.js';

/** Which user API: what Linux merged, or the third version of the vQUEUE patches, from before that. */
export type Dialect = 'linux' | 'vqueue-v3';

/** Which Linux: those that the emulated kernel was compared with. */
export const LINUXES = ['7.3', '6.12'] as const;
export type Linux = (typeof LINUXES)[number];

/** Carries out an ioctl whose struct was copied in: 0 or -errno. */
export type Handler = (command: Command) => number;

/** An ioctl that only this machine's kernel has. */
export interface ExtraIoctl {
  readonly request: number;
  readonly size: number;
  readonly minSize: number;
  readonly run: Handler;
}

/** IOMMU_TEST_CMD. */
export interface TestIoctl extends ExtraIoctl {
  /** What a kernel that has it does first with IOMMU_IOAS_COPY. */
  readonly prepareCopy: (command: Command) => void;
}

export class Kernel {
  readonly physical: PhysicalMemory;
  readonly dialect: Dialect;
  readonly linux: Linux;
  /** IOMMU_TEST_CMD, on a machine that has mock devices. */
  testCommand: TestIoctl | undefined;
  readonly #isNewest: boolean;
  /** Allocations until one fails; -1 for never. */
  #failAfter = -1;

  constructor(physical: PhysicalMemory, dialect: Dialect, linux: Linux = '7.3') {
    this.physical = physical;
    this.dialect = dialect;
    this.linux = linux;
    this.#isNewest = linux === LINUXES[0];
  }

  /** Whether it has what this release brought. */
  has(since: string): boolean {
    return this.#isNewest || !isOlder(this.linux, since);
  }

  /**
   * Every place where Linux takes memory that could be short asks here first: false stands for its -ENOMEM. Told to fail
   * once, it says so once.
   */
  allocates(): boolean {
    if (this.#failAfter < 0) return true;
    return this.#failAfter-- !== 0;
  }
  /** Lets `after` allocations work, and the next one fail; -1 takes it back. */
  failAllocation(after: number): void {
    this.#failAfter = after;
  }
  /** Which allocation from now on fails: 1 for the next one, 0 for none. */
  get failsIn(): number {
    return this.#failAfter + 1;
  }
  /** Whether a failure that was asked for has not happened yet. */
  get failurePending(): boolean {
    return this.#failAfter >= 0;
  }
}
