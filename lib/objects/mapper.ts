// The hot path: mapping and unmapping. Structs are written into the arena field by field, at the table's offsets; the
// bookkeeping of what is mapped where is kept beside it.
import type { Arena } from '../host/arena.js';
import { toBoolean, toSize, toU64, type U64, unknownOption } from '../host/arguments.js';
import { type IommufdError, invalidType, outOfRange, UsageError } from '../host/errors.js';
import { checkMade } from '../host/made.js';
import { DmaMemory, holdMemory, type MemoryHold, memoryRegion, memorySeam } from '../host/memory.js';
import type { Region, Seam } from '../host/seam.js';
import * as uapi from '../uapi/iommufd.js';
import { publish, refusal, tracing, tryCallAsync } from './call.js';
import type { Context } from './context.js';
import { type KernelObject, whileUsed } from './kernel-object.js';
import { CALLERS, type Compact, compact, Mapping, MappingTable } from './mappings.js';

export interface MapOptions {
  /** Where devices see the memory; the kernel chooses if left out. */
  readonly iova?: U64;
  /** Bytes from the start of the memory; 0 if left out. */
  readonly offset?: U64;
  /** Bytes; to the end of the memory if left out. */
  readonly length?: U64;
  /** Whether devices may read; true if left out. */
  readonly readable?: boolean;
  /** Whether devices may write; true if left out. */
  readonly writable?: boolean;
}

const MAP_OPTIONS = ['iova', 'offset', 'length', 'readable', 'writable'];
const {
  IOMMU_IOAS_MAP_FIXED_IOVA: FIXED,
  IOMMU_IOAS_MAP_WRITEABLE: WRITABLE,
  IOMMU_IOAS_MAP_READABLE: READABLE,
} = uapi.iommufd_ioas_map_flags.values;
const ENOTTY = -25;

const MAP = uapi.iommu_ioas_map;
const MAP_FILE = uapi.iommu_ioas_map_file;
const UNMAP = uapi.iommu_ioas_unmap;

/** A mapping about to be made. */
export interface MapPlan {
  readonly memory: DmaMemory;
  readonly region: Region;
  readonly fixed: boolean;
  readonly iova: bigint;
  readonly offset: number;
  readonly length: number;
  readonly flags: number;
}

/** What of another address space is copied, and what devices may do there. */
export interface CopyRange {
  readonly sourceIova: bigint;
  readonly length: bigint;
  readonly flags: number;
}

/** Which of the two calls maps: by address always works, by file outlives this process. */
export type MapWay = 'file-or-address' | 'file';

/** IOMMU_IOAS_MAP_* flags for a range at a fixed or a free IOVA. */
export function mapFlags(options: { iova?: U64 | undefined; readable?: boolean; writable?: boolean }): number {
  const fixed = options.iova === undefined ? 0 : FIXED;
  const readable = toBoolean(options.readable, 'readable', true) ? READABLE : 0;
  const writable = toBoolean(options.writable, 'writable', true) ? WRITABLE : 0;
  return fixed | readable | writable;
}

/** Throws unless it is a u64; a number stays a number. */
function checkU64(value: U64, name: string): void {
  if (typeof value !== 'number' || !(Number.isSafeInteger(value) && value >= 0)) toU64(value, name);
}

/** Where the memory of the mapping starts in this process. */
function addressOf({ region, offset }: MapPlan): bigint {
  return offset === 0 ? region.address : region.address + BigInt(offset);
}

/** Writes a u64 field: a number in halves, since making a bigint of it takes as long as all the other fields. */
function putU64(arena: Arena, at: number, value: U64): void {
  if (typeof value === 'bigint') {
    arena.u64[at >>> 3] = value;
  } else {
    arena.u32[at >>> 2] = value >>> 0;
    arena.u32[(at >>> 2) + 1] = (value / 0x1_0000_0000) >>> 0;
  }
}

/** Reads a u64 field the same way. */
function compactAt(arena: Arena, at: number): Compact {
  const high = arena.u32[(at >>> 2) + 1] ?? 0;
  if (high > 0x1f_ffff) return arena.u64[at >>> 3] ?? 0n;
  return high * 0x1_0000_0000 + (arena.u32[at >>> 2] ?? 0);
}

