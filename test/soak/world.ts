// Where VMMs live: an emulated machine, or one with a real kernel.
import type { EmulatedHost, MachineName } from '../../lib/emulated-host.js';
import type { Iommufd, RegionName } from '../../lib/index.js';
import type { Host } from '../../lib/unsafe.js';
import type { Life, Operation } from './life.js';

/** How often operations are drawn, by name. */
export type Weights = readonly (readonly [number, string, Operation])[];

export interface World {
  readonly machine: MachineName;
  readonly host: Host;
  /** The devices that VMMs may open. */
  readonly addresses: readonly string[];
  /** Where guests have their memory: devices reach it. */
  readonly base: bigint;
  /** A region that can be mapped for other devices. */
  readonly sharedBar: RegionName;
  readonly emulated?: EmulatedHost;
  /** What VMMs do besides, where the machine is not an emulated one. */
  readonly operations: Weights;
  /** Gives an iommufd a device, where VFIO has none. */
  readonly bind?: (life: Life, iommufd: Iommufd) => void;
  /** All that must be as it was when a life has ended. */
  inspect(): unknown;
}
