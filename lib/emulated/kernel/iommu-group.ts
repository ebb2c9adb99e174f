// What shares one translation, because the IOMMU cannot tell it apart: struct iommu_group, and what is attached to it and
// to each of its PASIDs (drivers/iommu/iommu.c). Drivers know devices; here a group changes as a whole, or not at all.
import { ERRNO } from '../../uapi/errno.js';
import type { IommufdDevice } from './device.js';
import type { Domain, Iommu, IommuDevice } from './driver.js';

/** The PASID that stands for requests without one. */
export const NO_PASID = 0;

/** What a PASID of a group is attached to, and by whom: struct iommufd_attach_handle. */
export interface AttachHandle {
  readonly domain: Domain;
  readonly device: IommufdDevice;
}

/** Drivers of one kind understand each other's domains. */
export function sameDriver(one: Iommu, other: Iommu): boolean {
  return one.constructor === other.constructor;
}

function usesPasids({ maxPasids }: IommuDevice): boolean {
  return maxPasids > 0;
}

export class IommuGroup {
  readonly #devices: IommuDevice[] = [];
  /** Lets nothing through: nobody but an iommufd drives these devices. */
  readonly #blocked: Domain;
  #domain: Domain;
  readonly #handles = new Map<number, AttachHandle>();
  #owner: object | undefined;
  #ownerCount = 0;

  constructor(blocked: Domain) {
    this.#blocked = blocked;
    this.#domain = blocked;
  }

  get devices(): readonly IommuDevice[] {
    return this.#devices;
  }
  /** A device appears; until its group is attached to something, nothing lets its DMA through. */
  add(device: IommuDevice): void {
    this.#devices.push(device);
  }
  remove(device: IommuDevice): void {
    this.#devices.splice(this.#devices.indexOf(device), 1);
  }

  handleOf(pasid: number): AttachHandle | undefined {
    return this.#handles.get(pasid);
  }
  /** Where DMA with a PASID (or without one: `NO_PASID`) goes. */
  domainOf(pasid: number): Domain {
    return this.#handles.get(pasid)?.domain ?? this.#blocked;
  }

