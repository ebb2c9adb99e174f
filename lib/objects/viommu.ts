// A virtual IOMMU: the slice of a physical one that a VM gets, with its MMIO page.
import { checkOptions, toBytes, toSize, toU32, type U64 } from '../host/arguments.js';
import { IommufdError, outOfRange, UsageError } from '../host/errors.js';
import { checkMade } from '../host/made.js';
import { MmioMapping, MmioRegion } from '../host/mmio.js';
import * as uapi from '../uapi/iommufd.js';
import { call } from './call.js';
import type { Context } from './context.js';
import { Device } from './device.js';
import { type MmapPair, VIOMMU_MMAP_PAIR, type ViommuTypeName, viommuType, viommuTypeName } from './hardware-types.js';
import { allocHwQueue, type HwQueue, type HwQueueOptions } from './hw-queue.js';
import { allocNestedHwpt, type HwptNested, type NestedOptions } from './hwpt-nested.js';
import type { HwptPaging } from './hwpt-paging.js';
import { type InvalidateRequest, type InvalidateResult, invalidate, tryInvalidate } from './invalidation.js';
import {
  addHolder,
  checkAlive,
  checkSame,
  context,
  type Holder,
  idOf,
  KernelObject,
  removeHolder,
} from './kernel-object.js';
import { allocVdevice, type Vdevice, type VdeviceOptions } from './vdevice.js';
import { allocVeventq, type Veventq, type VeventqOptions } from './veventq.js';

export interface ViommuOptions {
  /** The kind of vIOMMU: 'arm-smmuv3', 'tegra241-cmdqv', or the number of a kind not known here. */
  readonly type: ViommuTypeName | number;
  /** Driver data for a kind given by number; the kernel's answer is `viommu.data`. */
  readonly data?: Uint8Array;
  /** For a kind given by number: where in the data the kernel tells the mmap pair, as byte offsets of two u64. */
  readonly mmapPair?: { readonly offsetAt: number; readonly lengthAt: number };
}

/** What mmap(2) on the iommufd takes for a vIOMMU's registers. */
export interface MmapRegion {
  readonly offset: bigint;
  /** Bytes. */
  readonly length: bigint;
}

export interface MmapOptions {
  /** Bytes from the start of the region; all of it if left out. */
  readonly length?: U64;
}

/** A live mmap, as what holds the vIOMMU. */
class LiveMmap implements Holder {
  constructor(
    readonly viommu: Viommu,
    readonly mapping: MmioMapping,
    readonly windows: Set<MmioRegion>,
  ) {}
  describe(): string {
    return `mmap of ${this.viommu.describe()} (${this.windows.size} window(s))`;
  }
  release(): void {
    for (const window of [...this.windows]) window.unmap();
  }
}

let regionOf: (viommu: Viommu) => MmapRegion | undefined;

/** A virtual IOMMU (IOMMU_VIOMMU_ALLOC, Linux 6.13): made by `hwpt.allocViommu`. */
export class Viommu extends KernelObject {
  readonly type = 'viommu';
  /** Its kind: a name, or the number of a kind not known here. */
  readonly viommuType: ViommuTypeName | number;
  /** The nesting parent: translates what the guest takes for physical addresses. */
  readonly hwpt: HwptPaging;
  /** The driver data as the kernel left it; empty for kinds without any. */
  readonly data: Uint8Array;
  readonly #context: Context;
  readonly #mmapRegion: MmapRegion | undefined;
  #mmap: LiveMmap | undefined;

  static {
    regionOf = (viommu) => viommu.#mmapRegion;
  }

