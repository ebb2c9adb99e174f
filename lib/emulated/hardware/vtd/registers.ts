// What a VT-d unit says of itself: its capability and extended capability registers (VT-d manual, 11.4.2 and 11.4.3). The
// fields are those that Linux's driver or a VMM reads; what is not modelled (posted interrupts, performance counters) is not
// claimed. Widths are those of a server that has nested translation: 57 bits in both stages.

/** Bits of addresses that both stages take, and of PASIDs. */
export const ADDRESS_BITS = 57;
export const PASID_BITS = 20;
/** Domain ids that a unit tells apart. */
export const DOMAIN_IDS = 65536;

const field = (value: number, at: number): bigint => BigInt(value) << BigInt(at);
const bit = (at: number): bigint => field(1, at);

/** Of second-stage tables: 48 and 57 bits (SAGAW), as bits 2 and 3; large pages of 2 MiB and 1 GiB (SSLPS). */
const TABLE_WIDTHS = 0b1100;
const LARGE_PAGES = 0b11;

export const CAPABILITIES =
  // 2^(4 + 2 * 6) domains.
  field(6, 0) |
  field(TABLE_WIDTHS, 8) |
  field(ADDRESS_BITS - 1, 16) |
  // Fault recording registers from 0x400 on.
  field(0x40, 24) |
  field(LARGE_PAGES, 34) |
  // PSI: single pages can be invalidated, and up to 2^45 of them at once.
  bit(39) |
  field(ADDRESS_BITS - 12, 48) |
  // Writes and reads are drained at an invalidation.
  bit(54) |
  bit(55) |
  // FS1GP, FS5LP: first-stage pages of 1 GiB, and tables of five levels.
  bit(56) |
  bit(60);

/** SSADS: entries of the second stage note accesses and writes. */
const SECOND_STAGE_DIRTY = bit(45);

const EXTENDED =
  // C, QI, DT: coherent tables, queued invalidation, device TLBs (PCI ATS).
  bit(0) |
  bit(1) |
  bit(2) |
  // IR, EIM and the largest mask of an invalidation of interrupt entries: iommufd takes no device whose MSIs are not isolated.
  bit(3) |
  bit(4) |
  field(15, 20) |
  // PT, SC: pass-through, and accesses that can be made to snoop.
  bit(6) |
  bit(7) |
  // The IOTLB's registers are at 0x500.
  field(0x50, 8) |
  // NEST, PRS, SRS, EAFS: nested translation, page requests, supervisor requests, the extended accessed flag.
  bit(26) |
  bit(29) |
  bit(31) |
  bit(34) |
  // PSS, PASID, PDS: PASIDs, and page requests can be drained.
  field(PASID_BITS - 1, 35) |
  bit(40) |
  bit(42) |
  // SMTS, SSTS, FSTS, SMPWC: scalable mode with both stages, whose tables are walked coherently.
  bit(43) |
  bit(46) |
  bit(47) |
  bit(48);

/** The extended capabilities of a unit whose second stage can, or cannot, track dirty pages. */
export function extendedCapabilities(tracksDirty: boolean): bigint {
  return tracksDirty ? EXTENDED | SECOND_STAGE_DIRTY : EXTENDED;
}
