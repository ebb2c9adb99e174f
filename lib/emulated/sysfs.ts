// What a program finds of a device in sysfs and /dev: what it is, who drives it, what translates for it, and its node.
import type { ModelFunction } from './hardware/pci/function.js';
import { OpenFile } from './kernel/file.js';
import type { Filesystem } from './process/filesystem.js';

const PCI_DEVICES = '/sys/bus/pci/devices';
const MEDIATED_DEVICES = '/sys/bus/mdev/devices';
const VFIO_CLASS = '/sys/class/vfio-dev';
const GROUPS = '/sys/kernel/iommu_groups';
const NODES = '/dev/vfio/devices';

/** VFIO's device numbers here. */
const VFIO_MAJOR = 511;

/** Configuration space as sysfs shows it to root. */
class ConfigFile extends OpenFile {
  readonly #fn: ModelFunction;
  #position = 0;
  constructor(fn: ModelFunction) {
    super();
    this.#fn = fn;
  }
  override read(into: Uint8Array): number {
    const length = this.pread(into, this.#position);
    this.#position += length;
    return length;
  }
  override pread(into: Uint8Array, position: number): number {
    const length = Math.max(0, Math.min(into.length, this.#fn.configSize - position));
    for (let i = 0; i < length; i++) into[i] = this.#fn.readConfig(position + i, 1);
    return length;
  }
  protected override closed(): void {}
}

function hex(value: number, digits: number): string {
  return `0x${value.toString(16).padStart(digits, '0')}\n`;
}

/** A PCI device, whoever drives it. */
export function addPciDevice(filesystem: Filesystem, fn: ModelFunction, group: number | undefined): void {
  const { address } = fn;
  const folder = `${PCI_DEVICES}/${address}`;
  const word = (offset: number): string => hex(fn.readConfig(offset, 2), 4);
  filesystem.addText(`${folder}/vendor`, word(0x00));
  filesystem.addText(`${folder}/device`, word(0x02));
  filesystem.addText(`${folder}/class`, hex(fn.readConfig(0x08, 4) >>> 8, 6));
  filesystem.addText(`${folder}/revision`, hex(fn.readConfig(0x08, 1), 2));
  filesystem.addText(`${folder}/subsystem_vendor`, word(0x2c));
  filesystem.addText(`${folder}/subsystem_device`, word(0x2e));
  filesystem.addText(`${folder}/numa_node`, '-1\n');
  filesystem.addFile(`${folder}/config`, { size: fn.configSize, open: () => new ConfigFile(fn) });
  if (group === undefined) return;
  const { name } = fn.dev.iommu;
  filesystem.addLink(`${folder}/iommu_group`, `../../../kernel/iommu_groups/${group}`);
  filesystem.addLink(`${folder}/iommu`, `../../../class/iommu/${name}`);
  filesystem.addText(`${GROUPS}/${group}/type`, 'DMA\n');
  filesystem.addLink(`${GROUPS}/${group}/devices/${address}`, `../../../../bus/pci/devices/${address}`);
  filesystem.addLink(`/sys/class/iommu/${name}/devices/${address}`, `../../../../bus/pci/devices/${address}`);
}

/** A mediated device, whose parent is of no bus. */
export function addMediatedDevice(filesystem: Filesystem, uuid: string, type: string): void {
  filesystem.addLink(`${MEDIATED_DEVICES}/${uuid}/mdev_type`, `../mdev_supported_types/${type}`);
}

/** A device that a VFIO driver has: how to find its node, and the node. */
export interface VfioEntry {
  /** A PCI address or a UUID. */
  readonly device: string;
  /** 'vfio0', or 'noiommu-vfio0'. */
  readonly name: string;
  /** False for a device without an IOMMU, before Linux 7.3. */
  readonly hasNode: boolean;
  readonly minor: number;
  readonly bus: 'pci' | 'mdev';
  /** The driver's name. */
  readonly driver: string;
  open(): OpenFile | number;
}

function folderOf({ bus, device }: VfioEntry): string {
  return `${bus === 'pci' ? PCI_DEVICES : MEDIATED_DEVICES}/${device}`;
}

/** The driver takes the device. */
export function addVfioEntry(filesystem: Filesystem, entry: VfioEntry): void {
  const { device, name, minor, bus, driver } = entry;
  const folder = folderOf(entry);
  const number = `${VFIO_MAJOR}:${minor}\n`;
  filesystem.addLink(`${folder}/driver`, `../../../bus/${bus}/drivers/${driver}`);
  if (entry.hasNode) {
    filesystem.addText(`${folder}/vfio-dev/${name}/dev`, number);
    filesystem.addText(`${VFIO_CLASS}/${name}/dev`, number);
    filesystem.addNode(`${NODES}/${name}`, { major: VFIO_MAJOR, minor, open: () => entry.open() });
  } else {
    filesystem.addLink(`${folder}/vfio-dev/${name}/device`, `../../../${device}`);
    filesystem.addLink(`${folder}/iommu_group`, `../../../kernel/iommu_groups/${minor}`);
    filesystem.addText(`${GROUPS}/${minor}/name`, 'vfio-noiommu\n');
  }
  filesystem.addLink(`${VFIO_CLASS}/${name}/device`, `../../../${device}`);
  filesystem.addLink(`/sys/bus/${bus}/drivers/${driver}/${device}`, `../../../../bus/${bus}/devices/${device}`);
}

/** The driver loses it: nobody opens it any more. What is open stays so. */
export function removeVfioEntry(filesystem: Filesystem, entry: VfioEntry): void {
  const { device, name, bus, driver } = entry;
  const folder = folderOf(entry);
  for (const path of [
    ...[`${NODES}/${name}`, `${VFIO_CLASS}/${name}`, `${folder}/vfio-dev`, `${folder}/driver`],
    `/sys/bus/${bus}/drivers/${driver}/${device}`,
  ]) {
    filesystem.remove(path);
  }
}
