// How a device comes under an iommufd, and to memory there (drivers/vfio/iommufd.c): one that does DMA as a device with page
// tables, a mediated one as an access to an IOAS.
import { ERRNO } from '../../../uapi/errno.js';
import { type Access, createAccess } from '../access.js';
import { bindDevice, type IommufdDevice } from '../device.js';
import type { IommuDevice } from '../driver.js';
import type { IommufdContext } from '../iommufd-file.js';
import type { VfioBinding, VfioDriver } from './driver.js';

/** IOMMU_NO_PASID: the device itself. */
const NO_PASID = 0;
/** What keeps count of the PASIDs in use (an ida) has no room for numbers from here on. */
const PASID_LIMIT = 2 ** 31;

/** What a bound device answers to attach and detach. Refusals are -errno. */
export interface Binding extends VfioBinding {
  /** Attaches it, or replaces what is attached; answers what it is attached to then. */
  attach(ptId: number): number;
  detach(): void;
  /** Both undefined where the driver knows no PASIDs. */
  attachPasid?(pasid: number, ptId: number): number;
  detachPasid?(pasid: number): void;
  unbind(): void;
}

class PhysicalBinding implements Binding {
  readonly context: IommufdContext;
  readonly id: number;
  readonly access = undefined;
  #attached = false;
  readonly #pasids = new Set<number>();

  constructor(readonly device: IommufdDevice) {
    this.context = device.context;
    this.id = device.id;
  }

  attach(ptId: number): number {
    if (this.#attached) return this.device.replace(NO_PASID, ptId);
    const answer = this.device.attach(NO_PASID, ptId);
    if (answer >= 0) this.#attached = true;
    return answer;
  }
  detach(): void {
    if (!this.#attached) return;
    this.device.detach(NO_PASID);
    this.#attached = false;
  }

  attachPasid(pasid: number, ptId: number): number {
    if (this.#pasids.has(pasid)) return this.device.replace(pasid, ptId);
    if (pasid >= PASID_LIMIT) return -ERRNO.ENOSPC;
    if (!this.context.kernel.allocates()) return -ERRNO.ENOMEM;
    const answer = this.device.attach(pasid, ptId);
    if (answer >= 0) this.#pasids.add(pasid);
    return answer;
  }
  detachPasid(pasid: number): void {
    if (this.#pasids.delete(pasid)) this.device.detach(pasid);
  }

  unbind(): void {
    for (const pasid of this.#pasids) this.device.detach(pasid);
    this.detach();
    this.device.unbind();
  }
}

/** PASIDs, page tables and replacing by a page table are nothing to it: it knows IOASes. */
class MediatedBinding implements Binding {
  readonly id: number;
  readonly device = undefined;
  #attached = false;

  constructor(
    readonly context: IommufdContext,
    readonly access: Access,
  ) {
    this.id = access.id;
  }

  attach(ioasId: number): number {
    const rc = this.#attached ? this.access.replace(ioasId) : this.access.attach(ioasId);
    if (rc < 0) return rc;
    this.#attached = true;
    return ioasId;
  }
  detach(): void {
    if (!this.#attached) return;
    this.access.detach();
    this.#attached = false;
  }
  unbind(): void {
    this.access.destroyUser();
  }
}

/** Puts a device under an iommufd; -errno where it cannot be. */
export function bind(context: IommufdContext, dev: IommuDevice | undefined, driver: VfioDriver): Binding | number {
  if (dev !== undefined) {
    const device = bindDevice(context, dev);
    return typeof device === 'number' ? device : new PhysicalBinding(device);
  }
  const unmap = (iova: bigint, length: bigint) => driver.dmaUnmap?.(iova, length);
  const access = createAccess(context, { needsPinPages: true, unmap });
  return typeof access === 'number' ? access : new MediatedBinding(context, access);
}
