// A device of the VFIO cdev interface: open, bind to an iommufd, attach to page tables.
import { IommufdError, invalidType, outOfRange, UsageError } from '../host/errors.js';
import type { Seam } from '../host/seam.js';
import { type Port, refusal, tryCall, tryCallAsync } from '../objects/call.js';
import type { Attacher, AttachOptions, AttachResult, PageTable } from '../objects/device.js';
import { Device } from '../objects/device.js';
import type { HwptNested } from '../objects/hwpt-nested.js';
import type { HwptPaging } from '../objects/hwpt-paging.js';
import { Iommufd, iommufdContext } from '../objects/iommufd.js';
import {
  VFIO_DEVICE_ATTACH_IOMMUFD_PT,
  VFIO_DEVICE_BIND_IOMMUFD,
  VFIO_DEVICE_DETACH_IOMMUFD_PT,
  vfio_device_attach_flags,
  vfio_device_detach_flags,
} from '../uapi/vfio.js';
import { findVfioNode, isNoiommuNode, pciAddress } from './discovery.js';

const O_RDWR = 2;

const collected = new FinalizationRegistry<{ seam: Seam; fd: number }>(({ seam, fd }) => {
  process.emitWarning('a VfioDevice was collected without close(): its fd was closed', { code: 'IOMMUFD_COLLECTED' });
  seam.close(fd);
});

/** A device that a VFIO driver drives: made by `host.openDevice`. */
export class VfioDevice {
  /** What it was opened by: a PCI address, or the path of its node. */
  readonly name: string;
  readonly #seam: Seam;
  readonly #fd: number;
  #device: Device | undefined;
  #closed = false;

  /** Not for callers: use `host.openDevice`. */
  constructor(seam: Seam, fd: number, name: string) {
    this.#seam = seam;
    this.#fd = fd;
    this.name = name;
    collected.register(this, { seam, fd }, this);
  }

  /** The fd, readable before `bind`: KVM wants it first. Owned by this object. */
  get fd(): number {
    this.#check();
    return this.#fd;
  }

