// A page table that a guest manages in its own memory, on top of a parent page table.
import { checkOptions, toBoolean, toBytes, toU32, toU64, type U64 } from '../host/arguments.js';
import { invalidType, outOfRange } from '../host/errors.js';
import { checkMade } from '../host/made.js';
import * as uapi from '../uapi/iommufd.js';
import { call } from './call.js';
import type { Context } from './context.js';
import { Device } from './device.js';
import type { FaultQueue } from './fault-queue.js';
import { faultFields, type HwptPaging } from './hwpt-paging.js';
import { type InvalidateRequest, type InvalidateResult, invalidate, tryInvalidate } from './invalidation.js';
import { checkAlive, checkSame, context, idOf, KernelObject } from './kernel-object.js';
import type { Viommu } from './viommu.js';

/** Options of every nested page table. */
interface CommonOptions {
  /** Can be used together with PASIDs. */
  readonly pasid?: boolean;
  /** Page requests of its devices go here. */
  readonly faultQueue?: FaultQueue;
}

/** SMMUv3: the first two words of the guest's stream table entry; only the fields linux/iommufd.h lists may be set. */
export interface SteOptions extends CommonOptions {
  readonly ste: readonly [bigint, bigint];
}

/** VT-d: the guest's first-stage table. */
export interface VtdOptions extends CommonOptions {
  readonly vtd: {
    /** Guest physical address of the table. */
    readonly pageTable: U64;
    /** Bits of the addresses it translates: 48 for 4 levels, 57 for 5. */
    readonly addressWidth: number;
    /** Supervisor requests. */
    readonly sre?: boolean;
    /** Extended accessed flag. */
    readonly eafe?: boolean;
    /** Write protection for supervisors. */
    readonly wpe?: boolean;
  };
}

/** AMD: the guest's device table entry. */
export interface DteOptions extends CommonOptions {
  readonly dte: readonly [bigint, bigint, bigint, bigint];
}

/** Any other kind: the number of its data type (iommu_hwpt_data_type) and its bytes. */
export interface NestedDataOptions extends CommonOptions {
  readonly data: { readonly type: number; readonly bytes: Uint8Array };
}

export type NestedOptions = SteOptions | VtdOptions | DteOptions | NestedDataOptions;

const TYPES = uapi.iommu_hwpt_data_type.values;

/**
 * A page table that a guest manages (IOMMU_HWPT_ALLOC with driver data): made by `viommu.allocNestedHwpt`, or straight
 * from a parent page table where the IOMMU has no vIOMMU.
 */
export class HwptNested extends KernelObject {
  readonly type = 'hwpt-nested';
  /** What it was made from: the vIOMMU, or the parent page table. */
  readonly parent: HwptPaging | Viommu;
  readonly #context: Context;

  /** Not for callers: use `viommu.allocNestedHwpt` or `hwpt.allocNestedHwpt`. */
  constructor(parent: HwptPaging | Viommu, id: number, faultQueue: FaultQueue | undefined) {
    super(parent.iommufd, context(parent), id, faultQueue === undefined ? [parent] : [parent, faultQueue]);
    this.parent = parent;
    this.#context = context(parent);
  }

