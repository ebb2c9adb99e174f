// What every feature is asked first: vfio_check_feature of linux/vfio.h.
import { ERRNO } from '../../../uapi/errno.js';
import { vfio_device_feature_flags } from '../../../uapi/vfio-constants.js';

const {
  VFIO_DEVICE_FEATURE_GET: GET,
  VFIO_DEVICE_FEATURE_SET: SET,
  VFIO_DEVICE_FEATURE_PROBE: PROBE,
} = vfio_device_feature_flags.values;

/**
 * Whether a feature is to be carried out: 'go'; otherwise the answer, which is 0 where it was only asked about.
 * @param size bytes that the caller has after the header
 * @param supported GET, SET or both
 * @param minSize bytes that the feature's struct has
 */
export function checkFeature(flags: number, size: number, supported: number, minSize: number): 'go' | number {
  if ((flags & (GET | SET) & ~supported) !== 0) return -ERRNO.EINVAL;
  if ((flags & PROBE) !== 0) return 0;
  return (flags & (GET | SET)) === 0 || size < minSize ? -ERRNO.EINVAL : 'go';
}
