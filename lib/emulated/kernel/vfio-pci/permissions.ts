// Which bits of configuration space are made up, and which may be written, capability by capability (the tables of
// vfio_pci_config.c).
import {
  AF,
  AF_RESET,
  BAR0,
  BIST,
  CACHE_LINE_SIZE,
  CAP_NEXT,
  CAPABILITY_LIST,
  COMMAND,
  COMMAND_INTX_DISABLE,
  DEVICE_ID,
  EXPRESS,
  EXPRESS_ARI,
  EXPRESS_PAYLOAD,
  EXPRESS_PHANTOM,
  EXPRESS_READ_REQUEST,
  EXPRESS_RESET,
  HEADER_SIZE,
  INTERRUPT_LINE,
  INTERRUPT_PIN,
  LATENCY_TIMER,
  MSI,
  MSI_64BIT,
  MSI_MASKABLE,
  PM,
  PM_EVENT_ENABLE,
  PM_EVENT_STATUS,
  PM_EVENTS,
  PM_STATE,
  ROM_ADDRESS,
  STATUS,
  STATUS_CAPABILITIES,
  VENDOR_ID,
} from './registers.js';

/** A bit for every bit of a capability. */
export interface Permissions {
  /** Read and written in the made-up copy, not in the hardware. */
  readonly virtual: Uint8Array;
  readonly writable: Uint8Array;
}

type Width = 1 | 2 | 4;
/** Offset, bytes, virtual bits, writable bits; what no row names is read from the hardware, and not written. */
type Row = readonly [offset: number, width: Width, virtual: number, writable: number];

const NONE = 0;
const ALL = 0xffff_ffff;

function permissions(size: number, rows: readonly Row[]): Permissions {
  // Whole words, so that the bytes behind a capability's end in its last word are found too.
  const length = Math.ceil(size / 4) * 4;
  const virtual = new Uint8Array(length);
  const writable = new Uint8Array(length);
  for (const [offset, width, virtualBits, writableBits] of rows) {
    for (let i = 0; i < width; i++) {
      virtual[offset + i] = virtualBits >>> (8 * i);
      writable[offset + i] = writableBits >>> (8 * i);
    }
  }
  return { virtual, writable };
}

const NEXT: Row = [CAP_NEXT, 1, ALL, NONE];
/** The first word of an extended capability holds its id and the next one's place. */
const EXTENDED: Row = [0, 4, ALL, NONE];

export const HEADER = permissions(HEADER_SIZE, [
  [VENDOR_ID, 2, ALL, NONE],
  [DEVICE_ID, 2, ALL, NONE],
  [COMMAND, 2, COMMAND_INTX_DISABLE, ALL],
  [STATUS, 2, STATUS_CAPABILITIES, NONE],
  [CACHE_LINE_SIZE, 1, NONE, ALL],
  [LATENCY_TIMER, 1, NONE, ALL],
  [BIST, 1, NONE, ALL],
  [BAR0, 4, ALL, ALL],
  [BAR0 + 4, 4, ALL, ALL],
  [BAR0 + 8, 4, ALL, ALL],
  [BAR0 + 12, 4, ALL, ALL],
  [BAR0 + 16, 4, ALL, ALL],
  [BAR0 + 20, 4, ALL, ALL],
  [ROM_ADDRESS, 4, ALL, ALL],
  [CAPABILITY_LIST, 1, ALL, NONE],
  [INTERRUPT_LINE, 1, ALL, ALL],
  [INTERRUPT_PIN, 1, ALL, NONE],
]);

const PM_EVENT = PM_EVENT_ENABLE | PM_EVENT_STATUS;
export const POWER = permissions(PM.size, [
  NEXT,
  [PM.capabilities, 2, PM_EVENTS, NONE],
  [PM.control, 4, PM_EVENT, ~(PM_EVENT | PM_STATE)],
]);

export const PCI_EXPRESS = permissions(0x34, [
  NEXT,
  [EXPRESS.deviceControl, 2, EXPRESS_RESET | EXPRESS_PAYLOAD | EXPRESS_READ_REQUEST, ~EXPRESS_PHANTOM],
  [EXPRESS.deviceControl2, 2, NONE, ~EXPRESS_ARI],
]);

export const ADVANCED_FEATURES = permissions(AF.size, [NEXT, [AF.control, 1, AF_RESET, AF_RESET]]);

/** Errors that may be cleared, masked and rated. */
const UNCORRECTABLE = 0x03ff_f031;
const CORRECTABLE = 0x0000_f1c1;
const ECRC_ENABLE = 0x0000_0140;
export const ERROR_REPORTING = permissions(0x2c, [
  EXTENDED,
  [0x04, 4, NONE, UNCORRECTABLE],
  [0x08, 4, NONE, UNCORRECTABLE],
  [0x0c, 4, NONE, UNCORRECTABLE],
  [0x10, 4, NONE, CORRECTABLE],
  [0x14, 4, NONE, CORRECTABLE],
  [0x18, 4, NONE, ECRC_ENABLE],
]);
export const POWER_BUDGET = permissions(0x10, [EXTENDED, [0x08, 1, NONE, ALL]]);

/** Bytes of an MSI capability with these flags. */
export function msiSize(flags: number): number {
  return 10 + ((flags & MSI_64BIT) !== 0 ? 4 : 0) + ((flags & MSI_MASKABLE) !== 0 ? 10 : 0);
}
export function msiPermissions(flags: number): Permissions {
  const wide = (flags & MSI_64BIT) !== 0;
  const rows: Row[] = [NEXT, [MSI.flags, 1, ALL, ALL], [MSI.addressLow, 4, ALL, ALL]];
  if (wide) rows.push([MSI.addressHigh, 4, ALL, ALL]);
  rows.push([wide ? MSI.data64 : MSI.data32, 2, ALL, ALL]);
  const mask = wide ? MSI.mask64 : MSI.mask32;
  // What is masked, and what is pending.
  if ((flags & MSI_MASKABLE) !== 0) rows.push([mask, 4, NONE, ALL], [mask + 4, 4, NONE, ALL]);
  return permissions(msiSize(flags), rows);
}
