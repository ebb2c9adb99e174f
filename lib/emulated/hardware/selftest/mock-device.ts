// A mock device (struct mock_dev of iommufd/selftest.c): it has a small cache, perhaps PASIDs, and can do DMA.
import { ERRNO } from '../../../uapi/errno.js';
import type { Domain, Iommu, IommuDevice, PageRequest } from '../../kernel/driver.js';
import { IommuGroup, NO_PASID } from '../../kernel/iommu-group.js';
import type { Kernel } from '../../kernel/kernel.js';
import { forgetPageRequests, reportPageRequest } from '../../kernel/page-requests.js';
import type { Endpoint } from '../endpoint.js';
import { dmaRead, dmaWrite } from './dma.js';
import type { SelftestPagingDomain } from './paging-domain.js';
import { iommu_test_numbers, iommu_viommu_event_selftest, mock_flags_device, mock_iommu, mock_limits } from './uapi.js';
import type { SelftestViommu } from './viommu.js';

const FLAGS = mock_flags_device.values;
/** MOCK_FLAGS_DEVICE_HUGE_IOVA: a mock of Linux 6.12 has large pages on demand; PASIDs it has none. */
export const HUGE_IOVA = 1 << 1;
const NUMBERS = iommu_test_numbers.values;
const EVENT = iommu_viommu_event_selftest;

/** What a domain means to the device that is attached to it. */
export interface MockDomain extends Domain {
  /** The page table that DMA goes through; undefined where nothing gets through. */
  readonly table: SelftestPagingDomain | undefined;
  /** The vIOMMU that the device is behind, for a nested page table made through one. */
  readonly viommu: SelftestViommu | undefined;
  /** Its entries note what was written. */
  readonly tracksDirty: boolean;
}

export class MockDevice implements Endpoint {
  readonly group: IommuGroup;
  readonly maxPasids: number;
  readonly reservedRegions = [];
  readonly pciPasid = undefined;
  partialRequests: PageRequest[] | undefined;
  answersInvalidations = true;
  readonly cache = new Uint32Array(mock_limits.values.MOCK_DEV_CACHE_NUM).fill(NUMBERS.IOMMU_TEST_DEV_CACHE_DEFAULT);
  readonly #kernel: Kernel;
  readonly #flags: number;
  /** What the device itself is attached to; undefined before the first time. */
  #domain: MockDomain | undefined;
  /** The vIOMMU whose events tell of this device, and the guest's id of the device. */
  #viommu: SelftestViommu | undefined;
  #virtId = 0n;
  /** What DMA goes through, by PASID. */
  readonly #tables = new Map<number, SelftestPagingDomain>();
  /** Attachments that handle page requests. */
  #faultHandlers = 0;
  /** The next replacement on the PASID of tests fails. */
  #pasidWillFail = false;

  constructor(
    kernel: Kernel,
    readonly iommu: Iommu,
    readonly name: string,
    flags: number,
    group = new IommuGroup(iommu.blocked),
  ) {
    this.#kernel = kernel;
    this.#flags = flags;
    // A device that says it has 0 bits of PASIDs has one PASID: that of requests without any.
    this.maxPasids = (flags & FLAGS.MOCK_FLAGS_DEVICE_PASID) !== 0 ? 2 ** mock_iommu.values.MOCK_PASID_WIDTH : 1;
    this.group = group;
    this.group.add(this);
  }

