// An I/O address space: which IOVAs mean which memory.
import { checkOptions, checkSignal, toBoolean, toFd, toU64, type U64, U64_MAX } from '../host/arguments.js';
import { destroyed, invalidType } from '../host/errors.js';
import type { DmaMemory } from '../host/memory.js';
import * as uapi from '../uapi/iommufd.js';
import { call, refusal, tryCall } from './call.js';
import type { Context } from './context.js';
import type { Device } from './device.js';
import { allocHwpt, allocHwptAsync, type HwptOptions, type HwptPaging } from './hwpt-paging.js';
import type { Iommufd } from './iommufd.js';
import { checkAlive, checkSame, KernelObject } from './kernel-object.js';
import { type MapOptions, Mapper, mapFlags } from './mapper.js';
import type { MappingTable } from './mappings.js';

export interface MapAsyncOptions extends MapOptions {
  readonly signal?: AbortSignal;
  /** Told after each chunk of memory that was made present. */
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void;
}

export interface UnsafeMapOptions {
  readonly iova?: U64;
  readonly length: U64;
  readonly readable?: boolean;
  readonly writable?: boolean;
}

export interface CopyOptions {
  /** Where the range lies in the source. */
  readonly sourceIova: U64;
  readonly length: U64;
  /** Where devices see it here; the kernel chooses if left out. */
  readonly iova?: U64;
  readonly readable?: boolean;
  readonly writable?: boolean;
}

/** An interval of IOVAs, both ends included: the last IOVA of all is 2^64 - 1. */
export interface IovaRange {
  readonly start: bigint;
  readonly last: bigint;
}

export interface IovaRanges {
  /** Ranges in which memory can be mapped now; attaching devices narrows them. */
  readonly ranges: readonly IovaRange[];
  /** IOVAs and lengths must be multiples of this; 1 while no device is attached. */
  readonly alignment: bigint;
}

const EMSGSIZE = -90;

let mapperOf: (ioas: Ioas) => Mapper;

/** An I/O address space (IOMMU_IOAS_ALLOC, Linux 6.2), made by `iommufd.allocIoas()`. */
export class Ioas extends KernelObject {
  readonly type = 'ioas';
  readonly #context: Context;
  readonly #mapper: Mapper;

  static {
    mapperOf = (ioas) => ioas.#mapper;
  }

