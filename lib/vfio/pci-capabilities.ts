// The capability lists of a PCI device's configuration space (PCI Local Bus 3.0 section 6.7; PCI Express 7.9). The device
// tells where each next one is; what it tells is followed within the space, and never twice.

/** What reads configuration space. */
export interface ConfigReader {
  /** Bytes: 256, 4096 with extended capabilities, 255 or so for devices that only look like one. */
  readonly size: number;
  read8(offset: number): number;
  read16(offset: number): number;
  read32(offset: number): number;
}

/** One capability of a PCI device. */
export interface PciCapability {
  /** Its number. */
  readonly id: number;
  /** Its name, where it is one of the common ones. */
  readonly name: PciCapabilityName | undefined;
  /** Where it starts, in bytes. */
  readonly offset: number;
  /** Whether it is one of those from byte 256 on, whose numbers are others. */
  readonly extended: boolean;
  /** Of an extended one: the version of its layout. */
  readonly version: number | undefined;
}

const STANDARD = {
  'power-management': 0x01,
  vpd: 0x03,
  msi: 0x05,
  'vendor-specific': 0x09,
  pcie: 0x10,
  msix: 0x11,
  'advanced-features': 0x13,
} as const;
const EXTENDED = {
  aer: 0x01,
  'serial-number': 0x03,
  acs: 0x0d,
  ari: 0x0e,
  ats: 0x0f,
  sriov: 0x10,
  'page-requests': 0x13,
  'resizable-bar': 0x15,
  pasid: 0x1b,
} as const;

export type PciCapabilityName = keyof typeof STANDARD | keyof typeof EXTENDED;
export const PCI_CAPABILITY_NAMES = Object.keys({ ...STANDARD, ...EXTENDED }) as readonly PciCapabilityName[];

const STATUS = 0x06;
const STATUS_CAPABILITIES = 0x10;
const POINTER = 0x34;
const HEADER_END = 0x40;
const EXTENDED_START = 0x100;
/** Bytes of the header of a capability of either kind. */
const STANDARD_HEADER = 2;
const EXTENDED_HEADER = 4;
/** What is read where nothing answers. */
const NOTHING_8 = 0xff;
const NOTHING_32 = 0xffff_ffff;

const nameOf = (table: Readonly<Record<string, number>>, id: number) =>
  PCI_CAPABILITY_NAMES.find((name) => table[name] === id);

/** All capabilities, in the order of the device's lists. */
export function readCapabilities(config: ConfigReader): PciCapability[] {
  return [...standardCapabilities(config), ...extendedCapabilities(config)];
}

/** Those of the first 256 bytes: a byte of number, a byte of where the next one is. */
export function* standardCapabilities(config: ConfigReader): Generator<PciCapability> {
  if (config.size < HEADER_END || (config.read16(STATUS) & STATUS_CAPABILITIES) === 0) return;
  const seen = new Set<number>();
  const last = Math.min(config.size, EXTENDED_START) - STANDARD_HEADER;
  for (let offset = config.read8(POINTER) & ~3; offset >= HEADER_END && offset <= last; ) {
    if (seen.has(offset)) return;
    seen.add(offset);
    const id = config.read8(offset);
    if (id === NOTHING_8) return;
    yield { id, name: nameOf(STANDARD, id), offset, extended: false, version: undefined };
    offset = config.read8(offset + 1) & ~3;
  }
}

/** Those from byte 256 on: 16 bits of number, 4 of version, 12 of where the next one is. */
function* extendedCapabilities(config: ConfigReader): Generator<PciCapability> {
  const seen = new Set<number>();
  for (let offset = EXTENDED_START; offset >= EXTENDED_START && offset <= config.size - EXTENDED_HEADER; ) {
    if (seen.has(offset)) return;
    seen.add(offset);
    const header = config.read32(offset);
    if (header === 0 || header === NOTHING_32) return;
    const id = header & 0xffff;
    // VFIO hides the first one by a 0 in its place, with the next one's offset kept.
    if (id !== 0) {
      yield { id, name: nameOf(EXTENDED, id), offset, extended: true, version: (header >>> 16) & 0xf };
    }
    offset = (header >>> 20) & ~3;
  }
}

/** Whether a capability is the one meant: by name, or a standard one by number. */
export function isCapability(one: PciCapability, which: PciCapabilityName | number): boolean {
  return typeof which === 'number' ? !one.extended && one.id === which : one.name === which;
}
