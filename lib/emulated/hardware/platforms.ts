// The IOMMUs that a machine can have, by name.
import type { Kernel } from '../kernel/kernel.js';
import type { Platform } from './platform.js';
import { SelftestMachine } from './selftest/machine.js';
import { Smmuv3Platform } from './smmuv3/driver/platform.js';
import { Tegra241Platform } from './tegra241/driver/platform.js';
import { VtdPlatform } from './vtd/driver/platform.js';

export const MACHINES = ['arm-smmuv3', 'tegra241-cmdqv', 'intel-vtd', 'selftest'] as const;

export type MachineName = (typeof MACHINES)[number];

const PLATFORMS: Readonly<Record<MachineName, new (kernel: Kernel) => Platform>> = {
  'arm-smmuv3': Smmuv3Platform,
  'tegra241-cmdqv': Tegra241Platform,
  'intel-vtd': VtdPlatform,
  selftest: SelftestMachine,
};

export function makePlatform(name: MachineName, kernel: Kernel): Platform {
  return new PLATFORMS[name](kernel);
}
