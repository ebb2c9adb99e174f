// Commands as the driver writes them into its queue (arm-smmu-v3.h; SMMUv3 manual, IHI 0070, 4): four words of 32 bits.
import type { Smmu } from '../smmu.js';

export const OP = {
  cfgiCd: 0x05,
  cfgiCdAll: 0x06,
  tlbiNhAll: 0x10,
  tlbiNhAsid: 0x11,
  tlbiNhVa: 0x12,
  tlbiNhVaa: 0x13,
  tlbiNsnhAll: 0x30,
  atcInv: 0x40,
  sync: 0x46,
} as const;

/** The opcode, in the first word. */
export const OP_MASK = 0xff;
/** ATC_INV with a substream: in the first word, with its number from bit 12 on. */
const SSV = 1 << 11;
const SSID_SHIFT = 12;
/** ATC_INV's Size, a power of two of 4 KiB: everything. */
export const ATC_SIZE_ALL = 52;

/** Waits until all commands before are done. One that fails, since a device did not answer, is repeated, and nobody told. */
export function sync(smmu: Smmu): void {
  if (smmu.execute(OP.sync, 0, 0, 0) !== 0) smmu.execute(OP.sync, 0, 0, 0);
}

/** A device forgets what it keeps: of one substream, or with 0 of all. Nobody hears where it does not answer. */
export function forgetInDevice(smmu: Smmu, stream: number, ssid: number): void {
  const substream = ssid === 0 ? 0 : SSV | (ssid << SSID_SHIFT);
  smmu.execute(OP.atcInv | substream, stream, ATC_SIZE_ALL, 0);
  sync(smmu);
}
