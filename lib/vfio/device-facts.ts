// Where a device is in sysfs, what drives it, and which node is its own: what reports and the search for a node begin with.
import type { Sysfs } from './sysfs.js';

/** A device, and its folder in sysfs. */
export interface DevicePlace {
  readonly kind: 'pci' | 'mediated' | 'other';
  readonly address: string;
  readonly path: string;
}

export interface DeviceFacts {
  readonly place: DevicePlace;
  readonly driver: string | undefined;
  readonly group: number | undefined;
  readonly members: readonly string[];
  /** The name of its VFIO device: 'vfio0'; undefined where no VFIO driver has it. */
  readonly cdevName: string | undefined;
  readonly noiommu: boolean;
  /** Its device number as sysfs writes it ('511:0'); undefined where this kernel has no nodes for VFIO devices. */
  readonly number: string | undefined;
  /** What is at the node's path: its device number, or undefined where there is no node. */
  readonly found: string | undefined;
  /** The path of the node, where it is the device's own. */
  readonly node: string | undefined;
}

export const PCI_DEVICES = '/sys/bus/pci/devices';
export const MEDIATED_DEVICES = '/sys/bus/mdev/devices';
export const VFIO_DEVICES = '/sys/class/vfio-dev';

const PCI_ADDRESS = /^(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}:[01][0-9a-f]\.[0-7])$/i;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const CDEV_NAME = /^(noiommu-)?vfio\d+$/;

/** A PCI address as sysfs spells it ('0000:01:00.0'), from what people write ('01:00.0'); undefined for anything else. */
export function pciAddress(text: string): string | undefined {
  const [, domain = '0000', rest] = PCI_ADDRESS.exec(text) ?? [];
  return rest === undefined ? undefined : `${domain}:${rest}`.toLowerCase();
}

/** Where a device is that has this name: a PCI address, or the UUID of a mediated device; undefined for anything else. */
export function placeOf(name: string): DevicePlace | undefined {
  const pci = pciAddress(name);
  if (pci !== undefined) return { kind: 'pci', address: pci, path: `${PCI_DEVICES}/${pci}` };
  if (!UUID.test(name)) return undefined;
  const uuid = name.toLowerCase();
  return { kind: 'mediated', address: uuid, path: `${MEDIATED_DEVICES}/${uuid}` };
}

/** The device behind an entry of VFIO's class, whatever bus it is on. */
export function placeOfEntry(sysfs: Sysfs, name: string): DevicePlace | undefined {
  const address = sysfs.linkName(`${VFIO_DEVICES}/${name}/device`);
  if (address === undefined) return undefined;
  return placeOf(address) ?? { kind: 'other', address, path: `${VFIO_DEVICES}/${name}/device` };
}

export function readFacts(sysfs: Sysfs, place: DevicePlace): DeviceFacts {
  const group = groupNumber(sysfs, place);
  const cdevName = sysfs.names(`${place.path}/vfio-dev`).find((name) => CDEV_NAME.test(name));
  const number = cdevName === undefined ? undefined : sysfs.text(`${place.path}/vfio-dev/${cdevName}/dev`);
  const found = cdevName === undefined ? undefined : numberAt(sysfs, nodePath(cdevName));
  const isOwn = cdevName !== undefined && number !== undefined && number === found;
  return {
    place,
    driver: sysfs.linkName(`${place.path}/driver`),
    group,
    members: group === undefined ? [] : sysfs.names(`/sys/kernel/iommu_groups/${group}/devices`),
    cdevName,
    noiommu: isNoiommu(sysfs, cdevName, number, group),
    number,
    found,
    node: isOwn ? nodePath(cdevName) : undefined,
  };
}

/** Where udev puts the node of a VFIO device. */
export function nodePath(cdevName: string): string {
  return `/dev/vfio/devices/${cdevName}`;
}

/**
 * VFIO tells by the node's name; before Linux 7.3, where such a device has no node, by the group that it makes for it
 * (vfio_noiommu_group_alloc in drivers/vfio/group.c).
 */
function isNoiommu(sysfs: Sysfs, cdevName: string | undefined, number: string | undefined, group: number | undefined) {
  if (cdevName === undefined) return false;
  if (number !== undefined || group === undefined) return cdevName.startsWith('noiommu-');
  return sysfs.text(`/sys/kernel/iommu_groups/${group}/name`) === 'vfio-noiommu';
}

function groupNumber(sysfs: Sysfs, { path }: DevicePlace): number | undefined {
  const name = sysfs.linkName(`${path}/iommu_group`);
  return name !== undefined && /^\d+$/.test(name) ? Number(name) : undefined;
}

/** The device number of a character device, as sysfs would write it. */
function numberAt(sysfs: Sysfs, path: string): string | undefined {
  const status = sysfs.status(path);
  if (status?.kind !== 'character-device') return undefined;
  return `${status.major}:${status.minor}`;
}