  /** Not for callers: use `iommufd.allocIoas()`. `mapped`: who knows what is mapped in it. */
  constructor(iommufd: Iommufd, ctx: Context, id: number, mapped: 'known' | 'unknown' = 'known') {
    super(iommufd, ctx, id, []);
    this.#context = ctx;
    this.#mapper = new Mapper(ctx, id, mapped === 'known');
    ctx.resources.mappings.set(this.#mapper.table, id);
  }

  /**
   * Maps memory for devices and answers its IOVA (IOMMU_IOAS_MAP_FILE for memfd memory, else IOMMU_IOAS_MAP). Nothing
   * is pinned until a page table exists. The memory stays reserved until it is unmapped, whatever `free` says.
   * @throws IommufdError EEXIST (range taken), EINVAL (range reserved or misaligned), ENOSPC (no room), ENOMEM
   * (usually RLIMIT_MEMLOCK)
   */
  map(memory: DmaMemory, options?: MapOptions): bigint {
    const plan = this.#mapper.plan(memory, options);
    if (this.destroyed) throw destroyed(this.describe());
    return this.#mapper.map(plan);
  }

  /**
   * As `map`, without blocking: makes the memory present in chunks, telling progress, then maps it on the thread pool.
   * @throws what `map` throws; the signal's reason when aborted (nothing is mapped then)
   */
  async mapAsync(memory: DmaMemory, options: MapAsyncOptions = {}): Promise<bigint> {
    checkAlive(this);
    const { signal, onProgress, ...rest } = options;
    checkSignal(signal);
    const plan = this.#mapper.plan(memory, rest);
    return this.#mapper.mapAsync(plan, async () => {
      const { offset, length } = plan;
      await memory.prefault({ offset, length, ...(signal && { signal }), ...(onProgress && { onProgress }) });
      checkAlive(this);
    });
  }

  /**
   * Maps memfd memory by its file (IOMMU_IOAS_MAP_FILE, Linux 6.13), with no fallback to its address: what live update
   * needs. Takes what `map` takes.
   * @throws IommufdError ENOTTY where the kernel lacks it; TypeError for memory without a file
   */
  mapFile(memory: DmaMemory, options?: MapOptions): bigint {
    checkAlive(this);
    const plan = this.#mapper.plan(memory, options);
    if (memory.backing === 'anonymous') throw invalidType('memory', "memory with a file (backing 'memfd')", memory);
    return this.#mapper.map(plan, 'file');
  }

  /**
   * Maps a file this library knows nothing of: a memfd, or a dma-buf of a VFIO device (IOMMU_IOAS_MAP_FILE). Unsafe:
   * devices may write to that file's pages whoever else uses them. The fd may be closed afterwards.
   * @param start bytes from the start of the file
   */
  unsafeMapFd(fd: number, start: U64, options: UnsafeMapOptions): bigint {
    checkAlive(this);
    checkOptions(options, ['iova', 'length', 'readable', 'writable']);
    const length = toU64(options?.length, 'length');
    const iova = options.iova === undefined ? 0n : toU64(options.iova, 'iova');
    const out = call(this.#context, uapi.IOMMU_IOAS_MAP_FILE, {
      flags: mapFlags(options),
      ioas_id: this.id,
      fd: toFd(fd, 'fd'),
      start: toU64(start, 'start'),
      length,
      iova,
    });
    this.#mapper.note(out.iova, length);
    return out.iova;
  }

  /**
   * Maps any memory of this process by address (IOMMU_IOAS_MAP). Unsafe: the kernel remembers the address, and pins
   * whatever lies there when a device is attached; the caller must keep the range mapped and unused for all else until
   * it is unmapped here, or devices write into memory that has become something else.
   */
  unsafeMapAddress(address: U64, options: UnsafeMapOptions): bigint {
    checkAlive(this);
    checkOptions(options, ['iova', 'length', 'readable', 'writable']);
    const length = toU64(options?.length, 'length');
    const iova = options.iova === undefined ? 0n : toU64(options.iova, 'iova');
    const out = call(this.#context, uapi.IOMMU_IOAS_MAP, {
      flags: mapFlags(options),
      ioas_id: this.id,
      user_va: toU64(address, 'address'),
      length,
      iova,
    });
    this.#mapper.note(out.iova, length);
    return out.iova;
  }

  /**
   * Maps what another IOAS has mapped, sharing its pinned pages (IOMMU_IOAS_COPY): the same memory is pinned and
   * counted once.
   * @throws IommufdError ENOENT (source not mapped from end to end), EEXIST, EINVAL, EPERM (writable, though the source
   * was mapped with writable: false)
   */
  copy(source: Ioas, options: CopyOptions): bigint {
    checkAlive(this);
    if (!(source instanceof Ioas)) throw invalidType('source', 'an Ioas', source);
    checkSame(this, source, 'source');
    checkOptions(options, ['sourceIova', 'length', 'iova', 'readable', 'writable']);
    const sourceIova = toU64(options?.sourceIova, 'sourceIova');
    const length = toU64(options?.length, 'length');
    const input = {
      flags: mapFlags(options),
      dst_ioas_id: this.id,
      src_ioas_id: source.id,
      length,
      dst_iova: options.iova === undefined ? 0n : toU64(options.iova, 'iova'),
      src_iova: sourceIova,
    };
    const ask = () => call(this.#context, uapi.IOMMU_IOAS_COPY, input).dst_iova;
    return this.#mapper.copyFrom(source.#mapper, sourceIova, length, ask);
  }

  /**
   * Unmaps whatever is mapped inside the range, and answers how many bytes that were (IOMMU_IOAS_UNMAP). A mapping is
   * unmapped whole or not at all.
   * @throws IommufdError ENOENT (nothing there, or only part of a mapping in the range), EBUSY (a hardware queue or an
   * access uses the pages). A failure half-way keeps what was unmapped until then.
   */
  unmap(iova: U64, length: U64): bigint {
    if (this.destroyed) throw destroyed(this.describe());
    return this.#mapper.unmap(iova, length);
  }

  /** Unmaps everything and answers how many bytes that were; nothing mapped is fine. */
  unmapAll(): bigint {
    checkAlive(this);
    return this.#mapper.unmap(0n, U64_MAX);
  }

  /** How many mappings this object knows of. */
  get mappingCount(): number {
    return this.#mapper.table.size;
  }

  /** Where memory can be mapped now, and how it must be aligned (IOMMU_IOAS_IOVA_RANGES). */
  iovaRanges(): IovaRanges {
    checkAlive(this);
    for (let slots = 16; ; ) {
      const room = new Uint8Array(slots * uapi.iommu_iova_range.size);
      const input = { ioas_id: this.id, num_iovas: slots };
      const { result, out } = tryCall(this.#context, uapi.IOMMU_IOAS_IOVA_RANGES, input, { allowed_iovas: room });
      if (result === EMSGSIZE) {
        // Another thread may attach devices meanwhile: ask for a little more than was needed.
        slots = out.num_iovas + 4;
        continue;
      }
      if (result < 0) throw refusal(uapi.IOMMU_IOAS_IOVA_RANGES, result, input);
      const view = new DataView(room.buffer);
      const ranges = Array.from({ length: out.num_iovas }, (_, i) =>
        uapi.iommu_iova_range.decode(view, i * uapi.iommu_iova_range.size),
      );
      return { ranges, alignment: out.out_iova_alignment };
    }
  }

  /**
   * Promises that these ranges stay usable: attaching a device that reserves part of them is refused, and the kernel
   * chooses IOVAs only from them (IOMMU_IOAS_ALLOW_IOVAS). Replaces the list given before; an empty one lifts it.
   * @throws IommufdError EADDRINUSE or EINVAL (ranges overlap, are empty, or not usable now)
   */
  allowIovas(ranges: Iterable<{ readonly start: U64; readonly last: U64 }>): void {
    checkAlive(this);
    const list = Array.from(ranges, (range, i) => ({
      start: toU64(range.start, `ranges[${i}].start`),
      last: toU64(range.last, `ranges[${i}].last`),
    }));
    const bytes = new Uint8Array(list.length * uapi.iommu_iova_range.size);
    const view = new DataView(bytes.buffer);
    list.forEach((range, i) => {
      uapi.iommu_iova_range.encode(view, i * uapi.iommu_iova_range.size, range);
    });
    const input = { ioas_id: this.id, num_iovas: list.length };
    call(this.#context, uapi.IOMMU_IOAS_ALLOW_IOVAS, input, { allowed_iovas: bytes });
  }

  /** Whether contiguous pages may be combined in page tables; true at first (IOMMU_OPTION_HUGE_PAGES). */
  get hugePages(): boolean {
    checkAlive(this);
    return this.#option('IOMMU_OPTION_OP_GET', 0n) === 1n;
  }
  /** False maps everything page by page: for benchmarks. Must be set before anything is mapped. */
  set hugePages(value: boolean) {
    checkAlive(this);
    this.#option('IOMMU_OPTION_OP_SET', toBoolean(value, 'hugePages', true) ? 1n : 0n);
  }

  /**
   * The physical address behind an IOVA, and how many bytes from there on are contiguous: for devices without an IOMMU,
   * which see physical addresses (IOMMU_IOAS_NOIOMMU_GET_PA).
   * @param length at most this many bytes are asked about
   * @throws IommufdError EPERM (CAP_SYS_RAWIO is needed), EOPNOTSUPP (no noiommu in this kernel), ENOENT
   */
  physicalAddress(iova: U64, length: U64): { readonly address: bigint; readonly length: bigint } {
    checkAlive(this);
    const out = call(this.#context, uapi.IOMMU_IOAS_NOIOMMU_GET_PA, {
      ioas_id: this.id,
      iova: toU64(iova, 'iova'),
      length: toU64(length, 'length'),
    });
    return { address: out.out_phys, length: out.length };
  }

  /**
   * Makes a page table over this address space for a device's IOMMU (IOMMU_HWPT_ALLOC). The first one pins all mapped
   * memory.
   * @throws IommufdError EOPNOTSUPP (a flag the IOMMU cannot do), ENOMEM (usually RLIMIT_MEMLOCK), EFAULT
   */
  allocHwpt(device: Device, options: HwptOptions = {}): HwptPaging {
    return allocHwpt(this, device, options);
  }

  /** As `allocHwpt`, on the thread pool: pinning much memory takes long. */
  allocHwptAsync(device: Device, options: HwptOptions = {}): Promise<HwptPaging> {
    return allocHwptAsync(this, device, options);
  }

  protected override afterDestroy(): void {
    this.#context.resources.mappings.delete(this.#mapper.table);
    this.#mapper.table.close();
  }

  #option(op: keyof typeof uapi.iommufd_option_ops.values, value: bigint): bigint {
    return call(this.#context, uapi.IOMMU_OPTION, {
      option_id: uapi.iommufd_option.values.IOMMU_OPTION_HUGE_PAGES,
      op: uapi.iommufd_option_ops.values[op],
      object_id: this.id,
      val64: value,
    }).val64;
  }
}

/** What an IOAS has mapped, as far as this process knows: dirty tracking needs the holes. */
export function mappingsOf(ioas: Ioas): MappingTable {
  return mapperOf(ioas).table;
}

/** Notes what somebody else mapped in an IOAS that was adopted. */
export function noteMappings(ioas: Ioas, mappings: Iterable<{ readonly iova: U64; readonly length: U64 }>): void {
  let i = 0;
  for (const { iova, length } of mappings) {
    mapperOf(ioas).note(toU64(iova, `mappings[${i}].iova`), toU64(length, `mappings[${i}].length`));
    i++;
  }
}
