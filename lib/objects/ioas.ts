// An I/O address space: which IOVAs mean which memory.
import {
  checkCallback,
  checkOptions,
  checkSignal,
  toBoolean,
  toFd,
  toList,
  toU64,
  type U64,
  U64_MAX,
} from '../host/arguments.js';
import { invalidType } from '../host/errors.js';
import { checkMade } from '../host/made.js';
import type { DmaMemory, MemoryHold } from '../host/memory.js';
import * as uapi from '../uapi/iommufd.js';
import { call, refusal, tryCall } from './call.js';
import type { Context } from './context.js';
import type { Device } from './device.js';
import { type DmaBufMapping, type DmaBufSource, type MapDmaBufOptions, mapDmaBuf } from './dma-buf-mapping.js';
import { allocHwpt, allocHwptAsync, type HwptOptions, type HwptPaging } from './hwpt-paging.js';
import type { Iommufd } from './iommufd.js';
import { checkAlive, checkSame, gone, idOf, KernelObject } from './kernel-object.js';
import { type MapOptions, Mapper, mapFlags } from './mapper.js';
import { CALLERS_FILE, type MappingTable } from './mappings.js';

export interface MapAsyncOptions extends MapOptions {
  readonly signal?: AbortSignal;
  /** Told after each chunk of memory that was made present. */
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void;
}

export interface UnsafeMapOptions {
  /** Where devices see the memory; the kernel chooses if left out. */
  readonly iova?: U64;
  /** Bytes. */
  readonly length: U64;
  /** Whether devices may read; true if left out. */
  readonly readable?: boolean;
  /** Whether devices may write; true if left out. */
  readonly writable?: boolean;
}

export interface CopyOptions {
  /** Where the range lies in the source. */
  readonly sourceIova: U64;
  /** Bytes. */
  readonly length: U64;
  /** Where devices see it here; the kernel chooses if left out. */
  readonly iova?: U64;
  /** Whether devices may read; true if left out. */
  readonly readable?: boolean;
  /** Whether devices may write; true if left out. */
  readonly writable?: boolean;
}

/** An interval of IOVAs, both ends included: the last IOVA of all is 2^64 - 1. */
export interface IovaRange {
  readonly start: bigint;
  readonly last: bigint;
}

