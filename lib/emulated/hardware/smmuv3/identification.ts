// What the SMMU says of itself in its identification registers (SMMUv3 manual, IHI 0070, 6.3.1 to 6.3.8). It has what QEMU's
// SMMUv3 has with both stages, and in addition what is modelled here beyond it: substreams with two-level tables, PCI ATS,
// stalls, and physical addresses of 48 bits.

const IDR0 = {
  stage2: 1 << 0,
  stage1: 1 << 1,
  /** TTF: AArch64 page tables alone. */
  aarch64: 2 << 2,
  coherent: 1 << 4,
  // HTTU 0: tables are not written. HYP, BTM, PRI 0.
  ats: 1 << 10,
  asid16: 1 << 12,
  vmid16: 1 << 18,
  /** CD2L: context descriptor tables of two levels. */
  twoLevelContexts: 1 << 19,
  /** TTENDIAN */
  littleEndian: 2 << 21,
  // STALL_MODEL 0: a fault stalls or terminates, as CD.S says.
  /** TERM_MODEL: what is terminated is always aborted, and CD.A must say so. */
  terminationAborts: 1 << 26,
  /** ST_LEVEL: stream tables of two levels. */
  twoLevelStreams: 1 << 27,
};

/** Bits of a StreamID: a PCI requester id. */
const STREAM_BITS = 16;
/** Bits of a SubstreamID (a PASID): as many as PCI has. */
export const SSID_BITS = 20;
const IDR1 = { ssidSize: SSID_BITS << 6, events: 19 << 16, commands: 19 << 21 };

const IDR3 = {
  /** Table descriptors' restrictions can be switched off: CD.HAD0, HAD1. */
  hierarchicalDisable: 1 << 2,
  /** Stage 2 tells execution by privileged and unprivileged apart, which means nothing to DMA. */
  xnx: 1 << 4,
  /** Invalidations of ranges. */
  ranges: 1 << 10,
  /** BBML 2: the size of a block may change in place. */
  blockChanges: 2 << 11,
};

/** Stalled accesses there can be at a time. */
export const STALL_MAX = 128;
/** Bits of a physical address, and of an intermediate one: OAS. */
export const ADDRESS_BITS = 48;
const OAS_48 = 5;
const IDR5 = { oas: OAS_48, granule4K: 1 << 4, granule16K: 1 << 5, granule64K: 1 << 6, stalls: STALL_MAX << 16 };

/** SMMUv3.1 */
const AIDR_V3_1 = 1;

export interface Identification {
  /** IDR0 to IDR5. */
  readonly idr: readonly [number, number, number, number, number, number];
  readonly iidr: number;
  readonly aidr: number;
}

function all(fields: { readonly [name: string]: number }): number {
  return Object.values(fields).reduce((register, field) => register | field, 0) >>> 0;
}

export const IDENTIFICATION: Identification = {
  idr: [all(IDR0), all(IDR1) | STREAM_BITS, 0, all(IDR3), 0, all(IDR5)],
  iidr: 0,
  aidr: AIDR_V3_1,
};
