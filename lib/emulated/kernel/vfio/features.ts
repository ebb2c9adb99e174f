// VFIO_DEVICE_FEATURE: which feature is meant, and what the core does of them itself (drivers/vfio/vfio_main.c).
import { ERRNO } from '../../../uapi/errno.js';
import { featureSince } from '../../../uapi/releases.js';
import { vfio_device_feature_flags, vfio_device_feature_index } from '../../../uapi/vfio-constants.js';
import { vfio_device_feature } from '../../../uapi/vfio-structs.js';
import type { Kernel } from '../kernel.js';
import { reportLogging, startLogging, stopLogging } from './dma-logging.js';
import type { UserBuffer, VfioDriver } from './driver.js';
import { dataSize, deviceState, migration, precopyInfoV2 } from './migration.js';
import { bufferFrom } from './user-buffer.js';

const HEADER = vfio_device_feature;
const INDEX = vfio_device_feature_index.values;
const {
  VFIO_DEVICE_FEATURE_MASK: MASK,
  VFIO_DEVICE_FEATURE_GET: GET,
  VFIO_DEVICE_FEATURE_SET: SET,
  VFIO_DEVICE_FEATURE_PROBE: PROBE,
} = vfio_device_feature_flags.values;

/** A call for one feature. */
export interface FeatureCall {
  readonly kernel: Kernel;
  readonly driver: VfioDriver;
  /** GET, SET and PROBE. */
  readonly flags: number;
  /** The caller's memory from the feature's own struct on. */
  readonly data: UserBuffer;
  /** Bytes that the caller says are there. */
  readonly size: number;
}

/** Since when the core knows what a feature's index is; a driver is not asked before. */
const SINCE: ReadonlyMap<number, string> = new Map(
  Object.entries(featureSince).map(([name, since]) => [INDEX[name as keyof typeof INDEX], since]),
);

/** Answers 0 or -errno. */
type Feature = (call: FeatureCall) => number;

/** Those that are no driver's. */
const CORE: ReadonlyMap<number, Feature> = new Map([
  [INDEX.VFIO_DEVICE_FEATURE_MIGRATION, migration],
  [INDEX.VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, deviceState],
  [INDEX.VFIO_DEVICE_FEATURE_MIG_DATA_SIZE, dataSize],
  [INDEX.VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2, precopyInfoV2],
  [INDEX.VFIO_DEVICE_FEATURE_DMA_LOGGING_START, startLogging],
  [INDEX.VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP, stopLogging],
  [INDEX.VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT, reportLogging],
]);

export function deviceFeature(kernel: Kernel, driver: VfioDriver, argument: UserBuffer): number {
  const bytes = new Uint8Array(HEADER.end('flags'));
  if (!argument.copyIn(0, bytes)) return -ERRNO.EFAULT;
  const view = new DataView(bytes.buffer);
  const size = view.getUint32(HEADER.at.argsz, true) - bytes.length;
  if (size < 0) return -ERRNO.EINVAL;
  const flags = view.getUint32(HEADER.at.flags, true);
  if ((flags & ~(MASK | SET | GET | PROBE)) !== 0) return -ERRNO.EINVAL;
  if ((flags & (PROBE | SET | GET)) === (SET | GET)) return -ERRNO.EINVAL;
  const data = bufferFrom(argument, HEADER.at.data);
  const since = SINCE.get(flags & MASK);
  if (since !== undefined && !kernel.has(since)) return -ERRNO.ENOTTY;
  const feature = CORE.get(flags & MASK);
  if (feature !== undefined) return feature({ kernel, driver, flags, data, size });
  return driver.feature?.(flags, data, size) ?? -ERRNO.ENOTTY;
}
