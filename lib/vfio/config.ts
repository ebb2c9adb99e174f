// A PCI device's configuration space.
import type { DeviceCore } from './core.js';
import type { VfioRegion } from './region.js';

export class PciConfig {
  constructor(
    readonly core: DeviceCore,
    readonly region: VfioRegion,
  ) {}
}