  /** Not for callers: use `hwpt.allocViommu`. */
  constructor(hwpt: HwptPaging, id: number, made: { type: number; data: Uint8Array; region: MmapRegion | undefined }) {
    super(hwpt.iommufd, context(hwpt), id, [hwpt], { abandon: () => this.#mmap?.release() });
    this.hwpt = hwpt;
    this.viommuType = viommuTypeName(made.type);
    this.data = made.data;
    this.#mmapRegion = made.region && Object.freeze(made.region);
    this.#context = context(hwpt);
  }

  /** The number of its kind. */
  get typeNumber(): number {
    return viommuType(this.viommuType);
  }

  /**
   * What mmap(2) takes to map its registers; the region of its hardware queues too.
   * @throws UsageError ERR_IOMMUFD_UNAVAILABLE where it has none
   */
  get mmapRegion(): MmapRegion {
    checkAlive(this);
    if (this.#mmapRegion !== undefined) return this.#mmapRegion;
    throw new UsageError('ERR_IOMMUFD_UNAVAILABLE', `${this.describe()} of type ${this.viommuType} has no MMIO to map`);
  }

  /**
   * Maps its registers, always from the start of the region. The kernel maps the region once and whole; calls share
   * that mapping, and each window ends at the length asked for. While any window lives, `destroy` is EBUSY.
   * @throws RangeError (longer than the region, or empty), UsageError ERR_IOMMUFD_UNAVAILABLE (no registers),
   * IommufdError ENXIO (the kernel has no such region), ENOMEM
   */
  mmap(options: MmapOptions = {}): MmioRegion {
    checkOptions(options, ['length']);
    const asked = options.length === undefined ? undefined : toSize(options.length, 'length');
    const region = this.mmapRegion;
    const length = asked ?? Number(region.length);
    if (length < 1 || length > Number(region.length)) {
      throw outOfRange('length', `between 1 and ${region.length}`, length);
    }
    const live = this.#mmap ?? this.#openMmap(region);
    const window = new MmioRegion({
      mapping: live.mapping,
      base: 0,
      length,
      onUnmap: (gone) => live.windows.delete(gone),
    });
    live.windows.add(window);
    return window;
  }

  /**
   * Ties a device to this vIOMMU under the id the guest knows it by (IOMMU_VDEVICE_ALLOC, Linux 6.13).
   * @throws IommufdError EEXIST (the device has one, or the id is taken), EINVAL (another physical IOMMU)
   */
  allocVdevice(device: Device, options: VdeviceOptions): Vdevice {
    checkAlive(this);
    return allocVdevice(this, device, options);
  }

  /**
   * A queue of events for the guest (IOMMU_VEVENTQ_ALLOC, Linux 6.15): one per kind.
   * @throws IommufdError EEXIST (it has one of this kind), EINVAL (depth beyond 2^19)
   */
  allocVeventq(options: VeventqOptions): Veventq {
    checkAlive(this);
    return allocVeventq(this, options);
  }

  /**
   * A queue in guest memory that the IOMMU reads by itself: a vQUEUE (IOMMU_HW_QUEUE_ALLOC, Linux 6.17).
   * @throws IommufdError ENOENT (memory not mapped), EFAULT (not contiguous), EIO (queue before it missing), EEXIST
   */
  allocHwQueue(options: HwQueueOptions): HwQueue {
    checkAlive(this);
    return allocHwQueue(this, options);
  }

  /**
   * A page table that the guest manages (IOMMU_HWPT_ALLOC on a vIOMMU, Linux 6.13).
   * @throws IommufdError EIO or EINVAL (the driver refuses the data), EINVAL (device behind another physical IOMMU)
   */
  allocNestedHwpt(device: Device, options: NestedOptions): HwptNested {
    checkAlive(this);
    return allocNestedHwpt(this, device, options);
  }

  /**
   * Passes invalidations of the guest on (IOMMU_HWPT_INVALIDATE on the vIOMMU, Linux 6.13); answers how many were done.
   *
   * On an SMMUv3, Linux (7.3, arm-smmu-v3-iommufd.c) counts commands before a refused one that it has not carried out, up to
   * 62 of them: leave the refused one out, and give all of them again.
   * @throws IommufdError whose args.completed says how many were counted as done before the one refused: EIO (not a command
   * for guests, a StreamID without a vDEVICE), EINVAL, ENOMEM
   */
  invalidate(request: InvalidateRequest): number {
    return invalidate(this.#context, this, request);
  }

  /** As `invalidate`, but a refusal is answered: how many were counted as done, and what was wrong with the next. */
  tryInvalidate(request: InvalidateRequest): InvalidateResult {
    return tryInvalidate(this.#context, this, request);
  }

  #openMmap(region: MmapRegion): LiveMmap {
    const { seam, fd } = this.#context;
    const mapped = seam.mapMmio(fd, Number(region.offset), Number(region.length));
    if (typeof mapped === 'number') throw new IommufdError('mmap', mapped, { ...region });
    const mapping = new MmioMapping(mapped, () => {
      if (this.#mmap !== undefined) removeHolder(this, this.#mmap);
      this.#mmap = undefined;
    });
    const live = new LiveMmap(this, mapping, new Set());
    this.#mmap = live;
    addHolder(this, live);
    return live;
  }
}

/** Where the driver data of this kind tells the mmap pair, if it does. */
function pairOf(type: number, pair: ViommuOptions['mmapPair'], size: number): MmapPair | undefined {
  if (pair === undefined) return VIOMMU_MMAP_PAIR.get(type);
  checkOptions(pair, ['offsetAt', 'lengthAt'], 'mmapPair');
  const offsetAt = toU32(pair.offsetAt, 'mmapPair.offsetAt');
  const lengthAt = toU32(pair.lengthAt, 'mmapPair.lengthAt');
  if (offsetAt + 8 > size) throw outOfRange('mmapPair.offsetAt', `within the ${size} bytes of data`, offsetAt);
  if (lengthAt + 8 > size) throw outOfRange('mmapPair.lengthAt', `within the ${size} bytes of data`, lengthAt);
  return { size, offsetAt, lengthAt };
}

function regionIn(data: Uint8Array, pair: MmapPair): MmapRegion | undefined {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const length = view.getBigUint64(pair.lengthAt, true);
  return length === 0n ? undefined : { offset: view.getBigUint64(pair.offsetAt, true), length };
}

/** What mmap(2) takes for its registers, if it has any. */
export function viommuRegion(viommu: Viommu): MmapRegion | undefined {
  return regionOf(viommu);
}

/** `hwpt.allocViommu`. */
export function allocViommu(hwpt: HwptPaging, device: Device, options: ViommuOptions): Viommu {
  checkOptions(options, ['type', 'data', 'mmapPair']);
  checkMade(device, Device, 'device', 'a Device');
  const { type: kind, data: given, mmapPair } = { ...options };
  const type = viommuType(kind);
  const bytes = given === undefined ? undefined : toBytes(given, 'data');
  const pair = pairOf(type, mmapPair, bytes?.length ?? 0);
  const data = bytes ?? new Uint8Array(pair?.size ?? 0);
  // After the options: reading them may run code of the caller's.
  checkAlive(hwpt);
  checkSame(hwpt, device, 'device');
  const input = { type, dev_id: idOf(device), hwpt_id: idOf(hwpt), data_len: data.length };
  const out = call(context(hwpt), uapi.IOMMU_VIOMMU_ALLOC, input, data.length > 0 ? { data_uptr: data } : {});
  const region = pair === undefined ? undefined : regionIn(data, pair);
  return new Viommu(hwpt, out.out_viommu_id, { type, data, region });
}
