// Offsets and bits of PCI configuration space, as the specifications number them.

export const VENDOR_ID = 0x00;
export const DEVICE_ID = 0x02;
export const COMMAND = 0x04;
export const STATUS = 0x06;
export const CACHE_LINE_SIZE = 0x0c;
export const LATENCY_TIMER = 0x0d;
export const BIST = 0x0f;
export const BAR0 = 0x10;
export const ROM_ADDRESS = 0x30;
export const CAPABILITY_LIST = 0x34;
export const INTERRUPT_LINE = 0x3c;
export const INTERRUPT_PIN = 0x3d;
/** Bytes of the header, behind which capabilities lie. */
export const HEADER_SIZE = 0x40;
/** Bytes of conventional configuration space, behind which extended capabilities lie. */
export const CONFIG_SIZE = 0x100;

export const COMMAND_IO = 1 << 0;
export const COMMAND_MEMORY = 1 << 1;
export const COMMAND_MASTER = 1 << 2;
export const COMMAND_INTX_DISABLE = 1 << 10;
export const STATUS_INTERRUPT = 1 << 3;
export const STATUS_CAPABILITIES = 1 << 4;

/** Capabilities by their ids. */
export const CAP = { pm: 0x01, msi: 0x05, vendor: 0x09, express: 0x10, msix: 0x11, af: 0x13 } as const;
/** Extended ones. */
export const EXT_CAP = {
  error: 0x01,
  serial: 0x03,
  power: 0x04,
  vendor: 0x0b,
  acs: 0x0d,
  ari: 0x0e,
  ats: 0x0f,
  sriov: 0x10,
  multicast: 0x12,
  pri: 0x13,
  ltr: 0x18,
  dvsec: 0x23,
} as const;

/** Offsets within a capability, and bits there. */
export const CAP_NEXT = 1;
export const PM = { capabilities: 2, control: 4, size: 8 } as const;
export const PM_D1 = 1 << 9;
export const PM_D2 = 1 << 10;
export const PM_EVENTS = 0xf800;
export const PM_STATE = 0x3;
export const PM_NO_SOFT_RESET = 1 << 3;
export const PM_EVENT_ENABLE = 1 << 8;
export const PM_EVENT_STATUS = 1 << 15;

export const MSI = { flags: 2, addressLow: 4, addressHigh: 8, data32: 8, mask32: 12, data64: 12, mask64: 16 } as const;
export const MSI_ENABLE = 1 << 0;
export const MSI_MOST = 0x0e;
export const MSI_CONFIGURED = 0x70;
export const MSI_64BIT = 1 << 7;
export const MSI_MASKABLE = 1 << 8;

export const MSIX = { flags: 2, table: 4, size: 12 } as const;
export const MSIX_TABLE_SIZE = 0x7ff;
export const MSIX_TABLE_BAR = 0x7;
export const MSIX_ENTRY_SIZE = 16;

export const EXPRESS = { flags: 2, deviceCapabilities: 4, deviceControl: 8, deviceControl2: 0x28 } as const;
/** Link, slot and root control, and their second registers: what is kept over a reset besides device control. */
export const EXPRESS_CONTROLS = [0x08, 0x10, 0x28, 0x30] as const;
export const EXPRESS_VERSION = 0xf;
export const EXPRESS_RESETS = 1 << 28;
export const EXPRESS_PAYLOAD = 0x00e0;
export const EXPRESS_PHANTOM = 0x0200;
export const EXPRESS_READ_REQUEST = 0x7000;
export const EXPRESS_RESET = 0x8000;
export const EXPRESS_ARI = 0x0020;

export const AF = { capabilities: 3, control: 4, size: 6 } as const;
export const AF_TRANSACTIONS = 1 << 0;
export const AF_RESETS = 1 << 1;
export const AF_RESET = 1 << 0;
