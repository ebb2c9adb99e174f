// The registers of a virtual command queue in page 0 of its interface, 32 bits each (tegra241-cmdqv.c); indexes and error
// codes are those of an SMMUv3's own command queue (SMMUv3 manual (IHI 0070), 7.1).

/** log2 of the bytes between one queue's registers and the next one's. */
export const SLOT_SHIFT = 7;

/** Offsets in a queue's slot. */
export const REGISTER = { cons: 0x00, prod: 0x04, config: 0x08, status: 0x0c, gerror: 0x10, gerrorn: 0x14 } as const;

/** CONFIG: the queue is to run. STATUS: it does. */
export const ENABLE = 1;

/** CONS: where the reason lies that the queue stopped for. */
export const ERROR_SHIFT = 24;

/** Bits of GERROR and GERRORN: an error is there while they differ. */
export const GERROR = {
  /** A command could not be executed: CONS says why. */
  command: 1 << 0,
  /** The copy of CONS in memory could not be written. The driver asks for none, so that this does not happen. */
  consWriteAborted: 1 << 1,
  /** The queue could not be enabled. */
  init: 1 << 2,
} as const;
export const ALL_ERRORS = GERROR.command | GERROR.consWriteAborted | GERROR.init;

/** Bytes of a command. */
export const LOG2_COMMAND = 4;
