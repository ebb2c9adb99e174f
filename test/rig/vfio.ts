// How a case of the VFIO suite is written: as one of the conformance suite, with devices that are there for something.
import type { Iommufd, VfioDevice } from '../../lib/index.js';
import { isOlder } from '../../lib/uapi/releases.js';
import { Bench, declareCases, type CaseOptions as Options, type Subject } from './suite.js';
import { emulatedVfioRig, type Role, type VfioRig, vfioRig } from './vfio-rig.js';

export type { Role } from './vfio-rig.js';

/** What a case of the VFIO suite works with. */
export class VfioBench extends Bench {
  declare readonly rig: VfioRig;

  /** The PCI address of a device that the case needs, or its UUID where it is a mediated one. */
  address(role: Role): string {
    const address = this.rig.find(role);
    if (address === undefined) throw new Error(`this machine has no ${role}: the case must say that it needs one`);
    return address;
  }

  /** A device, closed at the end of the case. */
  open(role: Role): VfioDevice {
    const device = this.rig.host.openDevice(this.address(role));
    this.later(() => device[Symbol.dispose]());
    return device;
  }

  /** A device bound to this case's iommufd (or another), closed at the end of the case. */
  bound(role: Role, iommufd: Iommufd = this.iommufd): VfioDevice {
    const device = this.open(role);
    device.bind(iommufd);
    return device;
  }

  /** The host asks for the device: resolves when it has it, which is after it was closed. */
  requestBack(role: Role): Promise<void> {
    return this.rig.requestBack(role);
  }
  /** The device can be opened again, after `requestBack`. */
  giveBack(role: Role): Promise<void> {
    return this.rig.giveBack(role);
  }
}

/** The same bench where its kernel is from before Linux 6.13; else one with an emulated machine of Linux 6.12. */
export function olderVfioBench(t: VfioBench): VfioBench {
  if (isOlder(t.rig.host.release, '6.13')) return t;
  const bench = new VfioBench(emulatedVfioRig('6.12'));
  t.later(() => bench.finish());
  return bench;
}

export interface VfioCaseOptions extends Omit<Options, 'needs'> {
  readonly needs: Role | readonly Role[];
  /** Only on a kernel from before this release; on the emulated host the case makes one (`olderVfioBench`). */
  readonly before?: string;
  /** What is answered depends on the device's hardware: lanes are compared by the outcome alone. */
  readonly dependsOnHardware?: boolean;
}

export type VfioCase = (bench: VfioBench) => void | Promise<void>;

/** A case. Its id is `group/id`: lanes are compared by it, so it never changes. */
export type VfioGroup = (id: string, what: string, options: VfioCaseOptions, run: VfioCase) => void;

/** Why the rig cannot run a case; undefined if it can. */
function lacks({ needs, before }: VfioCaseOptions): string | undefined {
  const { host, emulated } = vfioRig();
  const isNewer = before !== undefined && emulated === undefined && !isOlder(host.release, before);
  if (isNewer) return `this kernel has it: it came with Linux ${before}`;
  const roles = typeof needs === 'string' ? [needs] : needs;
  const missing = roles.filter((role) => vfioRig().find(role) === undefined);
  return missing.length === 0 ? undefined : `no such device here: ${missing.join(', ')}`;
}

/** A group of cases of the VFIO suite. */
export function vfioCases(group: string, declare: (test: VfioGroup) => void): void {
  declareCases<VfioRig, VfioBench>(group, (add) => {
    declare((id, what, options, run) => {
      const subject: Subject<VfioRig, VfioBench> = {
        lacks: () => lacks(options),
        rig: vfioRig,
        lane: 'vtd',
        bench: (recorded) => new VfioBench(recorded),
        compareCalls: options.dependsOnLayout !== true && options.dependsOnHardware !== true,
        run,
      };
      add(id, what, subject);
    });
  });
}
