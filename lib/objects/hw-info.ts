// What IOMMU_GET_HW_INFO tells, decoded: a pure function.

import { toU32 } from '../host/arguments.js';
import { invalidType, jsonSafe, outOfRange } from '../host/errors.js';
import { type iommu_hw_info, iommufd_hw_capabilities } from '../uapi/iommufd.js';
import { isPadding, type Values } from '../uapi/layout.js';
import { type HardwareName, HW_INFO_KINDS } from './hardware-types.js';

export type HwInfoTypeName = HardwareName;

export interface HwCapabilities {
  /** Dirty tracking: `allocHwpt(device, { dirtyTracking: true })` works. */
  readonly dirtyTracking: boolean;
  /** PASIDs may carry execute permission. */
  readonly pasidExec: boolean;
  /** PASIDs may carry privileged mode. */
  readonly pasidPriv: boolean;
  /** Address translation services may be in use for the device. Older kernels do not tell: always true there (6.12). */
  readonly ats: boolean;
}

export interface HwInfo {
  /** What kind of IOMMU: a name, 'none' where the driver tells nothing, or the number of a kind not known here. */
  readonly type: HwInfoTypeName | 'none' | number;
  /** The struct of that kind, by the kernel's field names (raw registers); empty for kinds not known here. */
  readonly fields: Readonly<Record<string, unknown>>;
  /** The bytes the kernel gave. */
  readonly data: Uint8Array;
  readonly capabilities: HwCapabilities;
  /** Width of PASIDs in bits; 0 where the device has none. */
  readonly maxPasidLog2: number;
  toJSON(): unknown;
}

const CAPS = iommufd_hw_capabilities.values;

/** The kernel's number for a kind of info. */
export function hwInfoType(type: HwInfoTypeName | number): number {
  if (typeof type === 'number') return toU32(type, 'type');
  const names = HW_INFO_KINDS.map((kind) => kind.name).join(', ');
  if (typeof type !== 'string') throw invalidType('type', `one of ${names}, or a number`, type);
  const kind = HW_INFO_KINDS.find(({ name }) => name === type);
  if (kind === undefined) throw outOfRange('type', `one of ${names}, or a number`, type);
  return kind.type;
}

/** Decodes the struct and the data it pointed at; `room` may be longer or shorter than what the kernel has. */
export function decodeHwInfo(out: Values<typeof iommu_hw_info.fields>, room: Uint8Array): HwInfo {
  const kind = HW_INFO_KINDS.find(({ type }) => type === out.out_data_type);
  const data = room.slice(0, Math.min(out.data_len, room.length));
  const has = (bit: number): boolean => (out.out_capabilities & BigInt(bit)) !== 0n;
  const info = {
    type: kind?.name ?? (out.out_data_type === 0 ? ('none' as const) : out.out_data_type),
    fields:
      kind === undefined || data.length < kind.layout.size ? {} : withoutPadding(kind.layout.decode(viewOf(data), 0)),
    data,
    capabilities: {
      dirtyTracking: has(CAPS.IOMMU_HW_CAP_DIRTY_TRACKING),
      pasidExec: has(CAPS.IOMMU_HW_CAP_PCI_PASID_EXEC),
      pasidPriv: has(CAPS.IOMMU_HW_CAP_PCI_PASID_PRIV),
      ats: !has(CAPS.IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED),
    },
    maxPasidLog2: out.out_max_pasid_log2,
  };
  return { ...info, toJSON: () => ({ ...(jsonSafe({ ...info, data: [...data] }) as object) }) };
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function withoutPadding(fields: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).filter(([name]) => !isPadding(name)));
}