  /** Only one iommufd at a time may drive a group: -EPERM. Each of its devices claims the group for itself. */
  claim(owner: object): number {
    if (this.#ownerCount > 0) {
      if (this.#owner !== owner) return -ERRNO.EPERM;
    } else {
      if (this.#domain !== this.#blocked || this.#handles.size > 0) return -ERRNO.EBUSY;
      // Firmware wants memory mapped one to one at all times: such a device cannot be blocked.
      if (this.#devices.some(needsDirectMapping)) return -ERRNO.EINVAL;
      this.#owner = owner;
    }
    this.#ownerCount++;
    return 0;
  }
  release(): void {
    if (--this.#ownerCount > 0) return;
    this.#owner = undefined;
    this.#setBlocked();
  }

  attach(handle: AttachHandle): number {
    if (this.#handles.has(NO_PASID)) return -ERRNO.EBUSY;
    if (!this.#understands(handle.domain)) return -ERRNO.EINVAL;
    return this.#attachAll(handle);
  }
  replace(handle: AttachHandle): number {
    // Linux leaves this to the drivers, which take it for granted.
    if (!this.#understands(handle.domain)) return -ERRNO.EINVAL;
    return this.#attachAll(handle);
  }
  detach(): void {
    this.#setBlocked();
    this.#handles.delete(NO_PASID);
  }
  #attachAll(handle: AttachHandle): number {
    const rc = this.#setDomain(handle.domain);
    if (rc === 0) this.#handles.set(NO_PASID, handle);
    return rc;
  }

  attachPasid(pasid: number, handle: AttachHandle): number {
    if (!this.#understands(handle.domain)) return -ERRNO.EINVAL;
    if (this.#devices.some((device) => usesPasids(device) && pasid >= device.maxPasids)) return -ERRNO.EINVAL;
    if (this.#handles.has(pasid)) return -ERRNO.EBUSY;
    const rc = this.#setPasid(pasid, handle.domain, undefined);
    if (rc === 0) this.#handles.set(pasid, handle);
    return rc;
  }
  replacePasid(pasid: number, handle: AttachHandle): number {
    if (!this.#understands(handle.domain)) return -ERRNO.EINVAL;
    const old = this.#handles.get(pasid);
    if (old === undefined) return -ERRNO.EINVAL;
    const rc = old.domain === handle.domain ? 0 : this.#setPasid(pasid, handle.domain, old.domain);
    if (rc === 0) this.#handles.set(pasid, handle);
    return rc;
  }
  detachPasid(pasid: number): void {
    const old = this.domainOf(pasid);
    for (const device of this.#devices) if (usesPasids(device)) this.#blocked.attachPasid(device, pasid, old);
    this.#handles.delete(pasid);
  }

  /**
   * Around a function-level reset: a device that keeps translations (PCI ATS) is blocked meanwhile, and then attached again to
   * all that its group is (pci_dev_reset_iommu_prepare and pci_dev_reset_iommu_done). Where its driver fails at that it stays
   * blocked, and nobody is told.
   */
  aroundReset(device: IommuDevice, reset: () => void): void {
    if (!device.capable('pci-ats')) {
      reset();
      return;
    }
    if (this.#domain !== this.#blocked) this.#blocked.attach(device, this.#domain);
    for (const [pasid, domain] of this.#pasidsOf(device)) this.#blocked.attachPasid(device, pasid, domain);
    reset();
    if (this.#domain !== this.#blocked) this.#domain.attach(device, this.#blocked);
    for (const [pasid, domain] of this.#pasidsOf(device)) domain.attachPasid(device, pasid, this.#blocked);
  }
  #pasidsOf(device: IommuDevice): (readonly [number, Domain])[] {
    if (!usesPasids(device)) return [];
    return [...this.#handles].filter(([pasid]) => pasid !== NO_PASID).map(([pasid, { domain }]) => [pasid, domain]);
  }

  #understands(domain: Domain): boolean {
    const [first] = this.#devices;
    return first !== undefined && domain.owner !== undefined && sameDriver(first.iommu, domain.owner);
  }

  /** All devices move, or those that had moved go back. */
  #setDomain(domain: Domain): number {
    const old = this.#domain;
    if (old === domain) return 0;
    for (const [index, device] of this.#devices.entries()) {
      const rc = domain.attach(device, old);
      if (rc < 0) {
        for (const moved of this.#devices.slice(0, index)) this.#force(moved, old, domain);
        return rc;
      }
    }
    this.#domain = domain;
    return 0;
  }
  #setBlocked(): void {
    const old = this.#domain;
    if (old === this.#blocked) return;
    for (const device of this.#devices) this.#blocked.attach(device, old);
    this.#domain = this.#blocked;
  }
  /** Moves a device where it was before; blocks it if the driver fails at that. */
  #force(device: IommuDevice, domain: Domain, old: Domain): void {
    if (domain.attach(device, old) < 0 && domain !== this.#blocked) this.#blocked.attach(device, old);
  }

  #setPasid(pasid: number, domain: Domain, old: Domain | undefined): number {
    const devices = this.#devices.filter(usesPasids);
    for (const [index, device] of devices.entries()) {
      const rc = domain.attachPasid(device, pasid, old ?? this.#blocked);
      if (rc < 0) {
        for (const moved of devices.slice(0, index)) {
          const back = old?.attachPasid(moved, pasid, domain) ?? -ERRNO.ENOENT;
          if (back < 0) this.#blocked.attachPasid(moved, pasid, domain);
        }
        return rc;
      }
    }
    return 0;
  }
}

function needsDirectMapping({ reservedRegions }: IommuDevice): boolean {
  return reservedRegions.some(({ type }) => type === 'direct');
}
