// The machine `intel-vtd`: VT-d units in scalable mode. All devices are behind one, except those whose IOMMU cannot track dirty
// pages: they have a second one, since that is a property of the unit.
import type { Kernel } from '../../../kernel/kernel.js';
import type { EndpointOptions, Platform, TlbEntryState } from '../../platform.js';
import { VtdBlockedDomain } from './blocked-domain.js';
import { VtdDevice } from './device.js';
import { VtdIommu } from './iommu.js';

export class VtdPlatform implements Platform {
  readonly blocked = new VtdBlockedDomain();
  readonly #kernel: Kernel;
  readonly #tracking: VtdIommu;
  readonly #plain: VtdIommu;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
    const { blocked } = this;
    const forget = () => {
      this.#tracking.unit.forget();
      this.#plain.unit.forget();
    };
    this.#tracking = new VtdIommu(kernel, { name: 'dmar0', blocked, tracksDirty: true, forget });
    this.#plain = new VtdIommu(kernel, { name: 'dmar1', blocked, tracksDirty: false, forget });
  }

  createDevice(options: EndpointOptions): VtdDevice {
    return new VtdDevice(this.#kernel, options.dirtyTracking ? this.#tracking : this.#plain, options);
  }

  tlb(): TlbEntryState[] {
    return [...this.#tracking.unit.tlb(), ...this.#plain.unit.tlb()];
  }
}
