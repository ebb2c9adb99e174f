// The features of VFIO_DEVICE_FEATURE that are vfio-pci's own (vfio_pci_core_ioctl_feature). There are no virtual functions
// here, and so no tokens.
import { ERRNO } from '../../../uapi/errno.js';
import { vfio_device_feature_flags, vfio_device_feature_index } from '../../../uapi/vfio-constants.js';
import { vfio_device_low_power_entry_with_wakeup } from '../../../uapi/vfio-features.js';
import { checkFeature } from '../vfio/check-feature.js';
import type { UserBuffer } from '../vfio/driver.js';
import type { OpenFunction } from './open-function.js';
import { eventfdOf } from './virqfd.js';

const { VFIO_DEVICE_FEATURE_MASK: MASK, VFIO_DEVICE_FEATURE_SET: SET } = vfio_device_feature_flags.values;
const INDEX = vfio_device_feature_index.values;

export function feature(open: OpenFunction, flags: number, argument: UserBuffer, size: number): number {
  switch (flags & MASK) {
    case INDEX.VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY: {
      const check = checkFeature(flags, size, SET, 0);
      return check === 'go' ? open.power.enter(undefined) : check;
    }
    case INDEX.VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP:
      return enterWithWakeup(open, flags, argument, size);
    case INDEX.VFIO_DEVICE_FEATURE_LOW_POWER_EXIT: {
      const check = checkFeature(flags, size, SET, 0);
      if (check !== 'go') return check;
      open.power.exit();
      return 0;
    }
    case INDEX.VFIO_DEVICE_FEATURE_DMA_BUF:
      return open.dmaBufs.export(flags, argument, size);
    default:
      return -ERRNO.ENOTTY;
  }
}

function enterWithWakeup(open: OpenFunction, flags: number, argument: UserBuffer, size: number): number {
  const bytes = new Uint8Array(vfio_device_low_power_entry_with_wakeup.size);
  const check = checkFeature(flags, size, SET, bytes.length);
  if (check !== 'go') return check;
  if (!argument.copyIn(0, bytes)) return -ERRNO.EFAULT;
  const { wakeup_eventfd: fd } = vfio_device_low_power_entry_with_wakeup.decode(new DataView(bytes.buffer), 0);
  if (fd < 0) return -ERRNO.EINVAL;
  const file = eventfdOf(argument.process, fd);
  return typeof file === 'number' ? file : open.power.enter(file);
}
