// A device behind a VT-d unit, as its driver knows it (struct device_domain_info of intel/iommu.h), and what it does itself.
import { ERRNO } from '../../../../uapi/errno.js';
import type { Domain, IommuDevice, PageRequest } from '../../../kernel/driver.js';
import { IommuGroup } from '../../../kernel/iommu-group.js';
import type { Kernel } from '../../../kernel/kernel.js';
import { forgetPageRequests, RESPONSE } from '../../../kernel/page-requests.js';
import { PAGE_SIZE } from '../../../memory/backing.js';
import { dmaRead, dmaWrite } from '../../dma.js';
import type { Endpoint } from '../../endpoint.js';
import type { EndpointOptions } from '../../platform.js';
import { FAULT, NO_PASID, type VtdFunction } from '../function.js';
import { PASID_BITS } from '../registers.js';
import type { VtdIommu } from './iommu.js';
import type { VtdDomain } from './iommu-domain.js';
import { PageRequests } from './page-requests.js';

/** Where messages of interrupts go, which are not translated (IOAPIC_RANGE_START of intel/iommu.c). */
const RESERVED = [{ start: 0xfee0_0000n, last: 0xfeef_ffffn, type: 'msi' }] as const;
const END = 2n ** 64n;
/** PASIDs whose entries share a page of the PASID table: the kernel makes it for the first of them. */
const PASIDS_A_PAGE = 64;

export class VtdDevice implements Endpoint {
  readonly name: string;
  readonly group: IommuGroup;
  readonly maxPasids: number;
  readonly reservedRegions = RESERVED;
  readonly pciPasid = { exec: false, privileged: false };
  partialRequests: PageRequest[] | undefined;
  /** The device keeps translations, and asks for pages. A driver uses PRI only where it has ATS. */
  readonly ats: boolean;
  readonly pri: boolean;
  readonly fn: VtdFunction;
  /** What the device itself is attached to, if its DMA is not blocked. */
  domain: VtdDomain | undefined;
  /** How often it was said that its page requests are handled. */
  #handlers = 0;
  readonly #kernel: Kernel;
  readonly #requests: PageRequests;
  /** Pages of the PASID table; the first is there since the machine started. */
  readonly #pasidPages = new Set([0]);

  constructor(
    kernel: Kernel,
    readonly iommu: VtdIommu,
    { name, pasid, ats, stall, group = new IommuGroup(iommu.blocked) }: Omit<EndpointOptions, 'dirtyTracking'>,
  ) {
    this.#kernel = kernel;
    this.name = name;
    this.maxPasids = pasid ? 2 ** PASID_BITS : 0;
    this.ats = ats;
    this.pri = ats && stall;
    this.fn = iommu.unit.addFunction(name, ats);
    this.#requests = new PageRequests(this);
    this.group = group;
    group.add(this);
  }

  capable(what: 'cache-coherency' | 'enforce-cache-coherency' | 'dirty-tracking' | 'pci-ats'): boolean {
    if (what === 'dirty-tracking') return this.iommu.tracksDirty;
    return what !== 'pci-ats' || this.ats;
  }

  // What its driver keeps of it.

  /** Makes room for a PASID's entry (intel_pasid_get_entry); false where there is none. */
  hasEntry(pasid: number): boolean {
    const page = Math.floor(pasid / PASIDS_A_PAGE);
    if (this.#pasidPages.has(page)) return true;
    if (!this.#kernel.allocates()) return false;
    this.#pasidPages.add(page);
    return true;
  }

  /** Something it is attached to handles page requests (iopf_for_domain_set). */
  handleFaults({ fault }: Domain): number {
    if (fault === undefined) return 0;
    if (!this.pri) return -ERRNO.ENODEV;
    if (this.#handlers === 0 && !this.#kernel.allocates()) return -ERRNO.ENOMEM;
    this.#handlers++;
    return 0;
  }
  /** It does no more (iopf_for_domain_remove). */
  unhandleFaults(domain: Domain | undefined): void {
    if (domain?.fault === undefined || this.#handlers === 0) return;
    if (--this.#handlers === 0) forgetPageRequests(this);
  }

  // Its own side.

  get answersInvalidations(): boolean {
    return this.fn.answersInvalidations;
  }
  set answersInvalidations(answers: boolean) {
    this.fn.answersInvalidations = answers;
  }

  forgetTranslations(): void {
    this.fn.forgetTranslations();
  }

  dmaRead(iova: bigint, into: Uint8Array, pasid = NO_PASID): number {
    return dmaRead(this.#kernel.physical, this.fn, iova, into, pasid);
  }
  dmaWrite(iova: bigint, from: Uint8Array, pasid = NO_PASID): number {
    return dmaWrite(this.#kernel.physical, this.fn, iova, from, pasid);
  }

  async access(iova: bigint, bytes: Uint8Array, write: boolean, pasid: number): Promise<number> {
    if (iova < 0n || iova + BigInt(bytes.length) > END) return -ERRNO.EFAULT;
    for (let done = 0; done < bytes.length; ) {
      const at = iova + BigInt(done);
      const room = PAGE_SIZE - Number(BigInt.asUintN(12, at));
      const part = bytes.subarray(done, done + room);
      const result = this.#accessPage(at, part, write, pasid);
      if (result === 0) done += part.length;
      else if (!this.pri || this.fn.fault !== FAULT.recoverable) return result;
      else if ((await this.#requests.ask(at, write, pasid)) !== RESPONSE.success) return result;
    }
    return 0;
  }
  #accessPage(iova: bigint, part: Uint8Array, write: boolean, pasid: number): number {
    this.fn.fault = FAULT.none;
    return write ? this.dmaWrite(iova, part, pasid) : this.dmaRead(iova, part, pasid);
  }

  requestPage(request: PageRequest): void {
    if (this.pri) this.#requests.send(request);
  }
  /** The unit hands it an answer. */
  answered(request: PageRequest, code: number): void {
    this.#requests.answered(request, code);
  }

  /** Faults that nobody can mend stay with the host: the driver only logs them. */
  raiseEvent(): number {
    return -ERRNO.EOPNOTSUPP;
  }
}

/** The device that the kernel hands to a domain of this driver. */
export function vtdOf(device: IommuDevice): VtdDevice {
  if (!(device instanceof VtdDevice)) throw new Error(`${device.name} is not behind a VT-d unit`);
  return device;
}
