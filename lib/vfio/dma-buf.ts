// Memory BARs as dma-bufs: files that other drivers can reach the device by, peer to peer. A reset, memory that is turned
// off, low power and closing the device revoke them for all who use them (drivers/vfio/pci/vfio_pci_dmabuf.c).
import { checkOptions, toList, toSize, type U64 } from '../host/arguments.js';
import { outOfRange } from '../host/errors.js';
import { type DmaBufFile, exportsDmaBufs, type RevokedBy } from '../objects/dma-buf-mapping.js';
import * as uapi from '../uapi/vfio.js';
import type { DeviceCore } from './core.js';
import { callFeature, encodeData } from './feature-call.js';
import { OwnedFile } from './owned-file.js';

export interface DmaBufRange {
  /** Bytes from the start of the region, a multiple of the page size; 0 if left out. */
  readonly offset?: U64;
  /** Bytes, a multiple of the page size; to the end of the region if left out. */
  readonly length?: U64;
}

export interface DmaBufOptions extends DmaBufRange {
  /** Several parts of the region, one behind the other in the dma-buf: not for `ioas.mapDmaBuf`, which takes one. */
  readonly ranges?: Iterable<DmaBufRange>;
}

/** What is exported of: a region, which tells its size when it is first asked. */
export interface ExportedRegion {
  readonly index: number;
  /** Bytes. */
  readonly size: number;
}

const FEATURE = 'VFIO_DEVICE_FEATURE_DMA_BUF';
const HEAD = uapi.vfio_device_feature_dma_buf;
const RANGE = uapi.vfio_region_dma_range;
const O_RDWR = 0o2;
const O_CLOEXEC = 0o2000000;
/** As many as pass through the arena with ease. */
const MOST_RANGES = 1024;

/**
 * Made by `region.exportDmaBuf`. What was mapped of it is dead once it is revoked; the file itself can be mapped anew when
 * the memory is back. It closes with its device; who has a duplicate of its fd keeps it, revoked.
 */
export class DmaBuf implements DmaBufFile {
  /** Bytes. */
  readonly length: number;
  readonly #file: OwnedFile;

  /** Not for callers: use `region.exportDmaBuf`. */
  constructor(file: OwnedFile, length: number) {
    this.#file = file;
    this.length = length;
  }

  /** The fd, owned by this object. */
  get fd(): number {
    return this.#file.fd;
  }
  get closed(): boolean {
    return !this.#file.open;
  }
  /** Closes the fd; mappings of it stay. Twice is fine. */
  close(): void {
    this.#file.close();
  }
  [Symbol.dispose](): void {
    this.close();
  }
  toJSON(): Record<string, unknown> {
    return { type: 'DmaBuf', length: this.length, closed: this.closed };
  }
}

/** `region.exportDmaBuf`. */
export function exportDmaBuf(core: DeviceCore, region: ExportedRegion, options: DmaBufOptions = {}): DmaBuf {
  const ranges = rangesOf(options, region.size, core.seam.pageSize);
  const length = ranges.reduce((sum, range) => sum + range.length, 0);
  const input = { region_index: region.index, open_flags: O_RDWR | O_CLOEXEC, nr_ranges: ranges.length };
  const data = encodeData(HEAD, input, HEAD.size + ranges.length * RANGE.size);
  const view = new DataView(data.buffer);
  for (const [i, { offset, length: bytes }] of ranges.entries()) {
    RANGE.encode(view, HEAD.size + i * RANGE.size, { offset: BigInt(offset), length: BigInt(bytes) });
  }
  const args = { region_index: region.index, dma_ranges: ranges.length, length };
  const fd = callFeature(core, FEATURE, 'get', data, { args });
  return new DmaBuf(new OwnedFile(core, fd, 'a dma-buf'), length);
}

/** Lets `ioas.mapDmaBuf` take this region of the device. */
export function allowDmaBufs(core: DeviceCore, source: ExportedRegion): void {
  // Copies: a program may change the properties of its object.
  const region = { index: source.index, size: source.size };
  exportsDmaBufs(source, {
    seam: core.seam,
    export: (range) => exportDmaBuf(core, region, range),
    onRevoked: (listener) => onRevoked(core, listener),
  });
}

function onRevoked(core: DeviceCore, listener: (why: RevokedBy) => void): () => void {
  const stop = core.onMemoryLoss(listener);
  const atClose = { close: () => listener('closed') };
  core.add(atClose);
  return () => {
    stop();
    core.remove(atClose);
  };
}

function rangesOf(options: DmaBufOptions, size: number, page: number): { offset: number; length: number }[] {
  checkOptions(options, ['offset', 'length', 'ranges']);
  const { ranges, ...single } = { ...options };
  if (ranges === undefined) return [rangeOf(single, size, page, '')];
  if (Object.keys(single).length > 0) throw outOfRange('options', 'ranges, or offset and length', 'both');
  const list = toList(ranges, 'ranges', '{ offset, length }', (range, i) => {
    checkOptions(range, ['offset', 'length'], `ranges[${i}]`);
    return rangeOf({ ...range }, size, page, `ranges[${i}].`);
  });
  if (list.length === 0 || list.length > MOST_RANGES) {
    throw outOfRange('ranges', `between 1 and ${MOST_RANGES} ranges`, list.length);
  }
  return list;
}

function rangeOf({ offset = 0, length }: DmaBufRange, size: number, page: number, prefix: string) {
  const from = toSize(offset, `${prefix}offset`);
  if (from > size || from % page !== 0) {
    throw outOfRange(`${prefix}offset`, `a multiple of the page size ${page}, at most ${size}`, offset);
  }
  const bytes = length === undefined ? size - from : toSize(length, `${prefix}length`);
  if (bytes === 0 || bytes > size - from || bytes % page !== 0) {
    throw outOfRange(`${prefix}length`, `a positive multiple of the page size ${page}, at most ${size - from}`, bytes);
  }
  return { offset: from, length: bytes };
}
