// How a case of the SMMUv3 suite is written: as one of the VFIO suite, with what it needs of the hardware.
import { type Feature, hasFeature } from './smmuv3-features.js';
import { smmuv3Registers, smmuv3Rig } from './smmuv3-rig.js';
import { declareCases } from './suite.js';
import { VfioBench } from './vfio.js';
import type { VfioRig } from './vfio-rig.js';

export interface Smmuv3CaseOptions {
  readonly needs?: readonly Feature[];
  /** What is answered depends on the hardware: lanes are compared by the outcome alone. */
  readonly dependsOnHardware?: boolean;
}

export type Smmuv3Case = (bench: VfioBench) => void | Promise<void>;

export interface Smmuv3Group {
  /** A case. Its id is `group/id`: lanes are compared by it, so it never changes. */
  (id: string, what: string, run: Smmuv3Case): void;
  (id: string, what: string, options: Smmuv3CaseOptions, run: Smmuv3Case): void;
}

/** Why this SMMUv3 cannot run a case; undefined if it can. */
function lacks(needs: readonly Feature[]): string | undefined {
  const registers = smmuv3Registers();
  if (registers === undefined) return 'no device is behind an SMMUv3';
  const missing = needs.filter((feature) => !hasFeature(feature, registers));
  return missing.length === 0 ? undefined : `it wants an SMMUv3 with: ${missing.join(', ')}`;
}

/** A group of cases of the SMMUv3 suite. */
export function smmuv3Cases(group: string, declare: (test: Smmuv3Group) => void): void {
  declareCases<VfioRig, VfioBench>(group, (add) => {
    declare((id: string, what: string, ...rest: [Smmuv3Case] | [Smmuv3CaseOptions, Smmuv3Case]) => {
      const [options, run] = rest.length === 1 ? [{}, rest[0]] : rest;
      const { needs = [], dependsOnHardware } = options;
      add(id, what, {
        lacks: () => lacks(needs),
        rig: smmuv3Rig,
        lane: 'smmuv3',
        bench: (recorded) => new VfioBench(recorded),
        compareCalls: dependsOnHardware !== true,
        run,
      });
    });
  });
}
