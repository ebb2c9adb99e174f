// A device that is bound to an iommufd: struct iommufd_device (iommufd/device.c).
import { ERRNO } from '../../uapi/errno.js';
import { attachDevice, detachHwpt, replaceDevice } from './attach.js';
import type { IommuDevice } from './driver.js';
import type { IommufdContext } from './iommufd-file.js';
import { IommufdGroup } from './iommufd-group.js';
import { IommufdObject } from './object-table.js';
import type { Vdevice } from './vdevice.js';

export class IommufdDevice extends IommufdObject {
  readonly kind = 'device';
  /** Page tables for it must keep its accesses coherent with the CPU's caches. */
  readonly enforceCacheCoherency: boolean;
  /** What a vIOMMU knows it as. */
  vdevice: Vdevice | undefined;
  /** Nothing new may refer to it. */
  destroying = false;

  constructor(
    readonly context: IommufdContext,
    readonly dev: IommuDevice,
    readonly group: IommufdGroup,
  ) {
    super();
    this.enforceCacheCoherency = dev.capable('enforce-cache-coherency');
  }

  /**
   * Attaches the device (a PASID of it) to a page table, or to one that the kernel finds or makes for an IOAS.
   * @returns the page table's id, or -errno
   */
  attach(pasid: number, ptId: number): number {
    const answer = attachDevice(this, pasid, ptId);
    // A device with something attached is not destroyed.
    if (answer >= 0) this.users++;
    return answer;
  }
  /** As `attach`, for what is attached already: it never is attached to nothing in between. */
  replace(pasid: number, ptId: number): number {
    return replaceDevice(this, pasid, ptId);
  }
  detach(pasid: number): void {
    const hwpt = detachHwpt(this, pasid);
    if (hwpt !== undefined) this.users--;
  }

  /** The driver takes its device back; everything is detached by then. */
  unbind(): void {
    this.preDestroy();
    this.users--;
    this.context.objects.remove(this);
  }

  override preDestroy(): void {
    this.destroying = true;
    this.vdevice?.tombstone();
  }

  destroy(): void {
    this.dev.group.release();
    this.group.put();
  }
}

/** Binds a device, whose driver is a user until `unbind`. It is found by its id from then on. */
export function bindDevice(context: IommufdContext, dev: IommuDevice): IommufdDevice | number {
  if (!context.kernel.allocates()) return -ERRNO.ENOMEM;
  if (!dev.capable('cache-coherency')) return -ERRNO.EINVAL;
  const group = IommufdGroup.of(context, dev.group);
  if (typeof group === 'number') return group;
  const claimed = dev.group.claim(context);
  if (claimed < 0) {
    group.put();
    return claimed;
  }
  const device = new IommufdDevice(context, dev, group);
  device.users++;
  context.objects.reserve(device);
  context.objects.publish(device);
  return device;
}
