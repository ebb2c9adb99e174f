// The hot path: mapping and unmapping. Structs are written into the arena field by field, at the table's offsets; the
// bookkeeping of what is mapped where is kept beside it.
import type { Arena } from '../host/arena.js';
import { toBoolean, toSize, toU64, type U64, unknownOption } from '../host/arguments.js';
import { destroyed, type IommufdError, invalidType, outOfRange, UsageError } from '../host/errors.js';
import { DmaMemory, holdMemory, memorySeam } from '../host/memory.js';
import type { Seam } from '../host/seam.js';
import * as uapi from '../uapi/iommufd.js';
import { publish, refusal, tracing, tryCallAsync } from './call.js';
import type { Context } from './context.js';
import { MappingTable } from './mappings.js';

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
  readonly fixed: boolean;
  readonly iova: bigint;
  readonly offset: number;
  readonly length: number;
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

/** Maps and unmaps for one IOAS, and knows what it mapped. */
export class Mapper {
  readonly table = new MappingTable();
  readonly #context: Context;
  readonly #seam: Seam;
  readonly #arena: Arena;
  readonly #ioasId: number;

  constructor(context: Context, ioasId: number) {
    this.#context = context;
    this.#seam = context.seam;
    this.#arena = context.seam.arena;
    this.#ioasId = ioasId;
  }

  /** Checks the arguments of a mapping. */
  plan(memory: DmaMemory, options: MapOptions | undefined): MapPlan {
    if (!(memory instanceof DmaMemory)) throw invalidType('memory', 'a DmaMemory', memory);
    if (memorySeam(memory) !== this.#seam) {
      throw new UsageError('ERR_IOMMUFD_FOREIGN_HOST', 'memory belongs to another host');
    }
    if (memory.freed) throw destroyed('this memory');
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
    if (offset > memory.size) throw outOfRange('offset', `at most ${memory.size}`, offset);
    const bytes = length ?? memory.size - offset;
    if (bytes > memory.size - offset) throw outOfRange('length', `at most ${memory.size - offset}`, bytes);
    if ((flags & (READABLE | WRITABLE)) === 0) throw outOfRange('options', 'readable, writable or both', 'neither');
    if (iova !== undefined) flags |= FIXED;
    return { memory, fixed: iova !== undefined, iova: iova ?? 0n, offset, length: bytes, flags };
  }

  map(plan: MapPlan, way: MapWay = 'file-or-address'): bigint {
    const hold = holdMemory(plan.memory);
    let byFile = plan.memory.backing !== 'anonymous';
    let errno = byFile ? this.#mapFile(plan) : this.#mapAddress(plan);
    // Linux before 6.13 has no IOAS_MAP_FILE: map the same pages by address.
    if (errno === ENOTTY && byFile && way !== 'file') {
      byFile = false;
      errno = this.#mapAddress(plan);
    }
    if (errno < 0) {
      hold.release();
      throw this.#refusal(plan, errno, byFile);
    }
    const iova = plan.fixed ? plan.iova : this.#answeredIova();
    this.table.add({ iova, length: BigInt(plan.length), hold });
    return iova;
  }

  /** Maps on the thread pool; `ready` makes the memory present first. The memory is held throughout. */
  async mapAsync(plan: MapPlan, ready: () => Promise<void>): Promise<bigint> {
    const hold = holdMemory(plan.memory);
    try {
      await ready();
      const iova = await this.#context.track(() => this.#mapOnPool(plan));
      this.table.add({ iova, length: BigInt(plan.length), hold });
      return iova;
    } catch (error) {
      hold.release();
      throw error;
    }
  }

  /** Notes a mapping of memory that is not this library's. */
  note(iova: bigint, length: bigint): void {
    this.table.add({ iova, length, hold: undefined });
  }

  /** Notes what a copy of part of another IOAS mapped here, with a share in the memory behind it. */
  noteCopy(from: Mapper, sourceIova: bigint, length: bigint, iova: bigint): void {
    const end = sourceIova + length;
    for (const part of from.table.within(sourceIova, length)) {
      const start = part.iova > sourceIova ? part.iova : sourceIova;
      const stop = part.iova + part.length < end ? part.iova + part.length : end;
      this.table.add({ iova: start - sourceIova + iova, length: stop - start, hold: part.hold?.share() });
    }
  }

