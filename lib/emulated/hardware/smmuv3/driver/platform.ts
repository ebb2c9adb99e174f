// The machine `arm-smmuv3`: PCI devices behind SMMUv3s, on a system whose firmware says that all of them are coherent with the
// CPU's caches, and may keep translations (IORT's CANWBS and ATS attributes of a root complex).
import type { Kernel } from '../../../kernel/kernel.js';
import type { EndpointOptions, Platform, TlbEntryState } from '../../platform.js';
import { Smmuv3BlockedDomain } from './blocked-domain.js';
import { Smmuv3Device } from './device.js';
import type { SmmuImpl } from './impl.js';
import { Smmuv3Iommu } from './iommu.js';

/** Where its registers lie makes an SMMU's name. */
const NAMES = { tracking: 'smmu3.0x0000000009050000', plain: 'smmu3.0x0000000009070000' } as const;

export class Smmuv3Platform implements Platform {
  readonly blocked = new Smmuv3BlockedDomain();
  readonly #kernel: Kernel;
  readonly #impl: SmmuImpl | undefined;
  /** Of one firmware says that it keeps dirty state, of the other that it does not. They are there as devices need them. */
  readonly #iommus = new Map<keyof typeof NAMES, Smmuv3Iommu>();

  constructor(kernel: Kernel, { impl }: { readonly impl?: SmmuImpl | undefined } = {}) {
    this.#kernel = kernel;
    this.#impl = impl;
  }

  createDevice(options: EndpointOptions): Smmuv3Device {
    return new Smmuv3Device(this.#iommu(options.dirtyTracking ? 'tracking' : 'plain'), options);
  }
  #iommu(which: keyof typeof NAMES): Smmuv3Iommu {
    const present = this.#iommus.get(which);
    if (present !== undefined) return present;
    const firmware = { dirtyTracking: which === 'tracking' };
    const { blocked } = this;
    const made = new Smmuv3Iommu(this.#kernel, { name: NAMES[which], blocked, firmware, impl: this.#impl });
    this.#iommus.set(which, made);
    return made;
  }

  tlb(): readonly TlbEntryState[] {
    return [...this.#iommus.values()].flatMap(({ smmu }) => smmu.tlb());
  }
}