/** Whether the parts are held and leave no gap, in the order of their offsets. */
function covers(parts: readonly { offset: bigint; size: Compact; hold: unknown }[], length: bigint): boolean {
  let end = 0n;
  for (const { offset, size, hold } of parts) {
    if (hold === undefined || offset > end) return false;
    if (offset + BigInt(size) > end) end = offset + BigInt(size);
  }
  return end >= length;
}

/** Maps and unmaps for one IOAS, and knows what it mapped. */
export class Mapper {
  readonly table: MappingTable;
  readonly #context: Context;
  readonly #seam: Seam;
  readonly #arena: Arena;
  readonly #ioasId: number;

  /** `complete`: nobody else maps in this address space. */
  constructor(context: Context, ioasId: number, complete: boolean) {
    this.table = new MappingTable(complete);
    this.#context = context;
    this.#seam = context.seam;
    this.#arena = context.seam.arena;
    this.#ioasId = ioasId;
  }

  /** Checks the arguments of a mapping. */
  plan(memory: DmaMemory, options: MapOptions | undefined): MapPlan {
    checkMade(memory, DmaMemory, 'memory', 'a DmaMemory');
    if (memorySeam(memory) !== this.#seam) {
      throw new UsageError('ERR_IOMMUFD_FOREIGN_HOST', 'memory belongs to another host');
    }
    if (options !== undefined && (typeof options !== 'object' || options === null)) {
      throw invalidType('options', 'an object', options);
    }
    let iova: bigint | undefined;
    let offset = 0;
    let length: number | undefined;
    let flags = READABLE | WRITABLE;
    for (const key in options) {
      switch (key) {
        case 'iova':
          if (options.iova !== undefined) iova = toU64(options.iova, 'iova');
          break;
        case 'offset':
          if (options.offset !== undefined) offset = toSize(options.offset, 'offset');
          break;
        case 'length':
          if (options.length !== undefined) length = toSize(options.length, 'length');
          break;
        case 'readable':
          if (!toBoolean(options.readable, 'readable', true)) flags &= ~READABLE;
          break;
        case 'writable':
          if (!toBoolean(options.writable, 'writable', true)) flags &= ~WRITABLE;
          break;
        default:
          throw unknownOption(key, MAP_OPTIONS);
      }
    }
    // After the options: reading them may run code of the caller's.
    const region = memoryRegion(memory);
    const size = region.length;
    if (offset > size) throw outOfRange('offset', `at most ${size}`, offset);
    const bytes = length ?? size - offset;
    if (bytes > size - offset) throw outOfRange('length', `at most ${size - offset}`, bytes);
    if ((flags & (READABLE | WRITABLE)) === 0) throw outOfRange('options', 'readable, writable or both', 'neither');
    if (iova !== undefined) flags |= FIXED;
    return { memory, region, fixed: iova !== undefined, iova: iova ?? 0n, offset, length: bytes, flags };
  }

