// An address space of IOVAs: struct iommufd_ioas (iommufd/ioas.c).
import type { HwptPaging } from './hwpt-paging.js';
import { IoPagetable } from './io-pagetable.js';
import type { IommufdContext } from './iommufd-file.js';
import { IommufdObject } from './object-table.js';

export class Ioas extends IommufdObject {
  readonly kind = 'ioas';
  readonly iopt: IoPagetable;
  /** Page tables that follow it, in the order of their making. */
  readonly hwpts: HwptPaging[] = [];
  readonly #context: IommufdContext;

  constructor(context: IommufdContext) {
    super();
    this.#context = context;
    this.iopt = new IoPagetable(context);
  }

  destroy(): void {
    if (this.#context.vfioIoas === this) this.#context.vfioIoas = undefined;
    this.iopt.destroy();
  }
}
