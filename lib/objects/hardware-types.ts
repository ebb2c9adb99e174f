// The kinds of IOMMU that linux/iommufd.h knows, by the names used here: which number each call takes for a kind, and
// the struct that goes with it. The one table; a kind that is not in it is given by number, with its data as bytes.

import { toU32 } from '../host/arguments.js';
import { invalidType, outOfRange } from '../host/errors.js';
import * as uapi from '../uapi/iommufd.js';
import type { Fields, Layout } from '../uapi/layout.js';

const info = uapi.iommu_hw_info_type.values;
const viommu = uapi.iommu_viommu_type.values;
const eventq = uapi.iommu_veventq_type.values;
const queue = uapi.iommu_hw_queue_type.values;

/** A kind of IOMMU. */
export type HardwareName = 'intel-vtd' | 'arm-smmuv3' | 'tegra241-cmdqv' | 'amd';
/** A kind of vIOMMU, its event queue or its hardware queue: by name, or by number for kinds not known here. */
export type ViommuTypeName = 'arm-smmuv3' | 'tegra241-cmdqv';
export type HwQueueTypeName = 'tegra241-cmdqv';

interface HwInfoKind {
  readonly name: HardwareName;
  readonly type: number;
  readonly layout: Layout<Fields>;
}

function erase<F extends Fields>(layout: Layout<F>): Layout<Fields> {
  return layout as unknown as Layout<Fields>;
}

export const HW_INFO_KINDS: readonly HwInfoKind[] = [
  { name: 'intel-vtd', type: info.IOMMU_HW_INFO_TYPE_INTEL_VTD, layout: erase(uapi.iommu_hw_info_vtd) },
  { name: 'arm-smmuv3', type: info.IOMMU_HW_INFO_TYPE_ARM_SMMUV3, layout: erase(uapi.iommu_hw_info_arm_smmuv3) },
  {
    name: 'tegra241-cmdqv',
    type: info.IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV,
    layout: erase(uapi.iommu_hw_info_tegra241_cmdqv),
  },
  { name: 'amd', type: info.IOMMU_HW_INFO_TYPE_AMD, layout: erase(uapi.iommu_hw_info_amd) },
];

const VIOMMU_TYPES: Readonly<Record<ViommuTypeName, number>> = {
  'arm-smmuv3': viommu.IOMMU_VIOMMU_TYPE_ARM_SMMUV3,
  'tegra241-cmdqv': viommu.IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV,
};

const VEVENTQ_TYPES: Readonly<Record<ViommuTypeName, number>> = {
  'arm-smmuv3': eventq.IOMMU_VEVENTQ_TYPE_ARM_SMMUV3,
  'tegra241-cmdqv': eventq.IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV,
};

const HW_QUEUE_TYPES: Readonly<Record<HwQueueTypeName, number>> = {
  'tegra241-cmdqv': queue.IOMMU_HW_QUEUE_TYPE_TEGRA241_CMDQV,
};

/** Bytes of an event's payload, by the number of the queue's type: an event does not tell its own length. */
export const VEVENT_PAYLOAD: ReadonlyMap<number, number> = new Map([
  [eventq.IOMMU_VEVENTQ_TYPE_ARM_SMMUV3, uapi.iommu_vevent_arm_smmuv3.size],
  [eventq.IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV, uapi.iommu_vevent_tegra241_cmdqv.size],
]);

/** Where a vIOMMU's driver data tells the mmap pair, by the number of its type, and how long that data is. */
export interface MmapPair {
  /** Bytes of the data. */
  readonly size: number;
  /** Where the u64 with the mmap offset lies in it. */
  readonly offsetAt: number;
  /** Where the u64 with the mmap length lies in it. */
  readonly lengthAt: number;
}

export const VIOMMU_MMAP_PAIR: ReadonlyMap<number, MmapPair> = new Map([
  [
    viommu.IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV,
    {
      size: uapi.iommu_viommu_tegra241_cmdqv.size,
      offsetAt: uapi.iommu_viommu_tegra241_cmdqv.at.out_vintf_mmap_offset,
      lengthAt: uapi.iommu_viommu_tegra241_cmdqv.at.out_vintf_mmap_length,
    },
  ],
]);

function typeNumber<N extends string>(table: Readonly<Record<N, number>>, type: N | number, name: string): number {
  if (typeof type === 'number') return toU32(type, name);
  const names = Object.keys(table).join(', ');
  if (typeof type !== 'string') throw invalidType(name, `one of ${names}, or a number`, type);
  const number = Object.hasOwn(table, type) ? table[type] : undefined;
  if (number === undefined) throw outOfRange(name, `one of ${names}, or a number`, type);
  return number;
}

function typeName<N extends string>(table: Readonly<Record<N, number>>, type: number): N | number {
  const found = (Object.keys(table) as N[]).find((name) => table[name] === type);
  return found ?? type;
}

export const viommuType = (type: ViommuTypeName | number): number => typeNumber(VIOMMU_TYPES, type, 'type');
export const viommuTypeName = (type: number): ViommuTypeName | number => typeName(VIOMMU_TYPES, type);
export const veventqType = (type: ViommuTypeName | number): number => typeNumber(VEVENTQ_TYPES, type, 'type');
export const hwQueueType = (type: HwQueueTypeName | number): number => typeNumber(HW_QUEUE_TYPES, type, 'type');

/** The event queue's or hardware queue's type that goes with a vIOMMU, where there is just one. */
export function defaultVeventqType(viommuTypeNumber: number): number | undefined {
  const name = viommuTypeName(viommuTypeNumber);
  return typeof name === 'string' ? VEVENTQ_TYPES[name] : undefined;
}

export function defaultHwQueueType(viommuTypeNumber: number): number | undefined {
  return viommuTypeNumber === viommu.IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV ? HW_QUEUE_TYPES['tegra241-cmdqv'] : undefined;
}
