// Not written yet: its owner replaces this file.
import type { Domain } from '../../../kernel/driver.js';
import type { Kernel } from '../../../kernel/kernel.js';
import type { Endpoint } from '../../endpoint.js';
import type { EndpointOptions, Platform, TlbEntryState } from '../../platform.js';

export class Tegra241Platform implements Platform {
  constructor(kernel: Kernel) {
    throw new Error(`not there yet: ${kernel.dialect}`);
  }
  get blocked(): Domain {
    throw new Error('not there yet');
  }
  createDevice(options: EndpointOptions): Endpoint {
    throw new Error(options.name);
  }
  tlb(): readonly TlbEntryState[] {
    return [];
  }
}
