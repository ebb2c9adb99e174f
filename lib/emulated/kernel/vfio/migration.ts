// The features of a device that can migrate (drivers/vfio/vfio_main.c): what it can do, its state, and how much that is.
import { ERRNO } from '../../../uapi/errno.js';
import { vfio_device_feature_flags, vfio_migration_flags } from '../../../uapi/vfio-constants.js';
import {
  vfio_device_feature_mig_data_size,
  vfio_device_feature_mig_state,
  vfio_device_feature_migration,
} from '../../../uapi/vfio-features.js';
import type { OpenFile } from '../file.js';
import { checkFeature } from './check-feature.js';
import type { FeatureCall } from './features.js';

const STATE = vfio_device_feature_mig_state;
const { VFIO_DEVICE_FEATURE_GET: GET, VFIO_DEVICE_FEATURE_SET: SET } = vfio_device_feature_flags.values;
const { VFIO_MIGRATION_PRE_COPY } = vfio_migration_flags.values;

/** VFIO_DEVICE_FEATURE_MIGRATION. */
export function migration({ driver, flags, data, size }: FeatureCall): number {
  if (driver.migration === undefined) return -ERRNO.ENOTTY;
  const check = checkFeature(flags, size, GET, vfio_device_feature_migration.size);
  return check === 'go' ? answer64(data, BigInt(driver.migration.flags)) : check;
}

/** VFIO_DEVICE_FEATURE_MIG_DATA_SIZE. */
export function dataSize({ driver, flags, data, size }: FeatureCall): number {
  if (driver.migration === undefined) return -ERRNO.ENOTTY;
  const check = checkFeature(flags, size, GET, vfio_device_feature_mig_data_size.size);
  if (check !== 'go') return check;
  const bytes = driver.migration.dataSize();
  return typeof bytes === 'number' ? bytes : answer64(data, bytes);
}

function answer64(data: FeatureCall['data'], value: bigint): number {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value, true);
  return data.copyOut(0, bytes) ? 0 : -ERRNO.EFAULT;
}

/** VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2: a device that does not migrate is told otherwise than by the others. */
export function precopyInfoV2({ driver, flags, size }: FeatureCall): number {
  const { migration: ops } = driver;
  if (ops === undefined || (ops.flags & VFIO_MIGRATION_PRE_COPY) === 0) return -ERRNO.EINVAL;
  const check = checkFeature(flags, size, SET, 0);
  if (check !== 'go') return check;
  ops.precopyInfoV2 = true;
  return 0;
}

/** VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE. */
export function deviceState({ driver, flags, data, size }: FeatureCall): number {
  const { migration: ops } = driver;
  if (ops === undefined) return -ERRNO.ENOTTY;
  const check = checkFeature(flags, size, SET | GET, STATE.size);
  if (check !== 'go') return check;
  const bytes = new Uint8Array(STATE.size);
  if (!data.copyIn(0, bytes)) return -ERRNO.EFAULT;
  const view = new DataView(bytes.buffer);
  let result: number | OpenFile | undefined = 0;
  if ((flags & GET) !== 0) view.setUint32(STATE.at.device_state, ops.state, true);
  else result = ops.setState(view.getUint32(STATE.at.device_state, true));
  if (typeof result === 'object') return answerFile(data, bytes, result);
  // Also where the state was refused.
  view.setInt32(STATE.at.data_fd, -1, true);
  return data.copyOut(0, bytes) ? (result ?? 0) : -ERRNO.EFAULT;
}

/** Gives the file an fd; a file that gets none is closed, though the device is in the new state. */
function answerFile(data: FeatureCall['data'], bytes: Uint8Array, file: OpenFile): number {
  const fd = data.process.files.install(file);
  if (fd < 0) {
    file.release();
    return fd;
  }
  new DataView(bytes.buffer).setInt32(STATE.at.data_fd, fd, true);
  // The struct was read from there: it can be written.
  data.copyOut(0, bytes);
  return 0;
}
