// An IOMMU and its driver, as the machine has them: it makes what stands for devices behind it.
import type { Domain } from '../kernel/driver.js';
import type { IommuGroup } from '../kernel/iommu-group.js';
import type { Endpoint } from './endpoint.js';

export interface EndpointOptions {
  /** '0000:01:00.0' */
  readonly name: string;
  /** Its IOMMU can track dirty pages for it. */
  readonly dirtyTracking: boolean;
  /** It has PASIDs (20 bits). */
  readonly pasid: boolean;
  /** It keeps translations (PCI ATS). */
  readonly ats: boolean;
  /** It waits for faults to be mended: by stalls on an SMMUv3, by page requests (PRI) on VT-d. */
  readonly stall: boolean;
  /** Who it shares its group with; a group of its own if left out. */
  readonly group?: IommuGroup | undefined;
}

/** A translation that hardware keeps. */
export interface TlbEntryState {
  /** Who keeps it: 'tlb', the IOMMU; 'atc 0000:01:00.0', the device there. */
  readonly where: string;
  /** The first address that it translates. */
  readonly iova: bigint;
  /** Bytes. */
  readonly length: bigint;
  /** What it leads to: a guest's physical address for its own page tables. */
  readonly address: bigint;
  readonly readable: boolean;
  readonly writable: boolean;
  /** What it belongs to, where hardware tells that apart. */
  readonly asid?: number;
  readonly vmid?: number;
  readonly pasid?: number;
  /** It holds for every ASID. */
  readonly global?: boolean;
}

export interface Platform {
  /** The domain that lets nothing through: what devices are attached to at first. */
  readonly blocked: Domain;
  createDevice(options: EndpointOptions): Endpoint;
  /** All translations that are kept, the first-stage ones of guests. */
  tlb(): readonly TlbEntryState[];
}
