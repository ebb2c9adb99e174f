// A VFIO device node, opened (drivers/vfio/device_cdev.c, vfio_main.c): until it is bound to an iommufd nothing works but
// that, and what belongs to the device itself is its driver's.
import { ERRNO } from '../../../uapi/errno.js';
import { vfio_device_bind_flags } from '../../../uapi/vfio-constants.js';
import {
  VFIO_DEVICE_ATTACH_IOMMUFD_PT,
  VFIO_DEVICE_BIND_IOMMUFD,
  VFIO_DEVICE_DETACH_IOMMUFD_PT,
  VFIO_DEVICE_FEATURE,
  VFIO_DEVICE_GET_REGION_INFO,
} from '../../../uapi/vfio-ioctls.js';
import { vfio_device_bind_iommufd } from '../../../uapi/vfio-structs.js';
import { type ArgumentMemory, type MmioMapping, OpenFile } from '../file.js';
import { IommufdFile } from '../iommufd-file.js';
import type { Process } from '../process.js';
import { attach, detach } from './attach.js';
import { type Binding, bind } from './binding.js';
import type { UserBuffer } from './driver.js';
import { deviceFeature } from './features.js';
import { HeldMapping } from './held-mapping.js';
import type { VfioDeviceNode } from './node.js';
import { regionInfo } from './region-info.js';
import { addressBuffer, argumentBuffer, checkZeroed } from './user-buffer.js';

const BIND = vfio_device_bind_iommufd;
const { VFIO_DEVICE_BIND_FLAG_TOKEN } = vfio_device_bind_flags.values;
const TOKEN_SIZE = 16;

export class VfioDeviceFile extends OpenFile {
  readonly #node: VfioDeviceNode;
  readonly #process: Process;
  /** While it is bound. */
  #binding: Binding | undefined;
  #iommufd: IommufdFile | undefined;
  /** Where read(2) and write(2) go on. */
  #position = 0;

  /** For `VfioDeviceNode.open`. */
  constructor(node: VfioDeviceNode, process: Process) {
    super();
    this.#node = node;
    this.#process = process;
  }