  /** The bound device. @throws UsageError ERR_IOMMUFD_UNAVAILABLE before `bind` */
  get device(): Device {
    this.#check();
    if (this.#device !== undefined) return this.#device;
    throw new UsageError('ERR_IOMMUFD_UNAVAILABLE', `${this.name} is not bound to an iommufd yet: bind it first`);
  }

  /**
   * Puts the device under an iommufd, for as long as it is open (VFIO_DEVICE_BIND_IOMMUFD, Linux 6.6).
   * @throws IommufdError EINVAL (bound already), EPERM (interrupts are not isolated on this platform)
   */
  bind(iommufd: Iommufd): Device {
    this.#check();
    if (!(iommufd instanceof Iommufd)) throw invalidType('iommufd', 'an Iommufd', iommufd);
    const context = iommufdContext(iommufd);
    context.check();
    if (context.seam !== this.#seam) {
      throw new UsageError('ERR_IOMMUFD_FOREIGN_HOST', `${this.name} and the iommufd belong to different hosts`);
    }
    const input = { iommufd: context.fd };
    const { result, out } = tryCall(this.#port, VFIO_DEVICE_BIND_IOMMUFD, input);
    if (result < 0) throw refusal(VFIO_DEVICE_BIND_IOMMUFD, result, input, this.name);
    // A listener to traces may have closed either meanwhile.
    this.#check();
    context.check();
    this.#device = new Device(iommufd, context, out.out_devid, this.#attacher());
    return this.#device;
  }

  /** Attaches the device: see `Device.attach`. */
  attach(pageTable: PageTable, options?: AttachOptions): HwptPaging | HwptNested {
    return this.device.attach(pageTable, options);
  }
  /** As `attach`, but a refusal is answered, not thrown. */
  tryAttach(pageTable: PageTable, options?: AttachOptions): AttachResult {
    return this.device.tryAttach(pageTable, options);
  }
  /** As `attach`, on the thread pool. */
  attachAsync(pageTable: PageTable, options?: AttachOptions): Promise<HwptPaging | HwptNested> {
    return this.device.attachAsync(pageTable, options);
  }
  /** Detaches the device (or one of its PASIDs). Not attached is fine. */
  detach(options?: AttachOptions): void {
    this.device.detach(options);
  }

  /**
   * Closes the device, which unbinds it. Twice is fine.
   * @throws UsageError ERR_IOMMUFD_BUSY while a vDEVICE of it is left
   */
  close(): void {
    if (this.#closed) return;
    const device = this.#device;
    // Destroying the device closes the fd: see the attacher.
    if (device !== undefined && !device.destroyed) device.destroy();
    this.#closeFd();
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    const device = this.#device;
    if (device !== undefined && !device.destroyed) device[Symbol.dispose]();
    this.#closeFd();
  }

  toJSON(): Record<string, unknown> {
    return { type: 'VfioDevice', name: this.name, closed: this.#closed, device: this.#device?.describe() };
  }

  get #port(): Port {
    return { seam: this.#seam, fd: this.#fd, check: () => this.#check() };
  }

  #check(): void {
    if (this.#closed) throw new UsageError('ERR_IOMMUFD_DESTROYED', `${this.name} is closed`);
  }

  #closeFd(): void {
    if (this.#closed) return;
    this.#closed = true;
    collected.unregister(this);
    const rc = this.#seam.close(this.#fd);
    if (rc < 0) throw new IommufdError('close', rc, { name: this.name });
  }

  #attacher(): Attacher {
    const port = this.#port;
    return {
      attach: (pageTable, pasid) => {
        const input = attachInput(pageTable, pasid);
        const { result, out } = tryCall(port, VFIO_DEVICE_ATTACH_IOMMUFD_PT, input);
        return result < 0 ? refusal(VFIO_DEVICE_ATTACH_IOMMUFD_PT, result, input, this.name) : out.pt_id;
      },
      attachAsync: async (pageTable, pasid) => {
        const input = attachInput(pageTable, pasid);
        const { result, out } = await tryCallAsync(port, VFIO_DEVICE_ATTACH_IOMMUFD_PT, input);
        return result < 0 ? refusal(VFIO_DEVICE_ATTACH_IOMMUFD_PT, result, input, this.name) : out.pt_id;
      },
      detach: (pasid) => {
        const input = pasid === undefined ? {} : { flags: DETACH_PASID, pasid };
        const { result } = tryCall(port, VFIO_DEVICE_DETACH_IOMMUFD_PT, input);
        return result < 0 ? refusal(VFIO_DEVICE_DETACH_IOMMUFD_PT, result, input, this.name) : undefined;
      },
      // VFIO has no unbind: closing the fd is it.
      unbind: () => this.#closeFd(),
    };
  }
}

const { VFIO_DEVICE_ATTACH_PASID: ATTACH_PASID } = vfio_device_attach_flags.values;
const { VFIO_DEVICE_DETACH_PASID: DETACH_PASID } = vfio_device_detach_flags.values;

function attachInput(pageTable: number, pasid: number | undefined): { flags?: number; pt_id: number; pasid?: number } {
  return pasid === undefined ? { pt_id: pageTable } : { flags: ATTACH_PASID, pt_id: pageTable, pasid };
}

/** Whether a device whose DMA nothing translates will do. */
export type IommuNeed = 'iommu' | 'unsafe-without';

/** `host.openDevice` and `host.unsafeOpenDevice`. */
export function openVfioDevice(seam: Seam, address: string, need: IommuNeed): VfioDevice {
  if (typeof address !== 'string') throw invalidType('address', 'a PCI address or the path of a node', address);
  const pci = pciAddress(address);
  if (pci === undefined && !address.startsWith('/')) {
    throw outOfRange('address', "a PCI address ('0000:01:00.0') or an absolute path", address);
  }
  const path = pci === undefined ? address : findVfioNode(seam, pci);
  if (need === 'iommu' && isNoiommuNode(seam, path)) {
    throw new UsageError(
      'ERR_IOMMUFD_UNAVAILABLE',
      `${address} has no IOMMU: its DMA reaches all of memory. host.unsafeOpenDevice opens it all the same`,
    );
  }
  const fd = seam.open(path, O_RDWR);
  if (fd < 0) throw new IommufdError('open', fd, { path });
  return new VfioDevice(seam, fd, address);
}
