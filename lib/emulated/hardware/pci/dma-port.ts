// How a device's DMA leaves it: through the IOMMU it is behind, or to physical memory where it is behind none.
import type { PhysicalMemory } from '../../memory/physical.js';
import type { Endpoint } from '../endpoint.js';
import type { BusPageRequest } from './model.js';

export interface DmaPort {
  /** False where some of it is refused: what comes before is done. */
  read(iova: bigint, into: Uint8Array, pasid: number): boolean;
  write(iova: bigint, from: Uint8Array, pasid: number): boolean;
  requestPage(request: BusPageRequest): void;
  /** The device is reset. */
  reset(): void;
}

/** Through the IOMMU that the device is behind. */
export function translatedDma(endpoint: Endpoint): DmaPort {
  return {
    read: (iova, into, pasid) => endpoint.dmaRead(iova, into, pasid) >= 0,
    write: (iova, from, pasid) => endpoint.dmaWrite(iova, from, pasid) >= 0,
    requestPage: ({ address, pasid = 0, group = 0, perm = 1 }) =>
      endpoint.requestPage({ address, pasid, hasPasid: pasid !== 0, group, perm, last: true }),
    reset: () => endpoint.forgetTranslations?.(),
  };
}

/** Beyond, a number is not exact, and there is no memory either. */
const END = 2n ** 52n;

/** Straight to memory: addresses are physical. Without an IOMMU there are no PASIDs, and nobody answers a page request. */
export function physicalDma(physical: PhysicalMemory): DmaPort {
  const reaches = (address: bigint, length: number, pasid: number): boolean =>
    pasid === 0 && address + BigInt(length) <= END;
  return {
    read: (iova, into, pasid) => reaches(iova, into.length, pasid) && physical.read(Number(iova), into),
    write: (iova, from, pasid) => reaches(iova, from.length, pasid) && physical.write(Number(iova), from),
    requestPage: () => {},
    reset: () => {},
  };
}
