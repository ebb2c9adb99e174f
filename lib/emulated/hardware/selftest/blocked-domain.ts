// The mock's domain that lets nothing through: what a device is attached to when it is attached to nothing
// (iommufd/selftest.c).
import { Domain, type IommuDevice } from '../../kernel/driver.js';
import { type MockDomain, mockOf } from './mock-device.js';

export class SelftestBlockedDomain extends Domain implements MockDomain {
  readonly kind = 'blocked';
  readonly table = undefined;
  readonly viommu = undefined;
  readonly tracksDirty = false;

  attach(device: IommuDevice): number {
    return mockOf(device).attach(this);
  }
  attachPasid(device: IommuDevice, pasid: number, old: Domain): number {
    return mockOf(device).attachPasid(this, pasid, old);
  }
  free(): void {}
}
