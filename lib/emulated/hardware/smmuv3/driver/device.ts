// A PCI device behind an SMMUv3: what the kernel knows of it, and its way to memory.
import { ERRNO } from '../../../../uapi/errno.js';
import type { IommuDevice, PageRequest, ReservedRegion } from '../../../kernel/driver.js';
import { IommuGroup, NO_PASID } from '../../../kernel/iommu-group.js';
import type { PhysicalMemory } from '../../../memory/physical.js';
import { dmaRead, dmaWrite } from '../../dma.js';
import type { Endpoint } from '../../endpoint.js';
import type { EndpointOptions } from '../../platform.js';
import type { Stream } from '../stream.js';
import type { Smmuv3Iommu } from './iommu.js';
import { Master } from './master.js';
import { waitingDma } from './waiting-dma.js';

/** Bits of a PASID that PCI has. */
const PASID_BITS = 20;
/** The kernel maps MSI doorbells here (MSI_IOVA_BASE and MSI_IOVA_LENGTH, arm-smmu-v3.h). */
const DOORBELLS: ReservedRegion = { start: 0x800_0000n, last: 0x80f_ffffn, type: 'sw-msi' };
const PCI_ADDRESS = /^([0-9a-f]{4}):([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])$/;

/** A PCI function's requester id is its StreamID; each segment has 2^16 of its own. */
function streamIdOf(name: string): number {
  const parts = PCI_ADDRESS.exec(name);
  if (parts === null) throw new Error(`no PCI function: ${name}`);
  const [segment = 0, bus = 0, slot = 0, fn = 0] = parts.slice(1).map((digits) => Number.parseInt(digits, 16));
  return segment * 2 ** 16 + ((bus << 8) | (slot << 3) | fn);
}

export class Smmuv3Device implements Endpoint {
  readonly name: string;
  readonly group: IommuGroup;
  readonly maxPasids: number;
  readonly reservedRegions = [DOORBELLS];
  /** PASIDs may neither ask to execute nor be privileged. */
  readonly pciPasid = { exec: false, privileged: false };
  partialRequests: PageRequest[] | undefined;
  /** It waits where it meets a fault, if its context lets it. */
  readonly stalls: boolean;
  readonly streamId: number;
  readonly stream: Stream;
  readonly master: Master;
  readonly #physical: PhysicalMemory;

  constructor(
    readonly iommu: Smmuv3Iommu,
    { name, pasid, ats, stall, group = new IommuGroup(iommu.blocked) }: EndpointOptions,
  ) {
    const ssidBits = pasid ? Math.min(PASID_BITS, iommu.features.ssidBits) : 0;
    this.name = name;
    this.maxPasids = pasid ? 2 ** ssidBits : 0;
    this.stalls = stall && iommu.features.stalls;
    this.streamId = streamIdOf(name);
    this.stream = iommu.smmu.addStream(this.streamId);
    this.stream.name = name;
    this.stream.ats = ats;
    this.master = new Master(this, this.stream, { ats, ssidBits });
    this.#physical = iommu.kernel.physical;
    iommu.devices.set(this.streamId, this);
    this.group = group;
    group.add(this);
  }

  capable(what: 'cache-coherency' | 'enforce-cache-coherency' | 'dirty-tracking' | 'pci-ats'): boolean {
    switch (what) {
      case 'cache-coherency':
        return this.iommu.features.coherent;
      case 'enforce-cache-coherency':
        return true;
      case 'dirty-tracking':
        return this.iommu.features.dirtyTracking;
      case 'pci-ats':
        return this.master.atsSupported;
    }
  }

  get answersInvalidations(): boolean {
    return this.stream.answersInvalidations;
  }
  set answersInvalidations(answers: boolean) {
    this.stream.answersInvalidations = answers;
  }
  forgetTranslations(): void {
    this.stream.forgetTranslations();
  }

  dmaRead(iova: bigint, into: Uint8Array, pasid = NO_PASID): number {
    return dmaRead(this.#physical, this.stream, iova, into, pasid);
  }
  dmaWrite(iova: bigint, from: Uint8Array, pasid = NO_PASID): number {
    return dmaWrite(this.#physical, this.stream, iova, from, pasid);
  }
  access(iova: bigint, bytes: Uint8Array, write: boolean, pasid: number): Promise<number> {
    return waitingDma(this.#physical, this.stream, this.stalls, { iova, bytes, write, pasid });
  }

  /** The driver has no use for PCI page requests, and denies what it did not ask for (arm_smmu_handle_ppr, arm-smmu-v3.c). */
  requestPage(): void {}
  /** Only faults are events. */
  raiseEvent(): number {
    return -ERRNO.EOPNOTSUPP;
  }
}

/** The device that the kernel hands to a domain of this driver's. */
export function smmuDeviceOf(device: IommuDevice): Smmuv3Device {
  if (!(device instanceof Smmuv3Device)) throw new Error(`${device.name} is not behind an SMMUv3`);
  return device;
}
