// Page requests of a device (PCI PRI): what the driver makes of them (prq_event_thread of intel/prq.c), and the accesses that
// wait for an answer.
import { iommu_hwpt_pgfault_perm } from '../../../../uapi/iommufd-constants.js';
import type { PageRequest } from '../../../kernel/driver.js';
import { RESPONSE, reportPageRequest } from '../../../kernel/page-requests.js';
import { NO_PASID } from '../function.js';
import { ADDRESS_BITS, PASID_BITS } from '../registers.js';
import type { VtdDevice } from './device.js';

const PERM = iommu_hwpt_pgfault_perm.values;
const READ = PERM.IOMMU_PGFAULT_PERM_READ;
const WRITE = PERM.IOMMU_PGFAULT_PERM_WRITE;
const EXECUTE = PERM.IOMMU_PGFAULT_PERM_EXEC;
const PRIVILEGED = PERM.IOMMU_PGFAULT_PERM_PRIV;

/** Group numbers have 9 bits: so many accesses of a device can wait at once. */
const GROUPS = 512;
const PAGE_MASK = ~0xfffn;

export class PageRequests {
  readonly #device: VtdDevice;
  /** Who waits for an answer, by what was sent. */
  readonly #waiting = new Map<PageRequest, (code: number) => void>();
  #lastGroup = 0;

  constructor(device: VtdDevice) {
    this.#device = device;
  }

  /** Asks for the page at an IOVA; resolves with the answer's code. */
  ask(iova: bigint, write: boolean, pasid: number): Promise<number> {
    if (this.#waiting.size === GROUPS) return Promise.resolve(RESPONSE.failure);
    const request: PageRequest = {
      ...{ address: iova, pasid, hasPasid: pasid !== NO_PASID, group: this.#freeGroup() },
      ...{ perm: write ? WRITE : READ, last: true },
    };
    const sent = asMessage(request);
    return new Promise((resolve) => {
      this.#waiting.set(sent, resolve);
      this.#report(sent);
    });
  }
  #freeGroup(): number {
    const taken = new Set([...this.#waiting.keys()].map(({ group }) => group));
    do this.#lastGroup = (this.#lastGroup + 1) % GROUPS;
    while (taken.has(this.#lastGroup));
    return this.#lastGroup;
  }

  /** Sends one for whose answer nobody waits. */
  send(request: PageRequest): void {
    this.#report(asMessage(request));
  }
  answered(request: PageRequest, code: number): void {
    const waiting = this.#waiting.get(request);
    this.#waiting.delete(request);
    waiting?.(code);
  }

  #report(request: PageRequest): void {
    const { perm, last } = request;
    if (isUnusable(request)) {
      if (last) this.answered(request, RESPONSE.invalid);
      return;
    }
    // The device tells that it uses a PASID no more: nobody answers that.
    if (last && (perm & (READ | WRITE)) === 0) return;
    reportPageRequest(this.#device, request);
  }
}

/** What the message has room for (VT-d manual, 7.4.1.1). */
function asMessage({ address, pasid, hasPasid, group, perm, last }: PageRequest): PageRequest {
  return {
    ...{ address: address & PAGE_MASK, hasPasid, last },
    pasid: pasid % 2 ** PASID_BITS,
    group: group % GROUPS,
    perm: perm & (READ | WRITE | EXECUTE | PRIVILEGED),
  };
}

/** What the driver refuses itself. It measures addresses by the CPU's page tables, of five levels here. */
function isUnusable({ address, perm }: PageRequest): boolean {
  if (BigInt.asUintN(64, BigInt.asIntN(ADDRESS_BITS, address)) !== address) return true;
  const isPrivileged = (perm & PRIVILEGED) !== 0 && (perm & (READ | WRITE)) !== 0;
  return isPrivileged || ((perm & EXECUTE) !== 0 && (perm & READ) !== 0);
}
