// Finding a device's node by its PCI address, in sysfs, and what is missing where it is not there. The node is checked
// against the device number that sysfs tells: names are used again after an unplug.
import { UsageError } from '../host/errors.js';
import type { Seam } from '../host/seam.js';

const PCI_ADDRESS = /^(?:([0-9a-f]{4}):)?([0-9a-f]{2}:[0-9a-f]{2}\.[0-7])$/i;

function missing(message: string): UsageError {
  return new UsageError('ERR_IOMMUFD_UNAVAILABLE', message);
}

/** A PCI address as sysfs spells it ('0000:01:00.0'), from what people write ('01:00.0'); undefined for anything else. */
export function pciAddress(text: string): string | undefined {
  const [, domain = '0000', rest] = PCI_ADDRESS.exec(text) ?? [];
  return rest === undefined ? undefined : `${domain}:${rest}`.toLowerCase();
}

/** The path of the VFIO node of a PCI device; throws, with what would mend it, where there is none. */
export function findVfioNode(seam: Seam, address: string): string {
  const sysfs = `/sys/bus/pci/devices/${address}`;
  if (typeof seam.status(sysfs) === 'number') throw missing(`there is no PCI device ${address}: see lspci -D`);
  const driverLink = seam.readLink(`${sysfs}/driver`);
  const driver = typeof driverLink === 'string' ? driverLink.split('/').at(-1) : undefined;
  const names = seam.list(`${sysfs}/vfio-dev`);
  const name = typeof names === 'number' ? undefined : names.find((entry) => /^(noiommu-)?vfio\d+$/.test(entry));
  if (name === undefined) {
    throw missing(
      `${address} is driven by ${driver ?? 'no driver'}, not by a VFIO driver. Mend it as root:\n` +
        '  modprobe vfio-pci\n' +
        `  echo vfio-pci > ${sysfs}/driver_override\n` +
        (driver === undefined ? '' : `  echo ${address} > ${sysfs}/driver/unbind\n`) +
        `  echo ${address} > /sys/bus/pci/drivers_probe`,
    );
  }
  const number = seam.readText(`${sysfs}/vfio-dev/${name}/dev`);
  if (typeof number === 'number') {
    throw missing(`${address} has no device node: the kernel was built without CONFIG_VFIO_DEVICE_CDEV`);
  }
  const node = `/dev/vfio/devices/${name}`;
  const status = seam.status(node);
  if (typeof status === 'number' || status.kind !== 'character-device') {
    throw missing(
      `${address} is ready, but ${node} is not there: is udev running, is /dev/vfio mounted into this container?`,
    );
  }
  if (`${status.major}:${status.minor}` !== number.trim()) {
    throw missing(`${node} is another device (${status.major}:${status.minor}) than ${address} (${number.trim()})`);
  }
  return node;
}

/** Links that are followed before a path is taken for a loop, as the kernel does. */
const MOST_LINKS = 40;

function followLinks(seam: Seam, path: string): string {
  for (let left = MOST_LINKS; left > 0; left--) {
    const target = seam.readLink(path);
    if (typeof target === 'number') return path;
    path = target.startsWith('/') ? target : `${path.slice(0, path.lastIndexOf('/'))}/${target}`;
  }
  return path;
}

/**
 * Whether a node is that of a device without an IOMMU, whatever the node is called: sysfs lists those by their device
 * numbers, with names of their own.
 */
export function isNoiommuNode(seam: Seam, path: string): boolean {
  const status = seam.status(followLinks(seam, path));
  if (typeof status === 'number') return false;
  const names = seam.list('/sys/class/vfio-dev');
  if (typeof names === 'number') return false;
  return names.some((name) => {
    if (!name.startsWith('noiommu-')) return false;
    const number = seam.readText(`/sys/class/vfio-dev/${name}/dev`);
    return typeof number === 'string' && number.trim() === `${status.major}:${status.minor}`;
  });
}
