// The driver of a device that can be bound and attached, and nothing else: no registers, no interrupts, no features.
import { ERRNO } from '../../../uapi/errno.js';
import type { VfioDriver } from './driver.js';

export class BareDriver implements VfioDriver {
  openDevice(): number {
    return 0;
  }
  closeDevice(): void {}
  regionInfo(): number {
    return -ERRNO.EINVAL;
  }
  ioctl(): number {
    return -ERRNO.ENOTTY;
  }
  read(): number {
    return -ERRNO.EINVAL;
  }
  write(): number {
    return -ERRNO.EINVAL;
  }
  mmap(): number {
    return -ERRNO.EINVAL;
  }
}
