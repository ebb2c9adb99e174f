// A device behind an IOMMU, as the machine has it: what the kernel knows of it, and its way to memory.
import type { IommuDevice, PageRequest } from '../kernel/driver.js';

export interface Endpoint extends IommuDevice {
  /**
   * DMA from memory to the device, and the other way; what comes before a page that is refused is done.
   * @param pasid 0 for a request without one
   * @returns 0 or -EFAULT
   */
  dmaRead(iova: bigint, into: Uint8Array, pasid?: number): number;
  dmaWrite(iova: bigint, from: Uint8Array, pasid?: number): number;
  /**
   * The same by hardware that waits where an access faults and somebody may mend that (a stall of an SMMUv3, a page request
   * over PCI): resolves with 0 when all of it is done, with -EFAULT where it is refused. With `write`, memory gets `bytes`.
   */
  access(iova: bigint, bytes: Uint8Array, write: boolean, pasid: number): Promise<number>;
  /** Asks for a page to be mapped (a PCI page request), and does not wait for the answer. */
  requestPage(request: PageRequest): void;
  /** Has its vIOMMU report an event about it; -errno, -EOPNOTSUPP where only faults are events. */
  raiseEvent(): number;
  /** Whether it answers when the IOMMU tells it to forget translations (PCI ATS): a broken device does not. */
  answersInvalidations: boolean;
  /** It is reset: all translations that it keeps are gone. */
  forgetTranslations?(): void;
}

/** Whether a device is behind an IOMMU that translates. */
export function isEndpoint(device: IommuDevice): device is Endpoint {
  return 'dmaRead' in device;
}