  /** Unmaps a range and answers how many bytes that were. */
  unmap(iova: bigint, length: bigint): bigint {
    const arena = this.#arena;
    const at = arena.mark();
    arena.u32[(at + UNMAP.at.size) >>> 2] = UNMAP.size;
    arena.u32[(at + UNMAP.at.ioas_id) >>> 2] = this.#ioasId;
    arena.u64[(at + UNMAP.at.iova) >>> 3] = iova;
    arena.u64[(at + UNMAP.at.length) >>> 3] = length;
    const result = this.#seam.ioctl(this.#context.fd, uapi.IOMMU_IOAS_UNMAP.request, at);
    const unmapped = arena.u64[(at + UNMAP.at.length) >>> 3] ?? 0n;
    if (tracing()) {
      const input = { ioas_id: this.#ioasId, iova, length };
      this.#publish('IOMMU_IOAS_UNMAP', input, result, { length: unmapped });
    }
    if (result < 0) throw refusal(uapi.IOMMU_IOAS_UNMAP, result, { ioas_id: this.#ioasId, iova, length });
    this.table.remove(iova, length);
    return unmapped;
  }

  #mapAddress(plan: MapPlan): number {
    const arena = this.#arena;
    const at = arena.mark();
    arena.u32[(at + MAP.at.size) >>> 2] = MAP.size;
    arena.u32[(at + MAP.at.flags) >>> 2] = plan.flags;
    arena.u32[(at + MAP.at.ioas_id) >>> 2] = this.#ioasId;
    arena.u32[(at + MAP.at.__reserved) >>> 2] = 0;
    arena.u64[(at + MAP.at.user_va) >>> 3] = plan.memory.address + BigInt(plan.offset);
    arena.u64[(at + MAP.at.length) >>> 3] = BigInt(plan.length);
    arena.u64[(at + MAP.at.iova) >>> 3] = plan.iova;
    const result = this.#seam.ioctl(this.#context.fd, uapi.IOMMU_IOAS_MAP.request, at);
    if (tracing()) this.#traceMap('IOMMU_IOAS_MAP', plan, result);
    return result;
  }

  #mapFile(plan: MapPlan): number {
    const arena = this.#arena;
    const at = arena.mark();
    arena.u32[(at + MAP_FILE.at.size) >>> 2] = MAP_FILE.size;
    arena.u32[(at + MAP_FILE.at.flags) >>> 2] = plan.flags;
    arena.u32[(at + MAP_FILE.at.ioas_id) >>> 2] = this.#ioasId;
    arena.u32[(at + MAP_FILE.at.fd) >>> 2] = plan.memory.fd;
    arena.u64[(at + MAP_FILE.at.start) >>> 3] = BigInt(plan.offset);
    arena.u64[(at + MAP_FILE.at.length) >>> 3] = BigInt(plan.length);
    arena.u64[(at + MAP_FILE.at.iova) >>> 3] = plan.iova;
    const result = this.#seam.ioctl(this.#context.fd, uapi.IOMMU_IOAS_MAP_FILE.request, at);
    if (tracing()) this.#traceMap('IOMMU_IOAS_MAP_FILE', plan, result);
    return result;
  }

  /** Where the call just made put the mapping: both structs have the IOVA in the same place. */
  #answeredIova(): bigint {
    return this.#arena.u64[(this.#arena.mark() + MAP.at.iova) >>> 3] ?? 0n;
  }

  async #mapOnPool(plan: MapPlan): Promise<bigint> {
    const { flags, length, iova, offset, memory } = plan;
    const common = { flags, ioas_id: this.#ioasId, length: BigInt(length), iova };
    if (memory.backing !== 'anonymous') {
      const input = { ...common, fd: memory.fd, start: BigInt(offset) };
      const { result, out } = await tryCallAsync(this.#context, uapi.IOMMU_IOAS_MAP_FILE, input);
      if (result >= 0) return out.iova;
      if (result !== ENOTTY) throw this.#refusal(plan, result, true);
    }
    const input = { ...common, user_va: memory.address + BigInt(offset) };
    const { result, out } = await tryCallAsync(this.#context, uapi.IOMMU_IOAS_MAP, input);
    if (result < 0) throw this.#refusal(plan, result, false);
    return out.iova;
  }

  #refusal(plan: MapPlan, errno: number, byFile: boolean): IommufdError {
    const { memory, flags, offset, length } = plan;
    const iova = plan.fixed ? plan.iova : undefined;
    const common = { ioas_id: this.#ioasId, flags, iova, length: BigInt(length) };
    if (byFile) return refusal(uapi.IOMMU_IOAS_MAP_FILE, errno, { ...common, fd: memory.fd, start: BigInt(offset) });
    return refusal(uapi.IOMMU_IOAS_MAP, errno, { ...common, user_va: memory.address + BigInt(offset) });
  }

  #traceMap(syscall: string, plan: MapPlan, result: number): void {
    const iova = this.#answeredIova();
    const { flags, offset, length } = plan;
    this.#publish(syscall, { ioas_id: this.#ioasId, flags, offset, length, iova: plan.iova }, result, { iova });
    // A listener may have made calls of its own: put the answer back.
    this.#arena.u64[(this.#arena.mark() + MAP.at.iova) >>> 3] = iova;
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
