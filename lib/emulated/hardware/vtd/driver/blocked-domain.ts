// Lets nothing through: what a device is attached to when it is attached to nothing (blocking_domain of intel/iommu.c).
import { Domain, type IommuDevice } from '../../../kernel/driver.js';
import { block, blockPasid } from './attach.js';
import { vtdOf } from './device.js';

export class VtdBlockedDomain extends Domain {
  readonly kind = 'blocked';

  attach(device: IommuDevice): number {
    block(vtdOf(device));
    return 0;
  }
  attachPasid(device: IommuDevice, pasid: number, old: Domain): number {
    blockPasid(vtdOf(device), pasid, old);
    return 0;
  }
  free(): void {}
}
