// A page table over an IOAS: what devices really translate with.
import { checkOptions, toBoolean } from '../host/arguments.js';
import { UsageError } from '../host/errors.js';
import { checkMade } from '../host/made.js';
import * as uapi from '../uapi/iommufd.js';
import { type Attachments, call, callAsync } from './call.js';
import type { Context } from './context.js';
import { Device } from './device.js';
import { DirtyBitmap, type DirtyBitmapOptions } from './dirty-bitmap.js';
import { FaultQueue } from './fault-queue.js';
import { allocNestedHwpt, driverData, type HwptNested, type NestedOptions } from './hwpt-nested.js';
import type { Ioas } from './ioas.js';
import { mappingsOf } from './ioas.js';
import { checkAlive, checkSame, context, forgetObject, idOf, KernelObject, whileUsed } from './kernel-object.js';
import { allocViommu, type Viommu, type ViommuOptions } from './viommu.js';

export interface HwptOptions {
  /** Can be the parent of nested page tables and vIOMMUs. */
  readonly nestParent?: boolean;
  /** Can track which pages devices wrote (Linux 6.7). */
  readonly dirtyTracking?: boolean;
  /** Can be used together with PASIDs (Linux 6.15). */
  readonly pasid?: boolean;
  /** Page requests of its devices go here (Linux 6.11). */
  readonly faultQueue?: FaultQueue;
  /** Driver data for IOMMUs that take some, by the number of its type. */
  readonly data?: { readonly type: number; readonly bytes: Uint8Array };
}

const FLAGS = uapi.iommufd_hwpt_alloc_flags.values;

/** A page table over an IOAS (IOMMU_HWPT_ALLOC, Linux 6.6): made by `ioas.allocHwpt`, or by the kernel at an attach. */
export class HwptPaging extends KernelObject {
  readonly type = 'hwpt-paging';
  /** The address space it translates. */
  readonly ioas: Ioas;
  /** Made by the kernel when a device was attached to the IOAS: it goes with its last device. */
  readonly auto: boolean;
  readonly nestParent: boolean;
  readonly #context: Context;

  /** Not for callers: use `ioas.allocHwpt`. */
  constructor(
    ioas: Ioas,
    id: number,
    made: { auto: boolean; nestParent: boolean; faultQueue?: FaultQueue | undefined },
  ) {
    super(ioas.iommufd, context(ioas), id, made.faultQueue === undefined ? [ioas] : [ioas, made.faultQueue], {
      check: () => {
        if (!made.auto) return;
        throw new UsageError(
          'ERR_IOMMUFD_BORROWED',
          `${this.describe()} was made by the kernel at an attach: it goes when its last device is detached`,
        );
      },
    });
    this.ioas = ioas;
    this.auto = made.auto;
    this.nestParent = made.nestParent;
    this.#context = context(ioas);
  }

