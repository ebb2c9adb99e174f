// The features of a device that notes what it writes to (drivers/vfio/vfio_main.c): which IOVAs it is to watch, and which of
// them it wrote to.
import { ERRNO } from '../../../uapi/errno.js';
import { vfio_device_feature_flags } from '../../../uapi/vfio-constants.js';
import {
  vfio_device_feature_dma_logging_control,
  vfio_device_feature_dma_logging_range,
  vfio_device_feature_dma_logging_report,
} from '../../../uapi/vfio-features.js';
import { PAGE_SIZE } from '../../memory/backing.js';
import { IovaBitmap } from '../iova-bitmap.js';
import type { Process } from '../process.js';
import { checkFeature } from './check-feature.js';
import type { FeatureCall } from './features.js';

const CONTROL = vfio_device_feature_dma_logging_control;
const RANGE = vfio_device_feature_dma_logging_range;
const REPORT = vfio_device_feature_dma_logging_report;
const { VFIO_DEVICE_FEATURE_GET: GET, VFIO_DEVICE_FEATURE_SET: SET } = vfio_device_feature_flags.values;

/** As many as fit into a page. */
const MOST_RANGES = PAGE_SIZE / RANGE.size;
const ALL_IOVAS = 2n ** 64n;
const LEAST_PAGE = 4096n;

interface Range {
  readonly iova: bigint;
  readonly length: bigint;
  /** Its last IOVA: for an empty one, the one before it. */
  readonly last: bigint;
}

/** VFIO_DEVICE_FEATURE_DMA_LOGGING_START. */
export function startLogging({ kernel, driver, flags, data, size }: FeatureCall): number {
  const { dmaLogging: ops } = driver;
  if (ops === undefined) return -ERRNO.ENOTTY;
  const check = checkFeature(flags, size, SET, CONTROL.size);
  if (check !== 'go') return check;
  const bytes = new Uint8Array(CONTROL.size);
  if (!data.copyIn(0, bytes)) return -ERRNO.EFAULT;
  const view = new DataView(bytes.buffer);
  const count = view.getUint32(CONTROL.at.num_ranges, true);
  if (count === 0) return -ERRNO.EINVAL;
  if (count > MOST_RANGES) return -ERRNO.E2BIG;
  if (!kernel.allocates()) return -ERRNO.ENOMEM;
  const pageSize = view.getBigUint64(CONTROL.at.page_size, true);
  const ranges = readRanges(data.process, Number(view.getBigUint64(CONTROL.at.ranges, true)), count, pageSize);
  if (typeof ranges === 'number') return ranges;
  const chosen = ops.start(ranges, pageSize);
  if (typeof chosen === 'number') return chosen;
  view.setBigUint64(CONTROL.at.page_size, chosen, true);
  if (data.copyOut(0, bytes)) return 0;
  ops.stop();
  return -ERRNO.EFAULT;
}

/** Answers the ranges in the order of their IOVAs, as drivers get to see them. */
function readRanges({ memory }: Process, address: number, count: number, pageSize: bigint): Range[] | number {
  const ranges: Range[] = [];
  const bytes = new Uint8Array(RANGE.size);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < count; i++) {
    if (!memory.read(address + i * RANGE.size, bytes)) return -ERRNO.EFAULT;
    const iova = view.getBigUint64(RANGE.at.iova, true);
    const length = view.getBigUint64(RANGE.at.length, true);
    if (((iova | length) & (pageSize - 1n)) !== 0n) return -ERRNO.EINVAL;
    if (iova + length >= ALL_IOVAS) return -ERRNO.EOVERFLOW;
    const last = BigInt.asUintN(64, iova + length - 1n);
    if (ranges.some((other) => other.iova <= last && iova <= other.last)) return -ERRNO.EINVAL;
    ranges.push({ iova, length, last });
  }
  return ranges.sort((a, b) => (a.iova < b.iova ? -1 : 1));
}

/** VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP. */
export function stopLogging({ driver, flags, size }: FeatureCall): number {
  if (driver.dmaLogging === undefined) return -ERRNO.ENOTTY;
  const check = checkFeature(flags, size, SET, 0);
  return check === 'go' ? driver.dmaLogging.stop() : check;
}

/** VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT. */
export function reportLogging({ kernel, driver, flags, data, size }: FeatureCall): number {
  const { dmaLogging: ops } = driver;
  if (ops === undefined) return -ERRNO.ENOTTY;
  const check = checkFeature(flags, size, GET, REPORT.size);
  if (check !== 'go') return check;
  const bytes = new Uint8Array(REPORT.size);
  if (!data.copyIn(0, bytes)) return -ERRNO.EFAULT;
  const view = new DataView(bytes.buffer);
  const pageSize = view.getBigUint64(REPORT.at.page_size, true);
  if (pageSize < LEAST_PAGE || (pageSize & (pageSize - 1n)) !== 0n) return -ERRNO.EINVAL;
  const iova = view.getBigUint64(REPORT.at.iova, true);
  const length = view.getBigUint64(REPORT.at.length, true);
  if (iova + length >= ALL_IOVAS) return -ERRNO.EOVERFLOW;
  if (!kernel.allocates()) return -ERRNO.ENOMEM;
  const address = Number(view.getBigUint64(REPORT.at.bitmap, true));
  const bitmap = new IovaBitmap(data.process.memory, address, { iova, length, pageSize });
  return ops.readAndClear(iova, length, (start, written) => bitmap.set(start, written));
}
