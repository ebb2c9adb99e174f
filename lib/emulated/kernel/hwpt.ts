// What devices are attached to, seen from user space: struct iommufd_hw_pagetable (iommufd/hw_pagetable.c).
import type { Domain } from './driver.js';
import type { Fault } from './fault.js';
import type { HwptPaging } from './hwpt-paging.js';
import type { IommufdContext } from './iommufd-file.js';
import { IommufdObject } from './object-table.js';

export abstract class Hwpt extends IommufdObject {
  readonly context: IommufdContext;
  /** Made with IOMMU_HWPT_ALLOC_PASID: goes together with PASIDs. */
  readonly pasidCompat: boolean;
  /** Where page requests through it go. */
  #fault: Fault | undefined;
  abstract readonly domain: Domain;
  /** The one over an IOAS in which DMA ends: itself, or the parent of a nested one. */
  abstract readonly paging: HwptPaging;

  constructor(context: IommufdContext, pasidCompat: boolean) {
    super();
    this.context = context;
    this.pasidCompat = pasidCompat;
  }

  get fault(): Fault | undefined {
    return this.#fault;
  }
  /** Holds the fault queue from now on. */
  setFault(fault: Fault): void {
    fault.users++;
    this.#fault = fault;
    this.domain.fault = fault;
  }

  /** A device that was attached is no more. */
  put(): void {
    this.users--;
  }

  protected freeDomain(): void {
    this.domain.free();
    if (this.#fault !== undefined) this.#fault.users--;
  }
}
