// Invalidation commands of an SMMUv3, as a guest puts them into its command queue (SMMUv3 manual, IHI 0070, 4.3 and 4.4).
import { STREAM } from './smmuv3-words.js';

/** Two words. */
export type Command = readonly [bigint, bigint];

const OPCODE = {
  cfgiCd: 0x05n,
  cfgiCdAll: 0x06n,
  nhAll: 0x10n,
  nhAsid: 0x11n,
  nhVa: 0x12n,
  nhVaa: 0x13n,
  nsnhAll: 0x30n,
  atcInv: 0x40n,
} as const;

/** A range of pages, where the SMMU has range invalidation (SMMU_IDR3.RIL): (num + 1) * 2^scale pages of a granule. */
export interface Range {
  readonly num?: number;
  readonly scale?: number;
  /** 1, 2, 3: pages of 4, 16, 64 KiB; 0 for no range. */
  readonly tg?: number;
  /** The level of the leaves, 1 to 3; 0 for any. */
  readonly ttl?: number;
}

interface ByAddress extends Range {
  readonly asid?: number;
  /** Only leaves changed, no tables. */
  readonly leaf?: boolean;
}

function byAddress(opcode: bigint, va: bigint, options: ByAddress): Command {
  const { asid = 0, leaf = false, num = 0, scale = 0, tg = 0, ttl = 0 } = options;
  return [
    opcode | (BigInt(num) << 12n) | (BigInt(scale) << 20n) | (BigInt(asid) << 48n),
    va | (BigInt(tg) << 10n) | (BigInt(ttl) << 8n) | (leaf ? 1n : 0n),
  ];
}

const stream = (id: number) => BigInt(id) << 32n;

export const COMMANDS = {
  /** What the guest's address spaces have translated. */
  nhAll: (): Command => [OPCODE.nhAll, 0n],
  /** The same, and of its hypervisor's if it had one. */
  nsnhAll: (): Command => [OPCODE.nsnhAll, 0n],
  nhAsid: (asid = 1): Command => [OPCODE.nhAsid | (BigInt(asid) << 48n), 0n],
  nhVa: (va: bigint, options: ByAddress = {}): Command => byAddress(OPCODE.nhVa, va, { asid: 1, ...options }),
  /** Of every address space. */
  nhVaa: (va: bigint, options: Omit<ByAddress, 'asid'> = {}): Command => byAddress(OPCODE.nhVaa, va, options),
  cfgiCd: (options: { id?: number; substream?: number; leaf?: boolean } = {}): Command => [
    OPCODE.cfgiCd | (BigInt(options.substream ?? 0) << 12n) | stream(options.id ?? STREAM),
    options.leaf === true ? 1n : 0n,
  ],
  cfgiCdAll: (id = STREAM): Command => [OPCODE.cfgiCdAll | stream(id), 0n],
  /** 2^size pages of 4 KiB of what the device keeps; all with 52. */
  atcInv: (va: bigint, size: number, id = STREAM): Command => [OPCODE.atcInv | stream(id), va | BigInt(size)],
} as const;

/** Commands as the call takes them. */
export function commandWords(...commands: readonly Command[]): BigUint64Array {
  return BigUint64Array.from(commands.flat());
}