  override ioctl(request: number, memory: ArgumentMemory, at: number): number {
    return this.#ioctl(request, argumentBuffer(this.#process, memory, at));
  }
  /** A struct at any address of the process; or none. */
  override ioctlValue(request: number, value: number): number {
    return this.#ioctl(request, addressBuffer(this.#process, value));
  }
  #ioctl(request: number, argument: UserBuffer): number {
    if (request === VFIO_DEVICE_BIND_IOMMUFD.request) return this.#bind(argument);
    const binding = this.#binding;
    if (binding === undefined) return -ERRNO.EINVAL;
    const { driver } = this.#node;
    const woken = driver.powerGet?.() ?? 0;
    if (woken < 0) return woken;
    const result = this.#command(request, argument, binding);
    driver.powerPut?.();
    return result;
  }
  #command(request: number, argument: UserBuffer, binding: Binding): number {
    const { driver, kernel } = this.#node;
    switch (request) {
      case VFIO_DEVICE_ATTACH_IOMMUFD_PT.request:
        return attach(binding, argument);
      case VFIO_DEVICE_DETACH_IOMMUFD_PT.request:
        return detach(binding, argument);
      case VFIO_DEVICE_FEATURE.request:
        return deviceFeature(kernel, driver, argument);
      case VFIO_DEVICE_GET_REGION_INFO.request:
        return regionInfo(driver, argument);
      default:
        return driver.ioctl(request, argument);
    }
  }

  #bind(argument: UserBuffer): number {
    const knowsTokens = this.#node.kernel.has('6.18');
    const view = knowsTokens ? copyBindIn(argument) : copyOldBindIn(argument);
    if (typeof view === 'number') return view;
    const flags = view.getUint32(BIND.at.flags, true);
    const fd = view.getInt32(BIND.at.iommufd, true);
    const known = knowsTokens ? VFIO_DEVICE_BIND_FLAG_TOKEN : 0;
    if (fd < 0 || (flags & ~known) !== 0) return -ERRNO.EINVAL;
    if (this.#binding !== undefined) return -ERRNO.EINVAL;
    const token = (flags & VFIO_DEVICE_BIND_FLAG_TOKEN) !== 0;
    const address = token ? Number(view.getBigUint64(BIND.at.token_uuid_ptr, true)) : undefined;
    const refusal = knowsTokens ? this.#checkToken(address) : 0;
    if (refusal < 0) return refusal;
    const iommufd = this.#process.files.get(fd);
    if (iommufd === undefined) return -ERRNO.EBADF;
    if (!(iommufd instanceof IommufdFile)) return -ERRNO.EBADFD;
    if (this.#node.boundBy !== undefined) return -ERRNO.EINVAL;
    const binding = this.#openDevice(iommufd);
    if (typeof binding === 'number') return binding;
    this.#binding = binding;
    this.#iommufd = iommufd;
    iommufd.hold();
    this.#node.boundBy = this;
    view.setUint32(BIND.at.out_devid, binding.id, true);
    // The field was read from there: it can be written.
    argument.copyOut(BIND.at.out_devid, new Uint8Array(view.buffer, BIND.at.out_devid, 4));
    return 0;
  }
  #checkToken(address: number | undefined): number {
    const { driver } = this.#node;
    if (driver.matchToken === undefined) return address === undefined ? 0 : -ERRNO.EINVAL;
    if (address === undefined) return driver.matchToken(undefined);
    const token = new Uint8Array(TOKEN_SIZE);
    return this.#process.memory.read(address, token) ? driver.matchToken(token) : -ERRNO.EFAULT;
  }
  #openDevice({ context }: IommufdFile): Binding | number {
    const { dev, driver } = this.#node;
    const binding = bind(context, dev, driver);
    if (typeof binding === 'number') return binding;
    const rc = driver.openDevice(binding);
    if (rc >= 0) return binding;
    binding.unbind();
    return rc;
  }

  override pread(into: Uint8Array, position: number): number {
    return this.#binding === undefined ? -ERRNO.EINVAL : this.#node.driver.read(into, position);
  }
  override pwrite(from: Uint8Array, position: number): number {
    return this.#binding === undefined ? -ERRNO.EINVAL : this.#node.driver.write(from, position);
  }
  override read(into: Uint8Array): number {
    return this.#advance(this.pread(into, this.#position));
  }
  override write(from: Uint8Array): number {
    return this.#advance(this.pwrite(from, this.#position));
  }
  #advance(done: number): number {
    if (done > 0) this.#position += done;
    return done;
  }

  override mmap(offset: number, length: number): MmioMapping | number {
    if (this.#binding === undefined) return -ERRNO.EINVAL;
    const mapping = this.#node.driver.mmap(offset, length);
    return typeof mapping === 'number' ? mapping : new HeldMapping(mapping, this);
  }

  protected override closed(): void {
    if (this.#binding !== undefined) this.#unbind(this.#binding);
    this.#node.closed();
  }
  #unbind(binding: Binding): void {
    const { driver } = this.#node;
    driver.closeDevice();
    binding.unbind();
    if (driver.migration !== undefined) driver.migration.precopyInfoV2 = false;
    this.#iommufd?.release();
    this.#node.boundBy = undefined;
  }
}

/** Before there were tokens: whatever is behind its fields is not looked at. */
function copyOldBindIn(argument: UserBuffer): DataView<ArrayBuffer> | number {
  const bytes = new Uint8Array(BIND.size);
  const view = new DataView(bytes.buffer);
  const size = BIND.end('out_devid');
  if (!argument.copyIn(0, bytes.subarray(0, size))) return -ERRNO.EFAULT;
  return view.getUint32(0, true) < size ? -ERRNO.EINVAL : view;
}

/** copy_struct_from_user. */
function copyBindIn(argument: UserBuffer): DataView<ArrayBuffer> | number {
  const bytes = new Uint8Array(BIND.size);
  const view = new DataView(bytes.buffer);
  if (!argument.copyIn(0, bytes.subarray(0, 4))) return -ERRNO.EFAULT;
  const size = view.getUint32(0, true);
  if (size < BIND.end('out_devid')) return -ERRNO.EINVAL;
  const tail = checkZeroed(argument, BIND.size, size - BIND.size);
  if (tail !== 'zero') return tail === 'more' ? -ERRNO.E2BIG : -ERRNO.EFAULT;
  return argument.copyIn(0, bytes.subarray(0, size)) ? view : -ERRNO.EFAULT;
}
