// What an SMMUv3 can do, by its identification registers (SMMUv3 manual, IHI 0070, 6.3.1 to 6.3.6).
import assert from 'node:assert/strict';
import type { HwInfo } from '../../lib/index.js';

/** Which register, the lowest bit, and how many. */
type Place = readonly [register: number, low: number, width: number];

const PLACES = {
  httu: [0, 6, 2],
  ats: [0, 10, 1],
  twoLevelContexts: [0, 19, 1],
  tableEndian: [0, 21, 2],
  stallModel: [0, 24, 2],
  terminationModel: [0, 26, 1],
  substreamBits: [1, 6, 5],
  hierarchy: [3, 2, 1],
  smallTables: [3, 9, 1],
  ranges: [3, 10, 1],
  outputSize: [5, 0, 3],
  granule4k: [5, 4, 1],
  granule16k: [5, 5, 1],
  granule64k: [5, 6, 1],
} as const satisfies Record<string, Place>;

export type Registers = Readonly<Record<keyof typeof PLACES, number>>;

export function registersOf(info: HwInfo): Registers {
  const { idr } = info.fields;
  assert(Array.isArray(idr), 'the IOMMU does not tell its identification registers');
  const read = ([register, low, width]: Place) => (Number(idr[register]) >>> low) & ((1 << width) - 1);
  return Object.fromEntries(Object.entries<Place>(PLACES).map(([name, place]) => [name, read(place)])) as Registers;
}

const OUTPUT_BITS = [32, 36, 40, 42, 44, 48, 52] as const;

/** Bits of the physical addresses that it can give. */
export function outputBits(registers: Registers | undefined): number {
  return OUTPUT_BITS[registers?.outputSize ?? 0] ?? 0;
}

/** Things that not every SMMUv3 can do, or cannot. */
const FEATURES = {
  '4k': ({ granule4k }: Registers) => granule4k === 1,
  '16k': ({ granule16k }: Registers) => granule16k === 1,
  '64k': ({ granule64k }: Registers) => granule64k === 1,
  /** Tables may forbid what those below them allow, and be told not to. */
  hierarchy: ({ hierarchy }: Registers) => hierarchy === 1,
  ranges: ({ ranges }: Registers) => ranges === 1,
  'narrow-output': (registers: Registers) => outputBits(registers) < 48,
  'no-small-tables': ({ smallTables }: Registers) => smallTables === 0,
  'no-stall': ({ stallModel }: Registers) => stallModel === 1,
  'aborts-only': ({ terminationModel }: Registers) => terminationModel === 1,
  'no-access-flag-updates': ({ httu }: Registers) => httu === 0,
  'little-endian-only': ({ tableEndian }: Registers) => tableEndian === 2,
  substreams: ({ substreamBits }: Registers) => substreamBits > 0,
  'no-substreams': ({ substreamBits }: Registers) => substreamBits === 0,
  'two-level-contexts': ({ twoLevelContexts, substreamBits }: Registers) => twoLevelContexts === 1 && substreamBits > 0,
  ats: ({ ats }: Registers) => ats === 1,
  'no-ats': ({ ats }: Registers) => ats === 0,
} as const satisfies Record<string, (registers: Registers) => boolean>;

export type Feature = keyof typeof FEATURES;

export function hasFeature(feature: Feature, registers: Registers): boolean {
  return FEATURES[feature](registers);
}
