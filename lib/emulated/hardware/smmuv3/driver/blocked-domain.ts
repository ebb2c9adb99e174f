// The domain that lets nothing through: arm_smmu_blocked_domain (arm-smmu-v3.c).
import { Domain, type IommuDevice } from '../../../kernel/driver.js';
import { smmuDeviceOf } from './device.js';

export class Smmuv3BlockedDomain extends Domain {
  readonly kind = 'blocked';

  attach(device: IommuDevice): number {
    smmuDeviceOf(device).master.block();
    return 0;
  }
  attachPasid(device: IommuDevice, pasid: number): number {
    smmuDeviceOf(device).master.detachPasid(pasid);
    return 0;
  }
  free(): void {}
}
