// Where a site is: what differs between machines, and between the emulated kernel and the real one.
import type { EmulatedHost, MachineName } from '../../lib/emulated-host.js';
import type { Device, HwptPaging, Iommufd } from '../../lib/index.js';
import type { Host } from '../../lib/unsafe.js';
import type { Site } from './memory-site.js';

/** What a device is there for. One device may have several roles. */
export type Role =
  /** Most operations' device: INTx, MSI, a BAR that can be mapped. */
  | 'nic'
  /** Another one, in a group of its own. */
  | 'sibling'
  /** One that has MSI-X. */
  | 'msix'
  /** One that resets alone. */
  | 'resettable'
  /** Two that one hot reset takes. */
  | 'slot'
  | 'slot-mate'
  /** One whose BAR others can map. */
  | 'peer'
  /** A serial port, which migrates. */
  | 'serial'
  /** One that migrates, and one that notes its DMA. */
  | 'migrates'
  | 'logs'
  /** A device without an IOMMU. */
  | 'no-iommu'
  /** Displays: one whose picture is in a region, and one that gives dma-bufs. */
  | 'display'
  | 'display-dmabuf'
  /** A physical function whose virtual ones ask for a token. */
  | 'sriov';

/** What not every IOMMU or device can do. */
export type Need = 'pasids' | 'dirty-tracking' | 'page-requests' | 'events' | 'hand-over' | 'nesting';

/** The machine cannot do what an operation needs. */
export class Lacks extends Error {
  override readonly name = 'Lacks';
}

export interface Place {
  readonly machine: MachineName;
  readonly host: Host;
  /** Whether page tables can be parents of others. */
  readonly nests: boolean;
  /** Throws Lacks where the machine has no such thing. */
  name(role: Role): string;
  needs(need: Need): void;
  emulated(): EmulatedHost;
  /** A device on the site's iommufd. */
  device(site: Site): Device;
  /** What the kernel holds: files, mappings, pinned pages, objects. */
  inspect(iommufd?: Iommufd): unknown;
  /** A page is written by a device. */
  write(site: Site, hwpt: HwptPaging, iova: bigint): void;
  /** A device waits for a page that is not there: what it waits for. */
  requestPage(site: Site, iova: bigint): Promise<unknown>;
  /** Makes an event queue of the depth 1 lose an event. */
  loseEvent(site: Site): void;
}