  /**
   * Tells the IOMMU that the guest changed its table (IOMMU_HWPT_INVALIDATE, Linux 6.8); answers how many entries were
   * done, all of them unless it throws.
   * @throws IommufdError whose args.completed says how many were done before the one refused
   */
  invalidate(request: InvalidateRequest): number {
    return invalidate(this.#context, this, request);
  }

  /** As `invalidate`, but a refusal is answered: how many entries were done, and what was wrong with the next. */
  tryInvalidate(request: InvalidateRequest): InvalidateResult {
    return tryInvalidate(this.#context, this, request);
  }
}

interface DriverData {
  readonly type: number;
  readonly bytes: Uint8Array;
}

/** The driver data that the options stand for. */
function nestedData(options: NestedOptions): DriverData {
  const common = ['pasid', 'faultQueue'];
  if (typeof options !== 'object' || options === null) throw invalidType('options', 'an object', options);
  if ('ste' in options) {
    checkOptions(options, [...common, 'ste']);
    return {
      type: TYPES.IOMMU_HWPT_DATA_ARM_SMMUV3,
      bytes: words(uapi.iommu_hwpt_arm_smmuv3.size, options.ste, 'ste'),
    };
  }
  if ('dte' in options) {
    checkOptions(options, [...common, 'dte']);
    return { type: TYPES.IOMMU_HWPT_DATA_AMD_GUEST, bytes: words(uapi.iommu_hwpt_amd_guest.size, options.dte, 'dte') };
  }
  if ('vtd' in options) {
    checkOptions(options, [...common, 'vtd']);
    return { type: TYPES.IOMMU_HWPT_DATA_VTD_S1, bytes: vtdBytes(options.vtd) };
  }
  if ('data' in options) {
    checkOptions(options, [...common, 'data']);
    return driverData(options.data);
  }
  throw invalidType('options', 'an object with one of ste, vtd, dte, data', options);
}

/** Driver data by the number of its type. */
export function driverData(data: { readonly type: number; readonly bytes: Uint8Array }): DriverData {
  if (data === undefined) throw invalidType('data', 'an object', data);
  checkOptions(data, ['type', 'bytes'], 'data');
  return { type: toU32(data.type, 'data.type'), bytes: toBytes(data.bytes, 'data.bytes') };
}

function words(size: number, values: readonly bigint[], name: string): Uint8Array {
  if (!Array.isArray(values)) throw invalidType(name, `an array of ${size / 8} bigint`, values);
  if (values.length !== size / 8) throw outOfRange(name, `an array of ${size / 8} bigint`, values);
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  values.forEach((value, i) => {
    view.setBigUint64(i * 8, toU64(value, `${name}[${i}]`), true);
  });
  return bytes;
}

function vtdBytes(vtd: VtdOptions['vtd']): Uint8Array {
  if (vtd === undefined) throw invalidType('vtd', 'an object', vtd);
  checkOptions(vtd, ['pageTable', 'addressWidth', 'sre', 'eafe', 'wpe'], 'vtd');
  const bits = uapi.iommu_hwpt_vtd_s1_flags.values;
  let flags = 0;
  if (toBoolean(vtd.sre, 'vtd.sre', false)) flags |= bits.IOMMU_VTD_S1_SRE;
  if (toBoolean(vtd.eafe, 'vtd.eafe', false)) flags |= bits.IOMMU_VTD_S1_EAFE;
  if (toBoolean(vtd.wpe, 'vtd.wpe', false)) flags |= bits.IOMMU_VTD_S1_WPE;
  const bytes = new Uint8Array(uapi.iommu_hwpt_vtd_s1.size);
  uapi.iommu_hwpt_vtd_s1.encode(new DataView(bytes.buffer), 0, {
    flags: BigInt(flags),
    pgtbl_addr: toU64(vtd.pageTable, 'vtd.pageTable'),
    addr_width: toU32(vtd.addressWidth, 'vtd.addressWidth'),
  });
  return bytes;
}

/** `viommu.allocNestedHwpt` and `hwpt.allocNestedHwpt`. */
export function allocNestedHwpt(parent: HwptPaging | Viommu, device: Device, options: NestedOptions): HwptNested {
  checkMade(device, Device, 'device', 'a Device');
  const { type, bytes } = nestedData(options);
  const { faultQueue, pasid: withPasid } = options;
  const pasid = toBoolean(withPasid, 'pasid', false) ? uapi.iommufd_hwpt_alloc_flags.values.IOMMU_HWPT_ALLOC_PASID : 0;
  // After the options: reading them may run code of the caller's.
  checkAlive(parent);
  checkSame(parent, device, 'device');
  const fault = faultFields(parent, faultQueue);
  const input = {
    flags: fault.flags | pasid,
    dev_id: idOf(device),
    pt_id: idOf(parent),
    data_type: type,
    data_len: bytes.length,
    fault_id: fault.fault_id,
  };
  const out = call(context(parent), uapi.IOMMU_HWPT_ALLOC, input, { data_uptr: bytes });
  return new HwptNested(parent, out.out_hwpt_id, faultQueue);
}