  map(plan: MapPlan, way: MapWay = 'file-or-address'): bigint {
    const hold = holdMemory(plan.memory);
    let byFile = plan.region.fd >= 0;
    let errno = byFile ? this.#mapFile(plan) : this.#mapAddress(plan);
    // Linux before 6.13 has no IOAS_MAP_FILE: map the same pages by address.
    const fallsBack = errno === ENOTTY && byFile && way !== 'file';
    if (fallsBack) {
      byFile = false;
      errno = this.#mapAddress(plan);
    }
    // Both structs have the IOVA in the same place.
    const start = compactAt(this.#arena, this.#arena.mark() + MAP.at.iova);
    // The table first: a listener to traces may unmap this and map something else there.
    if (errno < 0) hold.release();
    else this.table.add(new Mapping(start, plan.length, hold, plan.offset, plan.flags, !byFile));
    if (tracing()) {
      if (fallsBack) this.#traceMap('IOMMU_IOAS_MAP_FILE', plan, ENOTTY, plan.iova);
      this.#traceMap(byFile ? 'IOMMU_IOAS_MAP_FILE' : 'IOMMU_IOAS_MAP', plan, errno, BigInt(start));
    }
    if (errno < 0) throw this.#refusal(plan, errno, byFile);
    return plan.fixed ? plan.iova : BigInt(start);
  }

  /** Maps `ioas` on the thread pool; `ready` makes the memory present first. The memory is held throughout. */
  async mapAsync(ioas: KernelObject, plan: MapPlan, ready: () => Promise<void>): Promise<bigint> {
    const hold = holdMemory(plan.memory);
    try {
      await ready();
      memoryRegion(plan.memory);
      const map = async () => {
        const { removals } = this.table;
        const { iova, byFile } = await this.#mapOnPool(plan);
        // Before anybody who waits for the thread pool goes on: closeAsync lets go of all that is in the table.
        this.table.add(new Mapping(compact(iova), plan.length, hold, plan.offset, plan.flags, !byFile), removals);
        return iova;
      };
      return await this.#context.track(() => whileUsed([ioas], map));
    } catch (error) {
      hold.release();
      throw error;
    }
  }

  /** Notes a mapping that somebody else made. */
  note(iova: bigint, length: bigint): void {
    this.table.add(new Mapping(compact(iova), compact(length), undefined));
  }

  /** Maps memory that is not this library's: `map` asks the kernel and answers the IOVA; `hold` is told of its end. */
  mapUnsafe(length: bigint, map: () => bigint, hold: MemoryHold = CALLERS): bigint {
    const { removals } = this.table;
    const iova = map();
    this.table.add(new Mapping(compact(iova), compact(length), hold), removals);
    return iova;
  }

  /**
   * Copies part of another IOAS here: `copy` asks the kernel and answers the IOVA. Shares in the memory are taken before:
   * a listener to traces may unmap and free the source. What somebody else mapped there is not copied, since nothing here
   * keeps its memory.
   */
  copyFrom(from: Mapper, { sourceIova, length, flags }: CopyRange, copy: () => bigint): bigint {
    const end = sourceIova + length;
    const parts = from.table.within(sourceIova, length).map((part) => {
      const start = part.iova > sourceIova ? part.iova : sourceIova;
      const stop = part.iova + part.length < end ? part.iova + part.length : end;
      const inMemory = part.offset + Number(start - part.iova);
      const { byAddress } = part;
      return { offset: start - sourceIova, size: compact(stop - start), hold: part.hold?.share(), inMemory, byAddress };
    });
    const { removals } = this.table;
    let iova: bigint;
    try {
      iova = copy();
    } catch (error) {
      for (const { hold } of parts) hold?.release();
      throw error;
    }
    for (const { offset, size, hold, inMemory, byAddress } of parts) {
      this.table.add(new Mapping(compact(iova + offset), size, hold, inMemory, flags, byAddress), removals);
    }
    if (!covers(parts, length)) {
      this.unmap(iova, length);
      throw new UsageError(
        'ERR_IOMMUFD_BORROWED',
        'part of that range was mapped by somebody else, or by a mapAsync that is still under way: map the memory itself',
      );
    }
    return iova;
  }

  /** Unmaps a range and answers how many bytes that were. */
  unmap(iova: U64, length: U64): bigint {
    checkU64(iova, 'iova');
    checkU64(length, 'length');
    const arena = this.#arena;
    const at = arena.mark();
    arena.u32[(at + UNMAP.at.size) >>> 2] = UNMAP.size;
    arena.u32[(at + UNMAP.at.ioas_id) >>> 2] = this.#ioasId;
    putU64(arena, at + UNMAP.at.iova, iova);
    putU64(arena, at + UNMAP.at.length, length);
    const start = compactAt(arena, at + UNMAP.at.iova);
    const size = compactAt(arena, at + UNMAP.at.length);
    const result = this.#seam.ioctl(this.#context.fd, uapi.IOMMU_IOAS_UNMAP.request, at);
    const unmapped = arena.u64[(at + UNMAP.at.length) >>> 3] ?? 0n;
    // The table first: a listener to traces may map something else there.
    if (result < 0) this.table.doubt(BigInt(iova), BigInt(length));
    else this.table.remove(start, size);
    if (tracing()) this.#publish('IOMMU_IOAS_UNMAP', this.#range(iova, length), result, { length: unmapped });
    if (result < 0) throw refusal(this.#context, uapi.IOMMU_IOAS_UNMAP, result, this.#range(iova, length));
    return unmapped;
  }

  /** The arguments of an unmapping, for whoever reads traces and errors. */
  #range(iova: U64, length: U64) {
    return { ioas_id: this.#ioasId, iova: BigInt(iova), length: BigInt(length) };
  }

  #mapAddress(plan: MapPlan): number {
    const arena = this.#arena;
    const at = arena.mark();
    arena.u32[(at + MAP.at.size) >>> 2] = MAP.size;
    arena.u32[(at + MAP.at.flags) >>> 2] = plan.flags;
    arena.u32[(at + MAP.at.ioas_id) >>> 2] = this.#ioasId;
    arena.u32[(at + MAP.at.__reserved) >>> 2] = 0;
    arena.u64[(at + MAP.at.user_va) >>> 3] = addressOf(plan);
    putU64(arena, at + MAP.at.length, plan.length);
    arena.u64[(at + MAP.at.iova) >>> 3] = plan.iova;
    return this.#seam.ioctl(this.#context.fd, uapi.IOMMU_IOAS_MAP.request, at);
  }

  #mapFile(plan: MapPlan): number {
    const arena = this.#arena;
    const at = arena.mark();
    arena.u32[(at + MAP_FILE.at.size) >>> 2] = MAP_FILE.size;
    arena.u32[(at + MAP_FILE.at.flags) >>> 2] = plan.flags;
    arena.u32[(at + MAP_FILE.at.ioas_id) >>> 2] = this.#ioasId;
    arena.u32[(at + MAP_FILE.at.fd) >>> 2] = plan.region.fd;
    putU64(arena, at + MAP_FILE.at.start, plan.offset);
    putU64(arena, at + MAP_FILE.at.length, plan.length);
    arena.u64[(at + MAP_FILE.at.iova) >>> 3] = plan.iova;
    return this.#seam.ioctl(this.#context.fd, uapi.IOMMU_IOAS_MAP_FILE.request, at);
  }