  /**
   * Starts or stops noting which pages devices write (IOMMU_HWPT_SET_DIRTY_TRACKING, Linux 6.7). Starting forgets what
   * was noted before.
   * @throws IommufdError EOPNOTSUPP (not allocated with dirtyTracking: true)
   */
  setDirtyTracking(enabled: boolean): void {
    checkAlive(this);
    const flag = uapi.iommufd_hwpt_set_dirty_tracking_flags.values.IOMMU_HWPT_DIRTY_TRACKING_ENABLE;
    const flags = toBoolean(enabled, 'enabled', true) ? flag : 0;
    call(this.#context, uapi.IOMMU_HWPT_SET_DIRTY_TRACKING, { hwpt_id: idOf(this), flags });
  }

  /**
   * A bitmap of written pages over a range of IOVAs: read it again and again, then free it. Over an address space that
   * was adopted without its mappings, the range must be mapped from end to end.
   */
  dirtyBitmap(options: DirtyBitmapOptions): DirtyBitmap {
    checkAlive(this);
    return new DirtyBitmap(this, this.#context, mappingsOf(this.ioas), options);
  }

  /**
   * A virtual IOMMU: a slice of the physical one for one VM (IOMMU_VIOMMU_ALLOC, Linux 6.13).
   * @throws IommufdError EOPNOTSUPP (the IOMMU has none of this type), EINVAL (not a nesting parent)
   */
  allocViommu(device: Device, options: ViommuOptions): Viommu {
    checkAlive(this);
    return allocViommu(this, device, options);
  }

  /**
   * A page table that a guest manages, on top of this one (IOMMU_HWPT_ALLOC): for IOMMUs without vIOMMU, as VT-d.
   * @throws IommufdError EINVAL (not a nesting parent, or the driver refuses the data), EOPNOTSUPP
   */
  allocNestedHwpt(device: Device, options: NestedOptions): HwptNested {
    checkAlive(this);
    return allocNestedHwpt(this, device, options);
  }

  /** For Device: a page table that the kernel made is gone once nothing is attached to it. */
  settle(): void {
    if (this.auto && this.heldBy.length === 0) forgetObject(this);
  }
}

/** Page tables the kernel made, by IOAS and id: attaching a second device may answer one that is known. */
const autoHwpts = new WeakMap<Ioas, Map<number, HwptPaging>>();

/** The object for a page table that the kernel made at an attach. */
export function autoHwpt(ioas: Ioas, ctx: Context, id: number): HwptPaging {
  let known = autoHwpts.get(ioas);
  if (known === undefined) {
    known = new Map();
    autoHwpts.set(ioas, known);
  }
  const before = known.get(id);
  if (before !== undefined && !before.destroyed) return before;
  if (ctx !== context(ioas)) throw new Error('the IOAS belongs to another iommufd');
  const hwpt = new HwptPaging(ioas, id, { auto: true, nestParent: false });
  known.set(id, hwpt);
  return hwpt;
}

/** A page table of the process before. */
export function adoptHwpt(
  ioas: Ioas,
  id: number,
  made: { readonly auto: boolean; readonly nestParent: boolean; readonly faultQueue: FaultQueue | undefined },
): HwptPaging {
  return made.auto ? autoHwpt(ioas, context(ioas), id) : new HwptPaging(ioas, id, made);
}

interface Prepared {
  /** What the call names by ids. */
  readonly uses: readonly KernelObject[];
  readonly nestParent: boolean;
  readonly faultQueue: FaultQueue | undefined;
  readonly input: Parameters<typeof call<typeof uapi.iommu_hwpt_alloc.fields>>[2];
  readonly attachments: Attachments;
}

function prepare(ioas: Ioas, device: Device, options: HwptOptions): Prepared {
  checkOptions(options, ['nestParent', 'dirtyTracking', 'pasid', 'faultQueue', 'data']);
  checkMade(device, Device, 'device', 'a Device');
  const { nestParent, dirtyTracking, pasid, faultQueue, data } = options;
  let flags = 0;
  if (toBoolean(nestParent, 'nestParent', false)) flags |= FLAGS.IOMMU_HWPT_ALLOC_NEST_PARENT;
  if (toBoolean(dirtyTracking, 'dirtyTracking', false)) flags |= FLAGS.IOMMU_HWPT_ALLOC_DIRTY_TRACKING;
  if (toBoolean(pasid, 'pasid', false)) flags |= FLAGS.IOMMU_HWPT_ALLOC_PASID;
  const driver = data === undefined ? undefined : driverData(data);
  // After the options: reading them may run code of the caller's.
  checkAlive(ioas);
  checkSame(ioas, device, 'device');
  const fault = faultFields(ioas, faultQueue);
  const common = { flags: flags | fault.flags, dev_id: idOf(device), pt_id: idOf(ioas), fault_id: fault.fault_id };
  const uses = faultQueue === undefined ? [ioas, device] : [ioas, device, faultQueue];
  const prepared = { uses, nestParent: nestParent === true, faultQueue };
  if (driver === undefined) return { ...prepared, input: common, attachments: {} };
  const { type, bytes } = driver;
  const input = { ...common, data_type: type, data_len: bytes.length };
  return { ...prepared, input, attachments: { data_uptr: bytes } };
}

/** The fields that send page requests to a fault queue. */
export function faultFields(owner: KernelObject, queue: FaultQueue | undefined): { flags: number; fault_id: number } {
  if (queue === undefined) return { flags: 0, fault_id: 0 };
  checkMade(queue, FaultQueue, 'faultQueue', 'a FaultQueue');
  checkSame(owner, queue, 'faultQueue');
  return { flags: FLAGS.IOMMU_HWPT_FAULT_ID_VALID, fault_id: idOf(queue) };
}

function made(ioas: Ioas, id: number, { nestParent, faultQueue }: Prepared): HwptPaging {
  return new HwptPaging(ioas, id, { auto: false, nestParent, faultQueue });
}

/** `ioas.allocHwpt`. */
export function allocHwpt(ioas: Ioas, device: Device, options: HwptOptions): HwptPaging {
  const prepared = prepare(ioas, device, options);
  const out = call(context(ioas), uapi.IOMMU_HWPT_ALLOC, prepared.input, prepared.attachments);
  return made(ioas, out.out_hwpt_id, prepared);
}

/** `ioas.allocHwptAsync`. */
export async function allocHwptAsync(ioas: Ioas, device: Device, options: HwptOptions): Promise<HwptPaging> {
  const prepared = prepare(ioas, device, options);
  const ctx = context(ioas);
  const work = async () => {
    const out = await callAsync(ctx, uapi.IOMMU_HWPT_ALLOC, prepared.input, prepared.attachments);
    // Before anybody who waits for the thread pool goes on: closeAsync destroys what it knows of.
    return made(ioas, out.out_hwpt_id, prepared);
  };
  return ctx.track(() => whileUsed(prepared.uses, work));
}
