// Finding devices by name in sysfs: their nodes, reports of them, and what is said where something is missing. A node is
// checked against the device number that sysfs tells: names are used again after an unplug.
import { checkOptions, toBoolean } from '../host/arguments.js';
import { invalidType, outOfRange, UsageError } from '../host/errors.js';
import type { Seam } from '../host/seam.js';
import {
  type DevicePlace,
  MEDIATED_DEVICES,
  PCI_DEVICES,
  placeOf,
  placeOfEntry,
  readFacts,
  VFIO_DEVICES,
} from './device-facts.js';
import { type DeviceReport, reportDevice } from './device-report.js';
import { type MissingThing, whatIsMissing } from './missing.js';
import { Sysfs } from './sysfs.js';

export interface ListDevicesOptions {
  /** True: all PCI and mediated devices; false or left out: those that a VFIO driver has. */
  readonly all?: boolean;
}

export { pciAddress } from './device-facts.js';

function unavailable(message: string): UsageError {
  return new UsageError('ERR_IOMMUFD_UNAVAILABLE', message);
}

/** What is missing, as people read it. */
function tell({ address }: DevicePlace, missing: readonly MissingThing[]): UsageError {
  const points = missing.map(({ message, mend }) => `- ${message}\n    ${mend.replaceAll('\n', '\n    ')}`);
  return unavailable(`${address} is not ready. What is missing, and what mends it, as root:\n${points.join('\n')}`);
}

function checkThere(sysfs: Sysfs, { kind, address, path }: DevicePlace): void {
  if (sysfs.has(path)) return;
  const list =
    kind === 'mediated'
      ? `mediated device ${address}: see ls ${MEDIATED_DEVICES}`
      : `PCI device ${address}: see lspci -D`;
  throw unavailable(`there is no ${list}`);
}

const NAMES = "a PCI address ('0000:01:00.0'), the UUID of a mediated device, or the path of a node";

/**
 * The path of the VFIO node of a device, by its PCI address or UUID; throws, with all that is missing, where there is
 * none.
 */
export function findVfioNode(seam: Seam, name: string): string {
  const sysfs = new Sysfs(seam);
  const place = placeOf(name);
  if (place === undefined) throw outOfRange('name', NAMES, name);
  checkThere(sysfs, place);
  const facts = readFacts(sysfs, place);
  if (facts.node === undefined) throw tell(place, whatIsMissing(sysfs, facts));
  return facts.node;
}

/** `host.findDevice`. */
export function findDevice(seam: Seam, name: string): DeviceReport {
  if (typeof name !== 'string') throw invalidType('name', NAMES, name);
  const sysfs = new Sysfs(seam);
  const place = name.startsWith('/') ? placeOfNode(sysfs, name) : placeOf(name);
  if (place === undefined) throw outOfRange('name', NAMES, name);
  checkThere(sysfs, place);
  return reportDevice(sysfs, place, 'all');
}

/** `host.listDevices`. */
export function listDevices(seam: Seam, options: ListDevicesOptions = {}): DeviceReport[] {
  checkOptions(options, ['all']);
  const all = toBoolean(options.all, 'all', false);
  const sysfs = new Sysfs(seam);
  const places = all ? everyPlace(sysfs) : vfioPlaces(sysfs);
  // One that was unplugged meanwhile is left out.
  return places.filter(({ path }) => sysfs.has(path)).map((place) => reportDevice(sysfs, place, 'cheap'));
}

function everyPlace(sysfs: Sysfs): DevicePlace[] {
  const names = [...sysfs.names(PCI_DEVICES), ...sysfs.names(MEDIATED_DEVICES)];
  return names.flatMap((name) => placeOf(name) ?? []);
}

/** By VFIO's class: a server has hundreds of PCI devices, and few of them are VFIO's. */
function vfioPlaces(sysfs: Sysfs): DevicePlace[] {
  return sysfs.names(VFIO_DEVICES).flatMap((name) => placeOfEntry(sysfs, name) ?? []);
}

/** The device behind a node, by its device number. */
function placeOfNode(sysfs: Sysfs, path: string): DevicePlace {
  const name = entryOfNode(sysfs, path);
  const place = name === undefined ? undefined : placeOfEntry(sysfs, name);
  if (place === undefined) throw unavailable(`${path} is not the node of a VFIO device: see ls ${VFIO_DEVICES}`);
  return place;
}

/** Links that are followed before a path is taken for a loop, as the kernel does. */
const MOST_LINKS = 40;

function followLinks(sysfs: Sysfs, path: string): string {
  for (let left = MOST_LINKS; left > 0; left--) {
    const target = sysfs.link(path);
    if (target === undefined) return path;
    path = target.startsWith('/') ? target : `${path.slice(0, path.lastIndexOf('/'))}/${target}`;
  }
  return path;
}

/** The entry of VFIO's class that has the device number of the node: sysfs lists them by names of their own. */
function entryOfNode(sysfs: Sysfs, path: string): string | undefined {
  const status = sysfs.status(followLinks(sysfs, path));
  if (status?.kind !== 'character-device') return undefined;
  const number = `${status.major}:${status.minor}`;
  return sysfs.names(VFIO_DEVICES).find((name) => sysfs.text(`${VFIO_DEVICES}/${name}/dev`) === number);
}

/** Whether a node is that of a device without an IOMMU, whatever the node is called. */
export function isNoiommuNode(seam: Seam, path: string): boolean {
  return entryOfNode(new Sysfs(seam), path)?.startsWith('noiommu-') ?? false;
}
