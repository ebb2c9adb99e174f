// A hardware queue from the hardware's side, for tests: its state, and faults to happen.

/** A command queue of a Tegra241 CMDQV as the hardware has it. */
export interface HwQueueState {
  /** Whether it runs: STATUS. */
  readonly enabled: boolean;
  /** PROD and CONS: the index, with the wrap bit above it. They are equal where the queue is empty. */
  readonly prod: number;
  readonly cons: number;
  /** What it stopped for, until that is acknowledged in GERRORN. */
  readonly error: 'illegal-command' | 'fetch-aborted' | 'atc-timeout' | 'init' | undefined;
  /** Commands that it has executed since it was allocated. */
  readonly executed: number;
}

export interface HwQueueControl {
  inspect(): HwQueueState;
  /** The next command cannot be read from memory: the queue stops there with CERROR_ABT. */
  abortNextFetch(): void;
  /** The next time that the queue is enabled, it is not, and has an init error (GERROR bit 2). */
  failNextEnable(): void;
}
