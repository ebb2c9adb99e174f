// A device's own notes of which IOVAs it wrote to: for devices that can, where their IOMMU cannot (dirty bitmaps of page
// tables). What is reported is forgotten by the device.
import { checkOptions, toList, toU64, type U64, U64_MAX } from '../host/arguments.js';
import { outOfRange } from '../host/errors.js';
import { bitRuns } from '../objects/bit-runs.js';
import { allocateBlock, freeBlock } from '../objects/call.js';
import type { DirtyRange } from '../objects/dirty-bitmap.js';
import * as uapi from '../uapi/vfio.js';
import type { DeviceCore } from './core.js';
import { callFeature, decodeData, encodeData } from './feature-call.js';

export interface DmaLoggingOptions {
  /** What to watch; multiples of the page size, no two overlapping. 256 always work, more depends on the kernel. */
  readonly ranges: Iterable<{ readonly iova: U64; readonly length: U64 }>;
  /** Bytes that the device should note as one, a power of two from 4096 on; 4096 if left out. */
  readonly pageSize?: U64;
}

export interface DmaReportOptions {
  /** The first IOVA, a multiple of the page size. */
  readonly iova: U64;
  /** Bytes, a multiple of the page size. */
  readonly length: U64;
  /** Bytes each bit of the report stands for, a power of two from 4096 on; 4096 if left out. */
  readonly pageSize?: U64;
}

const START = 'VFIO_DEVICE_FEATURE_DMA_LOGGING_START';
const REPORT = 'VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT';
const RANGE = uapi.vfio_device_feature_dma_logging_range;
/** A bitmap of 4 GiB: the largest that JavaScript holds in one piece. */
const MOST_PAGES = 2n ** 35n;

interface Range {
  readonly iova: bigint;
  readonly length: bigint;
}

/** Made by `nic.dmaLogging`. */
export class DmaLogging {
  readonly #core: DeviceCore;

  /** Not for callers: use `nic.dmaLogging`. */
  constructor(core: DeviceCore) {
    this.#core = core;
  }

  /**
   * Starts noting (VFIO_DEVICE_FEATURE_DMA_LOGGING_START, Linux 6.1), until `stop` or the device is closed.
   * @returns the bytes that the device notes as one: what it chose, which need not be what was asked for
   * @throws IommufdError ENOTTY (the device has no notes), EINVAL (ranges overlap), E2BIG (more than 256 ranges),
   * EBUSY or EINVAL (started already), ENOMEM, EOPNOTSUPP (more than the device can watch)
   */
  start(options: DmaLoggingOptions): bigint {
    checkOptions(options, ['ranges', 'pageSize']);
    const { ranges: given, pageSize: size } = { ...options };
    const pageSize = toPageSize(size);
    const ranges = toRanges(given, pageSize);
    this.#core.check();
    const block = allocateBlock(this.#core.seam, ranges.length * RANGE.size);
    try {
      const bytes = block.window(0, block.length);
      const view = new DataView(bytes.buffer, bytes.byteOffset);
      for (const [i, range] of ranges.entries()) RANGE.encode(view, i * RANGE.size, range);
      return this.#start(pageSize, ranges.length, block.address);
    } finally {
      freeBlock(block);
    }
  }

  #start(pageSize: bigint, count: number, address: bigint): bigint {
    const control = { page_size: pageSize, num_ranges: count, ranges: address };
    const data = encodeData(uapi.vfio_device_feature_dma_logging_control, control);
    callFeature(this.#core, START, 'set', data, { args: { page_size: pageSize, num_ranges: count } });
    return decodeData(uapi.vfio_device_feature_dma_logging_control, data).page_size;
  }

  /**
   * Stops noting; what was not reported is lost.
   * @throws IommufdError ENOTTY (the device has no notes); some drivers answer EINVAL where nothing was started
   */
  stop(): void {
    callFeature(this.#core, 'VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP', 'set');
  }

  /**
   * What the device wrote to since the last report, in order, neighbours joined
   * (VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT, Linux 6.1). It is asked at once; the answer is kept for the iterator.
   * @throws IommufdError ENOTTY (the device has no notes), EINVAL (not started). After any refusal take the whole range
   * as written: what the device told until then is lost
   */
  report(options: DmaReportOptions): Generator<DirtyRange, void, undefined> {
    checkOptions(options, ['iova', 'length', 'pageSize']);
    const { iova, length, pageSize: size } = { ...options };
    const pageSize = toPageSize(size);
    const range = toRange({ iova, length }, pageSize, 'options');
    const pages = range.length / pageSize;
    if (pages > MOST_PAGES) throw outOfRange('length', `at most ${MOST_PAGES} pages`, range.length);
    this.#core.check();
    return writtenRanges(this.#read(range, pageSize, Number(pages)), range.iova, pageSize, Number(pages));
  }

  /** The bits of a range. */
  #read(range: Range, pageSize: bigint, pages: number): Uint32Array {
    // The kernel writes whole 64-bit words, and sets bits only: fresh blocks are zeroed.
    const bytes = Math.ceil(pages / 64) * 8;
    // Before the device is asked: there must be room for what it forgets.
    const copy = new Uint8Array(bytes);
    const block = allocateBlock(this.#core.seam, bytes);
    try {
      const input = { ...range, page_size: pageSize };
      const data = encodeData(uapi.vfio_device_feature_dma_logging_report, { ...input, bitmap: block.address });
      const extra = 'what was told until then is lost: take all pages of the range as written';
      callFeature(this.#core, REPORT, 'get', data, { args: input, extra });
      copy.set(block.window(0, bytes));
      return new Uint32Array(copy.buffer);
    } finally {
      freeBlock(block);
    }
  }
}

function* writtenRanges(
  words: Uint32Array,
  iova: bigint,
  pageSize: bigint,
  pages: number,
): Generator<DirtyRange, void, undefined> {
  for (const { first, count } of bitRuns(words, 0, pages)) {
    yield { iova: iova + BigInt(first) * pageSize, length: BigInt(count) * pageSize };
  }
}

function toPageSize(value: U64 = 4096): bigint {
  const size = toU64(value, 'pageSize');
  if (size < 4096n || (size & (size - 1n)) !== 0n) throw outOfRange('pageSize', 'a power of two from 4096 on', value);
  return size;
}

function toRanges(given: DmaLoggingOptions['ranges'], pageSize: bigint): Range[] {
  const ranges = toList(given, 'ranges', '{ iova, length }', (range, i) => {
    const name = `ranges[${i}]`;
    checkOptions(range, ['iova', 'length'], name);
    return toRange(range, pageSize, name);
  });
  if (ranges.length === 0) throw outOfRange('ranges', 'at least one range', given);
  return ranges;
}

/** The kernel wants the end below 2^64, and makes of length 0 a range that has all IOVAs (drivers/vfio/vfio_main.c). */
function toRange(given: { readonly iova: U64; readonly length: U64 }, pageSize: bigint, name: string): Range {
  const iova = toU64(given.iova, `${name}.iova`);
  const length = toU64(given.length, `${name}.length`);
  const unit = `a multiple of the page size ${pageSize}`;
  if (iova % pageSize !== 0n) throw outOfRange(`${name}.iova`, unit, iova);
  if (length === 0n || length % pageSize !== 0n) throw outOfRange(`${name}.length`, `positive, ${unit}`, length);
  if (iova + length > U64_MAX) throw outOfRange(`${name}.length`, 'below 2^64 from iova on', length);
  return { iova, length };
}