  async #mapOnPool(plan: MapPlan): Promise<{ readonly iova: bigint; readonly byFile: boolean }> {
    const { flags, length, iova, offset, region } = plan;
    const common = { flags, ioas_id: this.#ioasId, length: BigInt(length), iova };
    if (region.fd >= 0) {
      const input = { ...common, fd: region.fd, start: BigInt(offset) };
      const { result, out } = await tryCallAsync(this.#context, uapi.IOMMU_IOAS_MAP_FILE, input);
      if (result >= 0) return { iova: out.iova, byFile: true };
      if (result !== ENOTTY) throw this.#refusal(plan, result, true);
    }
    const input = { ...common, user_va: addressOf(plan) };
    const { result, out } = await tryCallAsync(this.#context, uapi.IOMMU_IOAS_MAP, input);
    if (result < 0) throw this.#refusal(plan, result, false);
    return { iova: out.iova, byFile: false };
  }

  #refusal(plan: MapPlan, errno: number, byFile: boolean): IommufdError {
    const { region, flags, offset, length } = plan;
    const iova = plan.fixed ? plan.iova : undefined;
    const common = { ioas_id: this.#ioasId, flags, iova, length: BigInt(length) };
    if (byFile)
      return refusal(this.#context, uapi.IOMMU_IOAS_MAP_FILE, errno, {
        ...common,
        fd: region.fd,
        start: BigInt(offset),
      });
    return refusal(this.#context, uapi.IOMMU_IOAS_MAP, errno, { ...common, user_va: addressOf(plan) });
  }

  #traceMap(syscall: string, plan: MapPlan, result: number, iova: bigint): void {
    const { flags, offset, length } = plan;
    this.#publish(syscall, { ioas_id: this.#ioasId, flags, offset, length, iova: plan.iova }, result, { iova });
  }

  #publish(
    syscall: string,
    input: Readonly<Record<string, unknown>>,
    result: number,
    output: Readonly<Record<string, unknown>>,
  ): void {
    publish({ host: this.#seam.kind, fd: this.#context.fd, syscall, input, result, output });
  }
}