  /** On Linux 6.12: its page tables have large pages (HUGE_IOVA), which later all of them have. */
  get largePages(): boolean {
    return (this.#flags & HUGE_IOVA) !== 0;
  }
  get tracksDirty(): boolean {
    return (this.#flags & FLAGS.MOCK_FLAGS_DEVICE_NO_DIRTY) === 0;
  }
  capable(what: 'cache-coherency' | 'enforce-cache-coherency' | 'dirty-tracking' | 'pci-ats'): boolean {
    return what === 'cache-coherency' || (what === 'dirty-tracking' && this.tracksDirty);
  }

  /** The device's own requests go through this domain from now on. */
  attach(domain: MockDomain): number {
    if (domain.tracksDirty && !this.tracksDirty) return -ERRNO.EINVAL;
    const { viommu } = domain;
    const virtId = viommu === undefined ? 0n : viommu.core.virtIdOf(this);
    if (virtId === undefined) return -ERRNO.ENOENT;
    if (viommu !== this.#viommu) {
      this.#viommu = viommu;
      this.#virtId = virtId;
    }
    const refusal = this.#handleFaults(domain, this.#domain);
    if (refusal < 0) return refusal;
    this.#domain = domain;
    this.#use(NO_PASID, domain);
    return 0;
  }

  /** Requests with a PASID do. */
  attachPasid(domain: MockDomain, pasid: number, old: Domain): number {
    if (pasid === NUMBERS.IOMMU_TEST_PASID_RESERVED) {
      // Attached at first, this PASID fails to be replaced once: what was there before must come back.
      const fails = domain.kind !== 'blocked' && this.#pasidWillFail;
      this.#pasidWillFail = domain.kind !== 'blocked' && !fails;
      if (fails) return -ERRNO.ENOMEM;
    }
    const refusal = this.#handleFaults(domain, old);
    if (refusal < 0) return refusal;
    this.#use(pasid, domain);
    return 0;
  }

  #use(pasid: number, { table }: MockDomain): void {
    if (table === undefined) this.#tables.delete(pasid);
    else this.#tables.set(pasid, table);
  }

  /** Page requests are collected while anything that the device is attached to handles them. */
  #handleFaults(domain: Domain, old: Domain | undefined): number {
    if (domain.fault !== undefined) {
      if (this.#faultHandlers === 0 && !this.#kernel.allocates()) return -ERRNO.ENOMEM;
      this.#faultHandlers++;
    }
    if (old?.fault !== undefined && --this.#faultHandlers === 0) forgetPageRequests(this);
    return 0;
  }

  /** Asks for a page to be mapped. */
  requestPage(request: PageRequest): void {
    reportPageRequest(this, request);
  }

  /** Has the vIOMMU that the device is behind raise an event about it; -ENOENT where it is behind none. */
  raiseEvent(): number {
    if (this.#viommu === undefined || this.#virtId === 0n) return -ERRNO.ENOENT;
    const data = new Uint8Array(EVENT.size);
    EVENT.encode(new DataView(data.buffer), 0, { virt_id: Number(BigInt.asUintN(32, this.#virtId)) });
    return this.#viommu.core.reportEvent(NUMBERS.IOMMU_VEVENTQ_TYPE_SELFTEST, data);
  }

  /** Reads memory as the device; -EFAULT where the IOVAs are not mapped, or not to be read. */
  dmaRead(iova: bigint, into: Uint8Array, pasid = NO_PASID): number {
    return dmaRead(this.#kernel.physical, this.#tables.get(pasid), iova, into);
  }
  /** Writes memory as the device; -EFAULT where the IOVAs are not mapped, or not to be written. */
  dmaWrite(iova: bigint, from: Uint8Array, pasid = NO_PASID): number {
    return dmaWrite(this.#kernel.physical, this.#tables.get(pasid), iova, from);
  }
  /** Nothing that the mock faults on is ever mended. */
  async access(iova: bigint, bytes: Uint8Array, write: boolean, pasid: number): Promise<number> {
    return write ? this.dmaWrite(iova, bytes, pasid) : this.dmaRead(iova, bytes, pasid);
  }
}

/** The mock device that the kernel hands to a domain of the mock. */
export function mockOf(device: IommuDevice): MockDevice {
  if (!(device instanceof MockDevice)) throw new Error(`${device.name} is not behind the mock IOMMU`);
  return device;
}
