// Memory of a device, mapped for other devices: a dma-buf of a BAR under an IOAS (IOMMU_IOAS_MAP_FILE). When the device
// loses its memory the kernel takes the pages out of all page tables, and only the IOVAs stay taken, until they are
// unmapped (drivers/iommu/iommufd/pages.c, iopt_revoke_notify).
import { checkOptions, toU64, type U64 } from '../host/arguments.js';
import { invalidType, jsonSafe, outOfRange, UsageError } from '../host/errors.js';
import type { MemoryHold } from '../host/memory.js';
import type { Seam } from '../host/seam.js';
import * as uapi from '../uapi/iommufd.js';
import { call } from './call.js';
import type { Context } from './context.js';
import type { Ioas } from './ioas.js';
import { checkAlive, idOf } from './kernel-object.js';
import { type Mapper, mapFlags } from './mapper.js';

/** Something whose memory can be had as a dma-buf: a memory BAR of a VfioDevice. */
export interface DmaBufSource {
  exportDmaBuf(options?: { readonly offset?: U64; readonly length?: U64 }): DmaBufFile;
}

/** A dma-buf, as a file. */
export interface DmaBufFile {
  readonly fd: number;
  /** Bytes. */
  readonly length: number;
  close(): void;
}

/** Why a mapping of a dma-buf is dead: what took the device's memory away. */
export type RevokedBy = 'reset' | 'memory off' | 'low power' | 'closed';

export interface MapDmaBufOptions {
  /** Where devices see it; the kernel chooses if left out. */
  readonly iova?: U64;
  /** Bytes from the start of the region, a multiple of the page size; 0 if left out. */
  readonly offset?: U64;
  /** Bytes, a multiple of the page size; to the end of the region if left out. */
  readonly length?: U64;
  /** Whether devices may read; true if left out. */
  readonly readable?: boolean;
  /** Whether devices may write; true if left out. */
  readonly writable?: boolean;
}

/** How a source exports, for this package's own files: what a program passes in may only look like a source. */
export interface DmaBufExporter {
  readonly seam: Seam;
  export(options: { readonly offset?: U64; readonly length?: U64 }): DmaBufFile;
  /** Tells when its memory is taken away; answers what stops it. */
  onRevoked(listener: (why: RevokedBy) => void): () => void;
}

const exporters = new WeakMap<object, DmaBufExporter>();

/** Makes an object one whose memory can be mapped. */
export function exportsDmaBufs(source: object, exporter: DmaBufExporter): void {
  exporters.set(source, exporter);
}

/** Made by `ioas.mapDmaBuf`. */
export class DmaBufMapping {
  readonly #ioas: Ioas;
  readonly #iova: bigint;
  readonly #state: State;

  /** Not for callers: use `ioas.mapDmaBuf`. */
  constructor(ioas: Ioas, iova: bigint, state: State) {
    this.#ioas = ioas;
    this.#iova = iova;
    this.#state = state;
  }

  /** Where devices see it. */
  get iova(): bigint {
    return this.#iova;
  }
  /** Bytes. */
  get length(): bigint {
    return this.#state.length;
  }
  /** Whether the IOVAs are taken by it: until they are unmapped, here or by `ioas.unmap`. */
  get mapped(): boolean {
    return this.#state.mapped;
  }
  /** Whether the device's memory was taken away: DMA to it fails from then on. Unmap it, and map anew. */
  get revoked(): boolean {
    return this.#state.revokedBy !== undefined;
  }
  /** Resolves with the cause when it is revoked; never where it is unmapped first. */
  get whenRevoked(): Promise<RevokedBy> {
    return this.#state.whenRevoked;
  }

  /** Gives the IOVAs back. Twice is fine. @throws what `ioas.unmap` throws */
  unmap(): void {
    if (this.#state.mapped) this.#ioas.unmap(this.#iova, this.#state.length);
  }
  [Symbol.dispose](): void {
    this.unmap();
  }

  toJSON(): Record<string, unknown> {
    const { iova, length, mapped, revoked } = this;
    return { type: 'DmaBufMapping', iova: jsonSafe(iova), length: jsonSafe(length), mapped, revoked };
  }
}

/** What the bookkeeping of the IOAS holds of a mapping, and its device tells. */
class State implements MemoryHold {
  /** Its pages may vanish from page tables while its IOVAs stay taken. */
  readonly revocable = true;
  mapped = true;
  revokedBy: RevokedBy | undefined;
  readonly whenRevoked: Promise<RevokedBy>;
  #tell: (why: RevokedBy) => void = () => undefined;
  readonly #stop: () => void;

  constructor(
    exporter: DmaBufExporter,
    /** Bytes. */
    readonly length: bigint,
  ) {
    this.whenRevoked = new Promise((resolve) => {
      this.#tell = resolve;
    });
    this.#stop = exporter.onRevoked((why) => {
      this.revokedBy ??= why;
      this.#tell(why);
    });
  }

  /** It is unmapped. */
  release(): void {
    this.mapped = false;
    this.#stop();
  }
  share(): MemoryHold {
    return COPY;
  }
}

/** A copy of such a mapping in another IOAS: as revocable, and nobody's to tell. */
const COPY: MemoryHold = { revocable: true, release: () => undefined, share: () => COPY };

/** `ioas.mapDmaBuf`. */
export function mapDmaBuf(
  ioas: Ioas,
  ctx: Context,
  mapper: Mapper,
  source: DmaBufSource,
  options: MapDmaBufOptions = {},
): DmaBufMapping {
  checkAlive(ioas);
  const exporter = exporterOf(source);
  checkOptions(options, ['iova', 'offset', 'length', 'readable', 'writable']);
  const { iova, offset, length, readable = true, writable = true } = { ...options };
  const flags = mapFlags({ iova, readable, writable });
  if (!readable && !writable) throw outOfRange('options', 'readable, writable or both', 'neither');
  const where = iova === undefined ? 0n : toU64(iova, 'iova');
  // Reading the options may have run code of the caller's.
  checkAlive(ioas);
  if (exporter.seam !== ctx.seam) throw new UsageError('ERR_IOMMUFD_FOREIGN_HOST', 'source belongs to another host');
  const file = exporter.export({ ...(offset !== undefined && { offset }), ...(length !== undefined && { length }) });
  try {
    const size = BigInt(file.length);
    // Before it is mapped: listeners to traces may reset the device.
    const state = new State(exporter, size);
    const map = () => {
      checkAlive(ioas);
      const input = { flags, ioas_id: idOf(ioas), fd: file.fd, start: 0n, length: size, iova: where };
      return call(ctx, uapi.IOMMU_IOAS_MAP_FILE, input).iova;
    };
    try {
      return new DmaBufMapping(ioas, mapper.mapUnsafe(size, map, state), state);
    } catch (error) {
      state.release();
      throw error;
    }
  } finally {
    // The mapping keeps the dma-buf.
    file.close();
  }
}

function exporterOf(source: unknown): DmaBufExporter {
  const exporter = typeof source === 'object' && source !== null ? exporters.get(source) : undefined;
  if (exporter === undefined) throw invalidType('source', 'a region of a VfioDevice', source);
  return exporter;
}
