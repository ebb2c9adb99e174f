// The machine `tegra241-cmdqv`: an SMMUv3 that lends guests command queues of their own.
import type { Kernel } from '../../../kernel/kernel.js';
import { Smmuv3Platform } from '../../smmuv3/driver/platform.js';
import { Cmdqv } from './cmdqv.js';

export class Tegra241Platform extends Smmuv3Platform {
  constructor(kernel: Kernel) {
    super(kernel, { impl: new Cmdqv(kernel) });
  }
}