export interface IovaRanges {
  /** Ranges in which memory can be mapped now; page tables and attached devices narrow them. */
  readonly ranges: readonly IovaRange[];
  /** IOVAs and lengths must be multiples of this, bytes; 1 while there is no page table. */
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
    super(iommufd, ctx, id, [], {
      after: () => {
        // While it was going, a listener to traces may have made another one, of the same id.
        if (ctx.ioases.get(id) === this) ctx.ioases.delete(id);
        ctx.resources.mappings.delete(this.#mapper.table);
        this.#mapper.table.close();
      },
    });
    this.#context = ctx;
    this.#mapper = new Mapper(ctx, id, mapped === 'known');
    ctx.resources.addTable(this.#mapper.table, id);
    ctx.ioases.set(id, this);
  }

  /**
   * Maps memory for devices and answers its IOVA (IOMMU_IOAS_MAP_FILE, Linux 6.13, for memory with a file;
   * IOMMU_IOAS_MAP, Linux 6.2, for other memory and on older kernels). Nothing is pinned until a page table exists. The
   * memory stays reserved until it is unmapped, whatever `free` says.
   * @throws IommufdError EEXIST (range taken), EINVAL (range reserved or misaligned), ENOSPC (no room), ENOMEM (usually
   * RLIMIT_MEMLOCK)
   */
  map(memory: DmaMemory, options?: MapOptions): bigint {
    const plan = this.#mapper.plan(memory, options);
    checkAlive(this);
    return this.#mapper.map(plan);
  }

  /**
   * As `map`, without blocking: makes the memory present in chunks, telling progress, then maps it on the thread pool.
   * @throws what `map` throws; the signal's reason when aborted (nothing is mapped then)
   */
  async mapAsync(memory: DmaMemory, options: MapAsyncOptions = {}): Promise<bigint> {
    if (options === null) throw invalidType('options', 'an object', options);
    const { signal, onProgress, ...rest } = options;
    checkSignal(signal);
    checkCallback(onProgress, 'onProgress');
    const plan = this.#mapper.plan(memory, rest);
    checkAlive(this);
    return this.#mapper.mapAsync(this, plan, async () => {
      const { offset, length } = plan;
      await memory.prefault({ offset, length, ...(signal && { signal }), ...(onProgress && { onProgress }) });
    });
  }

  /**
   * Maps memfd memory by its file (IOMMU_IOAS_MAP_FILE, Linux 6.13), with no fallback to its address: what live update
   * needs. Takes what `map` takes.
   * @throws IommufdError ENOTTY where the kernel lacks it; TypeError for memory without a file
   */
  mapFile(memory: DmaMemory, options?: MapOptions): bigint {
    const plan = this.#mapper.plan(memory, options);
    if (plan.region.fd < 0) throw invalidType('memory', "memory with a file (backing 'memfd')", memory);
    checkAlive(this);
    return this.#mapper.map(plan, 'file');
  }

  /**
   * Maps a file this library knows nothing of: a memfd, or a dma-buf of a VFIO device (IOMMU_IOAS_MAP_FILE, Linux
   * 6.13). Unsafe: devices may write to that file's pages whoever else uses them. The fd may be closed afterwards.
   * @param start bytes from the start of the file
   * @throws IommufdError EBADF (not open), EINVAL (neither memfd nor dma-buf), EEXIST (range taken), ENOTTY (an older
   * kernel)
   */
  unsafeMapFd(fd: number, start: U64, options: UnsafeMapOptions): bigint {
    const { length, ...range } = mapRange(options);
    const file = { ioas_id: idOf(this), fd: toFd(fd, 'fd'), start: toU64(start, 'start') };
    checkAlive(this);
    const input = { ...file, length, ...range };
    const ask = () => call(this.#context, uapi.IOMMU_IOAS_MAP_FILE, input).iova;
    return this.#mapper.mapUnsafe(length, ask, CALLERS_FILE);
  }

  /**
   * Maps any memory of this process by address (IOMMU_IOAS_MAP). Unsafe: the kernel remembers the address, and pins
   * whatever lies there when a device is attached; the caller must keep the range mapped and unused for all else until
   * it is unmapped here, or devices write into memory that has become something else.
   * @param address where it lies in this process
   * @throws IommufdError as `map`; EFAULT (a page table exists, and nothing lies there)
   */
  unsafeMapAddress(address: U64, options: UnsafeMapOptions): bigint {
    const { length, ...range } = mapRange(options);
    const input = { ioas_id: idOf(this), user_va: toU64(address, 'address'), length, ...range };
    checkAlive(this);
    return this.#mapper.mapUnsafe(length, () => call(this.#context, uapi.IOMMU_IOAS_MAP, input).iova);
  }

  /**
   * Maps memory of a device for other devices to reach, peer to peer: a memory BAR, or a part of one, as a dma-buf
   * (VFIO_DEVICE_FEATURE_DMA_BUF, Linux 6.19; IOMMU_IOAS_MAP_FILE of it, Linux 6.19). A reset of that device, memory turned
   * off in its command register, low power and closing it revoke the mapping: DMA to it fails, its IOVAs stay taken until
   * they are unmapped.
   * @param source `nic.region('bar0')`
   * @throws IommufdError ENODEV (not a BAR; memory is off, or it sleeps), EINVAL, EOPNOTSUPP (the platform has no peer to
   * peer for it), ENOTTY (an older kernel), and what `map` throws
   */
  mapDmaBuf(source: DmaBufSource, options?: MapDmaBufOptions): DmaBufMapping {
    return mapDmaBuf(this, this.#context, this.#mapper, source, options);
  }

  /**
   * Maps what another IOAS has mapped, sharing its pinned pages (IOMMU_IOAS_COPY, Linux 6.2): the same memory is pinned
   * and counted once.
   * @throws IommufdError ENOENT (source not mapped from end to end), EEXIST, EINVAL, EPERM (writable, though the source
   * was mapped with writable: false)
   */
  copy(source: Ioas, options: CopyOptions): bigint {
    checkMade(source, Ioas, 'source', 'an Ioas');
    checkOptions(options, ['sourceIova', 'length', 'iova', 'readable', 'writable']);
    const { sourceIova: from, ...rest } = { ...options };
    const sourceIova = toU64(from, 'sourceIova');
    const { flags, length, iova: dst_iova } = mapRange(rest);
    // After the options: reading them may run code of the caller's.
    checkAlive(this);
    checkSame(this, source, 'source');
    const input = { flags, dst_ioas_id: idOf(this), src_ioas_id: idOf(source), length, dst_iova, src_iova: sourceIova };
    const ask = () => call(this.#context, uapi.IOMMU_IOAS_COPY, input).dst_iova;
    return this.#mapper.copyFrom(source.#mapper, { sourceIova, length, flags }, ask);
  }

  /**
   * Unmaps whatever is mapped inside the range, and answers how many bytes that were (IOMMU_IOAS_UNMAP, Linux 6.2). A
   * mapping is unmapped whole or not at all.
   * @throws IommufdError ENOENT (nothing there, or only part of a mapping in the range), EBUSY (a hardware queue or an
   * access uses the pages). A failure half-way keeps what was unmapped until then.
   */
  unmap(iova: U64, length: U64): bigint {
    checkAlive(this);
    return this.#mapper.unmap(iova, length);
  }

  /**
   * Unmaps everything and answers how many bytes that were; nothing mapped is fine.
   * @throws IommufdError EBUSY (a hardware queue or an access uses pages). What was unmapped until then, from the lowest
   * IOVA on, stays unmapped.
   */
  unmapAll(): bigint {
    checkAlive(this);
    return this.#mapper.unmap(0n, U64_MAX);
  }

  /** How many mappings this object knows of. */
  get mappingCount(): number {
    return this.#mapper.table.size;
  }

  /** Where memory can be mapped now, and how it must be aligned (IOMMU_IOAS_IOVA_RANGES, Linux 6.2). */
  iovaRanges(): IovaRanges {
    checkAlive(this);
    for (let slots = 16; ; ) {
      const room = new Uint8Array(slots * uapi.iommu_iova_range.size);
      const input = { ioas_id: idOf(this), num_iovas: slots };
      const { result, out } = tryCall(this.#context, uapi.IOMMU_IOAS_IOVA_RANGES, input, { allowed_iovas: room });
      if (result === EMSGSIZE) {
        // Another thread may attach devices meanwhile: ask for a little more than was needed.
        slots = out.num_iovas + 4;
        continue;
      }
      if (result < 0) throw refusal(this.#context, uapi.IOMMU_IOAS_IOVA_RANGES, result, input);
      const view = new DataView(room.buffer);
      const ranges = Array.from({ length: out.num_iovas }, (_, i) =>
        uapi.iommu_iova_range.decode(view, i * uapi.iommu_iova_range.size),
      );
      return { ranges, alignment: out.out_iova_alignment };
    }
  }

  /**
   * Promises that these ranges stay usable: attaching a device that reserves part of them is refused, and the kernel
   * chooses IOVAs only from them (IOMMU_IOAS_ALLOW_IOVAS, Linux 6.2). Replaces the list given before; an empty one
   * lifts it.
   * @throws IommufdError EINVAL (ranges overlap or are empty), EADDRINUSE (not all usable now)
   */
  allowIovas(ranges: Iterable<{ readonly start: U64; readonly last: U64 }>): void {
    const list = toList(ranges, 'ranges', '{ start, last }', rangeOf);
    const bytes = new Uint8Array(list.length * uapi.iommu_iova_range.size);
    const view = new DataView(bytes.buffer);
    list.forEach((range, i) => {
      uapi.iommu_iova_range.encode(view, i * uapi.iommu_iova_range.size, range);
    });
    checkAlive(this);
    const input = { ioas_id: idOf(this), num_iovas: list.length };
    call(this.#context, uapi.IOMMU_IOAS_ALLOW_IOVAS, input, { allowed_iovas: bytes });
  }

  /** Whether contiguous pages may be combined in page tables; true at first (IOMMU_OPTION_HUGE_PAGES, Linux 6.2). */
  get hugePages(): boolean {
    checkAlive(this);
    return this.#option('IOMMU_OPTION_OP_GET', 0n) === 1n;
  }
  /**
   * False maps everything page by page: for benchmarks.
   * @throws IommufdError EINVAL (to false once a page table has something mapped), EADDRINUSE (a mapping not aligned to
   * pages)
   */
  set hugePages(value: boolean) {
    checkAlive(this);
    this.#option('IOMMU_OPTION_OP_SET', toBoolean(value, 'hugePages', true) ? 1n : 0n);
  }

  /**
   * The physical address behind an IOVA, and how many bytes from there on are contiguous: for devices without an IOMMU,
   * which see physical addresses (IOMMU_IOAS_NOIOMMU_GET_PA, Linux 7.3).
   * @param length at most this many bytes are asked about; 0 is EINVAL
   * @throws IommufdError EPERM (CAP_SYS_RAWIO is needed), EOPNOTSUPP (no noiommu in this kernel), ENOENT
   */
  physicalAddress(iova: U64, length: U64): { readonly address: bigint; readonly length: bigint } {
    checkAlive(this);
    const out = call(this.#context, uapi.IOMMU_IOAS_NOIOMMU_GET_PA, {
      ioas_id: idOf(this),
      iova: toU64(iova, 'iova'),
      length: toU64(length, 'length'),
    });
    return { address: out.out_phys, length: out.length };
  }

  /**
   * Makes a page table over this address space for a device's IOMMU (IOMMU_HWPT_ALLOC, Linux 6.6). The first one pins
   * all mapped memory.
   * @throws IommufdError EOPNOTSUPP (a flag the IOMMU cannot do), ENOMEM (usually RLIMIT_MEMLOCK), EFAULT (a mapped
   * address with nothing there), EADDRINUSE (a mapping the IOMMU cannot reach, or not aligned for it)
   */
  allocHwpt(device: Device, options: HwptOptions = {}): HwptPaging {
    return allocHwpt(this, device, options);
  }

  /** As `allocHwpt`, on the thread pool: pinning much memory takes long. */
  allocHwptAsync(device: Device, options: HwptOptions = {}): Promise<HwptPaging> {
    return allocHwptAsync(this, device, options);
  }

  #option(op: keyof typeof uapi.iommufd_option_ops.values, value: bigint): bigint {
    return call(this.#context, uapi.IOMMU_OPTION, {
      option_id: uapi.iommufd_option.values.IOMMU_OPTION_HUGE_PAGES,
      op: uapi.iommufd_option_ops.values[op],
      object_id: idOf(this),
      val64: value,
    }).val64;
  }
}

/** What an IOAS has mapped, as far as this process knows: dirty tracking needs the holes. */
export function mappingsOf(ioas: Ioas): MappingTable {
  return mapperOf(ioas).table;
}

/** The address space that has this id, if it is known here. */
export function knownIoas(ctx: Context, id: number): Ioas | undefined {
  const known = ctx.ioases.get(id);
  return known === undefined || gone(known) ? undefined : known;
}

/** The kernel gave this id out anew: what was mapped may be gone, and its memory stays until that is known. */
export function mistrust(ioas: Ioas): Ioas {
  mapperOf(ioas).table.doubt(0n, U64_MAX + 1n);
  return ioas;
}

/** Notes what somebody else mapped in an IOAS that was adopted. */
export function noteMappings(
  ioas: Ioas,
  mappings: readonly { readonly iova: bigint; readonly length: bigint }[],
): void {
  for (const { iova, length } of mappings) mapperOf(ioas).note(iova, length);
}

/** A mapping that the process before made: from its state. */
export interface RestoredMapping {
  readonly iova: bigint;
  readonly length: bigint;
  /** The share in its memory, taken over; undefined where that is somebody else's. */
  readonly hold: MemoryHold | undefined;
  readonly offset: number;
  readonly access: number;
  readonly sure: boolean;
}

/** Notes what the process before mapped, as it had noted it. */
export function restoreMapping(ioas: Ioas, mapping: RestoredMapping): void {
  mapperOf(ioas).table.restore(mapping);
}

/** One range of `allowIovas`. */
function rangeOf(range: { readonly start: U64; readonly last: U64 }, i: number): IovaRange {
  const name = `ranges[${i}]`;
  if (range === undefined) throw invalidType(name, '{ start, last }', range);
  checkOptions(range, ['start', 'last'], name);
  return { start: toU64(range.start, `${name}.start`), last: toU64(range.last, `${name}.last`) };
}

/** The arguments that all unsafe mappings share. */
function mapRange(options: UnsafeMapOptions): { flags: number; length: bigint; iova: bigint } {
  checkOptions(options, ['iova', 'length', 'readable', 'writable']);
  const { iova, length, ...rest } = { ...options };
  return {
    flags: mapFlags({ iova, ...rest }),
    length: toU64(length, 'length'),
    iova: iova === undefined ? 0n : toU64(iova, 'iova'),
  };
}
