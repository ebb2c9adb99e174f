// What the machine tells of a device before anybody opens it.
import { type DeviceFacts, type DevicePlace, readFacts } from './device-facts.js';
import { type MissingThing, whatIsMissing } from './missing.js';
import { readPasidWidth } from './pasid-width.js';
import type { Sysfs } from './sysfs.js';

/** A device as the machine tells of it, and what is missing before a program can use it. */
export interface DeviceReport {
  /** A function on a PCI bus, a mediated device (a part of one, made by its driver), or a device of another bus. */
  readonly kind: 'pci' | 'mediated' | 'other';
  /** Its PCI address ('0000:01:00.0'), the UUID of a mediated device, or the name on its bus. `host.openDevice` takes it. */
  readonly address: string;
  /** PCI ids; undefined for other kinds. */
  readonly vendorId: number | undefined;
  readonly deviceId: number | undefined;
  /** The PCI class in 24 bits: base class, subclass, programming interface. 0x010802 is NVMe. */
  readonly classCode: number | undefined;
  /** The driver that has it. */
  readonly driver: string | undefined;
  /** Devices of one group cannot be told apart by the IOMMU: they go to one program, or to none. */
  readonly iommuGroup: number | undefined;
  /** All devices of its group, itself among them. */
  readonly groupMembers: readonly string[];
  /** The IOMMU in front of it, by the name its driver gave: 'dmar0'. */
  readonly iommu: string | undefined;
  /** The name of its VFIO node: 'vfio0'. */
  readonly cdevName: string | undefined;
  /** The path of its VFIO node, where that is this device's by its device number. */
  readonly node: string | undefined;
  /**
   * Bits of its PASIDs, by its own configuration space: only `findDevice` reads that, and only root sees it. What can be
   * used is less where the IOMMU has less: after `bind`, `device.hwInfo().maxPasidLog2` says.
   */
  readonly pasidWidth: number | undefined;
  /** The NUMA node it is nearest to. */
  readonly numaNode: number | undefined;
  /** It has no IOMMU, and VFIO's noiommu mode drives it: only `host.unsafeOpenDevice` opens it. */
  readonly noiommu: boolean;
  /** Whether nothing is missing to open and bind it. Whether another program uses it now, only `bind` tells (EINVAL). */
  readonly ready: boolean;
  /** What is missing, in the order to mend it. */
  readonly missing: readonly MissingThing[];
}

/** How much a report is worth: all of it for one device, what is cheap for a list of many. */
export type Detail = 'all' | 'cheap';

export function reportDevice(sysfs: Sysfs, place: DevicePlace, detail: Detail): DeviceReport {
  const facts = readFacts(sysfs, place);
  const missing = whatIsMissing(sysfs, facts);
  return {
    kind: place.kind,
    address: place.address,
    ...pciIds(sysfs, facts),
    driver: facts.driver,
    iommuGroup: facts.group,
    groupMembers: facts.members,
    iommu: sysfs.linkName(`${place.path}/iommu`),
    cdevName: facts.cdevName,
    node: facts.node,
    pasidWidth: detail === 'all' && place.kind === 'pci' ? readPasidWidth(sysfs.seam, place.path) : undefined,
    numaNode: numaNode(sysfs, facts),
    noiommu: facts.noiommu,
    ready: missing.length === 0,
    missing,
  };
}

function pciIds(sysfs: Sysfs, { place }: DeviceFacts) {
  const read = (name: string) => (place.kind === 'pci' ? sysfs.number(`${place.path}/${name}`) : undefined);
  return { vendorId: read('vendor'), deviceId: read('device'), classCode: read('class') };
}

function numaNode(sysfs: Sysfs, { place }: DeviceFacts): number | undefined {
  const node = sysfs.number(`${place.path}/numa_node`);
  // The kernel writes -1 for none.
  return node === undefined || node < 0 ? undefined : node;
}
