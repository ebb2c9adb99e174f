// What the driver makes of the SMMU's identification registers, and of what firmware says of it (arm_smmu_device_hw_probe,
// arm-smmu-v3.c; the fields are in arm-smmu-v3.h, and in the SMMUv3 manual, IHI 0070, 6.3).

/** IDR0 to IDR5, IIDR and AIDR. */
export interface Identification {
  readonly idr: readonly number[];
  readonly iidr: number;
  readonly aidr: number;
}

/** What firmware (IORT) says of an SMMU, which the driver takes for granted. */
export interface Firmware {
  /** It keeps dirty state in the kernel's stage-1 tables (the HTTU override). */
  readonly dirtyTracking: boolean;
}

export interface Features {
  readonly stage1: boolean;
  /** Both stages: guests may have a stage of their own. */
  readonly nesting: boolean;
  readonly coherent: boolean;
  readonly dirtyTracking: boolean;
  readonly ats: boolean;
  readonly stalls: boolean;
  readonly rangeInvalidation: boolean;
  /** Stage 2 decides alone what is cached (FWB). */
  readonly stage2ForcesWriteBack: boolean;
  /** SHCFG and its like count (ATTR_TYPES_OVR). */
  readonly overridesAttributes: boolean;
  /** 52-bit addresses with small granules (DS), of which range invalidation knows. */
  readonly ds: boolean;
  readonly twoLevelContexts: boolean;
  readonly asidBits: number;
  readonly vmidBits: number;
  readonly ssidBits: number;
  /** Bits of the IOVAs of a stage-1 table, and of a stage-2 table. */
  readonly stage1Bits: number;
  readonly stage2Bits: number;
}

/** IDR0 */
const S2P = 1 << 0;
const S1P = 1 << 1;
const COHACC = 1 << 4;
const ATS = 1 << 10;
const ASID16 = 1 << 12;
const VMID16 = 1 << 18;
const CD2L = 1 << 19;
const STALL_MODEL_SHIFT = 24;
/** Faults end, and never stall. */
const STALL_MODEL_NEVER = 1;
/** IDR1 */
const ATTR_TYPES_OVR = 1 << 27;
const SSIDSIZE_SHIFT = 6;
const FIVE_BITS = 31;
/** IDR3 */
const FWB = 1 << 8;
const RIL = 1 << 10;
/** IDR5 */
const DS = 1 << 7;
const OAS_MASK = 7;
/** Bits of addresses by IDR5.OAS; a value that the driver does not know counts as 48. */
const OUTPUT_BITS: readonly number[] = [32, 36, 40, 42, 44, 48, 52];
/** With pages of 4 KiB addresses have no more (arm_lpae_restrict_pgsizes, io-pgtable-arm.c); a CPU's have no more either. */
const MOST_BITS = 48;

export function featuresOf({ idr }: Identification, firmware: Firmware): Features {
  const [idr0 = 0, idr1 = 0, , idr3 = 0, , idr5 = 0] = idr;
  const has = (register: number, bits: number) => (register & bits) === bits;
  return {
    stage1: has(idr0, S1P),
    nesting: has(idr0, S1P | S2P),
    coherent: has(idr0, COHACC),
    dirtyTracking: firmware.dirtyTracking && has(idr0, COHACC),
    ats: has(idr0, ATS),
    stalls: ((idr0 >>> STALL_MODEL_SHIFT) & 3) !== STALL_MODEL_NEVER,
    rangeInvalidation: has(idr3, RIL),
    stage2ForcesWriteBack: has(idr3, FWB),
    overridesAttributes: has(idr1, ATTR_TYPES_OVR),
    ds: has(idr5, DS),
    twoLevelContexts: has(idr0, CD2L),
    asidBits: has(idr0, ASID16) ? 16 : 8,
    vmidBits: has(idr0, VMID16) ? 16 : 8,
    ssidBits: (idr1 >>> SSIDSIZE_SHIFT) & FIVE_BITS,
    stage1Bits: MOST_BITS,
    stage2Bits: Math.min(MOST_BITS, OUTPUT_BITS[idr5 & OAS_MASK] ?? MOST_BITS),
  };
}
