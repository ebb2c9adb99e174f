// A VFIO device node (drivers/vfio/device_cdev.c, drivers/vfio/iommufd.c): what binds a device to an iommufd and attaches
// it. Regions, interrupts and features of the device itself are not here.
import { ERRNO } from '../../../uapi/errno.js';
import {
  vfio_device_attach_flags,
  vfio_device_bind_flags,
  vfio_device_detach_flags,
} from '../../../uapi/vfio-constants.js';
import {
  VFIO_DEVICE_ATTACH_IOMMUFD_PT,
  VFIO_DEVICE_BIND_IOMMUFD,
  VFIO_DEVICE_DETACH_IOMMUFD_PT,
} from '../../../uapi/vfio-ioctls.js';
import {
  vfio_device_attach_iommufd_pt,
  vfio_device_bind_iommufd,
  vfio_device_detach_iommufd_pt,
} from '../../../uapi/vfio-structs.js';
import { bindDevice, type IommufdDevice } from '../device.js';
import type { IommuDevice } from '../driver.js';
import { type ArgumentMemory, OpenFile } from '../file.js';
import { IommufdFile } from '../iommufd-file.js';
import type { Process } from '../process.js';

/** IOMMU_NO_PASID: the device itself. */
const NO_PASID = 0;

const BIND = vfio_device_bind_iommufd;
const ATTACH = vfio_device_attach_iommufd_pt;
const DETACH = vfio_device_detach_iommufd_pt;
const { VFIO_DEVICE_BIND_FLAG_TOKEN } = vfio_device_bind_flags.values;
const { VFIO_DEVICE_ATTACH_PASID } = vfio_device_attach_flags.values;
const { VFIO_DEVICE_DETACH_PASID } = vfio_device_detach_flags.values;

/** A device that VFIO's driver has: open in one file at a time. */
export interface VfioDeviceNode {
  readonly dev: IommuDevice;
  /** The file that it is bound by. */
  boundBy: VfioDeviceFile | undefined;
}

export class VfioDeviceFile extends OpenFile {
  readonly #node: VfioDeviceNode;
  readonly #process: Process;
  /** While it is bound. */
  #device: IommufdDevice | undefined;
  #iommufd: IommufdFile | undefined;
  #attached = false;
  readonly #pasids = new Set<number>();

  constructor(node: VfioDeviceNode, process: Process) {
    super();
    this.#node = node;
    this.#process = process;
  }

  /** The device as its iommufd knows it. */
  get bound(): IommufdDevice | undefined {
    return this.#device;
  }

  override ioctl(request: number, memory: ArgumentMemory, at: number): number {
    if (at < 0 || at + 8 > memory.bytes.length) return -ERRNO.EFAULT;
    const view = new DataView(memory.bytes.buffer, memory.bytes.byteOffset + at, memory.bytes.length - at);
    if (request === VFIO_DEVICE_BIND_IOMMUFD.request) return this.#bind(view);
    const device = this.#device;
    if (device === undefined) return -ERRNO.EINVAL;
    if (request === VFIO_DEVICE_ATTACH_IOMMUFD_PT.request) return this.#attach(device, view);
    if (request === VFIO_DEVICE_DETACH_IOMMUFD_PT.request) return this.#detach(device, view);
    return -ERRNO.ENOTTY;
  }

  #bind(view: DataView): number {
    const size = view.getUint32(0, true);
    if (size < BIND.end('out_devid')) return -ERRNO.EINVAL;
    if (size > view.byteLength) return -ERRNO.EFAULT;
    for (let i = BIND.size; i < size; i++) if (view.getUint8(i) !== 0) return -ERRNO.E2BIG;
    const flags = view.getUint32(BIND.at.flags, true);
    const fd = view.getInt32(BIND.at.iommufd, true);
    if (fd < 0 || (flags & ~VFIO_DEVICE_BIND_FLAG_TOKEN) !== 0) return -ERRNO.EINVAL;
    if (this.#device !== undefined) return -ERRNO.EINVAL;
    // Only virtual functions have tokens.
    if (flags !== 0) return -ERRNO.EINVAL;
    const file = this.#process.files.get(fd);
    if (file === undefined) return -ERRNO.EBADF;
    if (!(file instanceof IommufdFile)) return -ERRNO.EBADFD;
    if (this.#node.boundBy !== undefined) return -ERRNO.EINVAL;
    const device = bindDevice(file.context, this.#node.dev);
    if (typeof device === 'number') return device;
    this.#device = device;
    this.#iommufd = file;
    file.hold();
    this.#node.boundBy = this;
    view.setUint32(BIND.at.out_devid, device.id, true);
    return 0;
  }

  #attach(device: IommufdDevice, view: DataView): number {
    const size = view.getUint32(0, true);
    const flags = view.getUint32(ATTACH.at.flags, true);
    if (size < ATTACH.end('pt_id')) return -ERRNO.EINVAL;
    if ((flags & ~VFIO_DEVICE_ATTACH_PASID) !== 0) return -ERRNO.EINVAL;
    const withPasid = flags !== 0;
    const needed = ATTACH.end(withPasid ? 'pasid' : 'pt_id');
    if (size < needed) return -ERRNO.EINVAL;
    if (needed > view.byteLength) return -ERRNO.EFAULT;
    const pageTable = view.getUint32(ATTACH.at.pt_id, true);
    const pasid = withPasid ? view.getUint32(ATTACH.at.pasid, true) : undefined;
    const attached = pasid === undefined ? this.#attached : this.#pasids.has(pasid);
    const result = attached
      ? device.replace(pasid ?? NO_PASID, pageTable)
      : device.attach(pasid ?? NO_PASID, pageTable);
    if (result < 0) return result;
    if (pasid === undefined) this.#attached = true;
    else this.#pasids.add(pasid);
    view.setUint32(ATTACH.at.pt_id, result, true);
    return 0;
  }

  #detach(device: IommufdDevice, view: DataView): number {
    const size = view.getUint32(0, true);
    const flags = view.getUint32(DETACH.at.flags, true);
    if (size < DETACH.end('flags')) return -ERRNO.EINVAL;
    if ((flags & ~VFIO_DEVICE_DETACH_PASID) !== 0) return -ERRNO.EINVAL;
    if (flags === 0) {
      this.#detachSelf(device);
      return 0;
    }
    if (size < DETACH.end('pasid')) return -ERRNO.EINVAL;
    if (DETACH.end('pasid') > view.byteLength) return -ERRNO.EFAULT;
    const pasid = view.getUint32(DETACH.at.pasid, true);
    if (this.#pasids.delete(pasid)) device.detach(pasid);
    return 0;
  }
  #detachSelf(device: IommufdDevice): void {
    if (!this.#attached) return;
    this.#attached = false;
    device.detach(NO_PASID);
  }

  protected override closed(): void {
    const device = this.#device;
    if (device === undefined) return;
    for (const pasid of this.#pasids) device.detach(pasid);
    this.#detachSelf(device);
    device.unbind();
    this.#node.boundBy = undefined;
    this.#iommufd?.release();
  }
}
