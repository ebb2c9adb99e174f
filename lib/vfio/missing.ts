// What is missing before a device can be used, and the commands that mend it.
import { IommufdError } from '../host/errors.js';
import { isOlder } from '../uapi/releases.js';
import { type DeviceFacts, nodePath, PCI_DEVICES } from './device-facts.js';
import type { Sysfs } from './sysfs.js';

export interface MissingThing {
  /**
   * `iommu`: nothing translates its DMA; `module`: vfio-pci is not loaded; `driver`: another driver has the device, or
   * none; `cdev`: the kernel makes no nodes for VFIO devices; `node`: there is none where it should be; `wrong-node`: that
   * one is another device's; `permission`: this process may not open it; `group`: a device of its group is in use by the
   * host.
   */
  readonly what: 'iommu' | 'module' | 'driver' | 'cdev' | 'node' | 'wrong-node' | 'permission' | 'group';
  readonly message: string;
  /** Commands for root's shell, or what to do where no command mends it. */
  readonly mend: string;
}

const O_RDWR = 2;
const EACCES = -13;
const EPERM = -1;
const ENOENT = -2;
const ENODEV = -19;
const ENXIO = -6;

/**
 * Drivers that leave the DMA of their device to whoever owns the group, beside VFIO's own (driver_managed_dma in
 * drivers/pci/pcie/portdrv.c and drivers/pci/pci-stub.c).
 */
const HARMLESS_DRIVERS: readonly string[] = ['pcieport', 'pci-stub'];

/** All that is missing, in the order to mend it. */
export function whatIsMissing(sysfs: Sysfs, facts: DeviceFacts): MissingThing[] {
  const way = facts.cdevName === undefined ? noVfioDriver(sysfs, facts) : noNode(sysfs, facts);
  return [...noIommu(facts), ...way, ...busyGroup(sysfs, facts)];
}

/** VFIO takes a device without an IOMMU only in its noiommu mode, and tells by the node's name. */
function noIommu({ place, group, cdevName, noiommu }: DeviceFacts): MissingThing[] {
  const isMissing = noiommu || (place.kind === 'pci' && cdevName === undefined && group === undefined);
  if (!isMissing) return [];
  const mend =
    'turn the IOMMU on in the firmware (VT-d, AMD-Vi, SMMU); for Intel add intel_iommu=on to the kernel command line; reboot';
  return [{ what: 'iommu', message: `${place.address} has no IOMMU: its DMA would reach all of memory`, mend }];
}

/** PCI to PCI bridges have no header of a device (drivers/vfio/pci/vfio_pci_core.c): by their class, 06:04 and 06:09. */
function isBridge(sysfs: Sysfs, { kind, path }: DeviceFacts['place']): boolean {
  const code = kind === 'pci' ? sysfs.number(`${path}/class`) : undefined;
  return code !== undefined && (code >>> 8 === 0x0604 || code >>> 8 === 0x0609);
}

function noVfioDriver(sysfs: Sysfs, { place, driver }: DeviceFacts): MissingThing[] {
  const { address, path } = place;
  const message =
    driver === undefined ? `${address} has no driver` : `${address} is driven by ${driver}, not by a VFIO driver`;
  if (isBridge(sysfs, place)) {
    return [
      {
        what: 'driver',
        message: `${address} is a PCI bridge, which VFIO does not take`,
        mend: 'take a device behind it',
      },
    ];
  }
  if (place.kind !== 'pci') {
    return [{ what: 'driver', message, mend: `echo ${address} > /sys/bus/mdev/drivers_probe` }];
  }
  const steps = [
    `echo vfio-pci > ${path}/driver_override`,
    ...(driver === undefined ? [] : [`echo ${address} > ${path}/driver/unbind`]),
    `echo ${address} > /sys/bus/pci/drivers_probe`,
  ];
  const wrongDriver: MissingThing = { what: 'driver', message, mend: steps.join('\n') };
  if (sysfs.has('/sys/bus/pci/drivers/vfio-pci')) return [wrongDriver];
  return [{ what: 'module', message: 'vfio-pci is not loaded', mend: 'modprobe vfio-pci' }, wrongDriver];
}

/** Drivers of VFIO have the device, and the kernel gives it no node. */
function noCdev({ seam }: Sysfs, { place, noiommu }: DeviceFacts): MissingThing {
  const since = noiommu ? '7.3' : '6.6';
  const mend = `boot a kernel of Linux ${since} or later with CONFIG_VFIO_DEVICE_CDEV=y`;
  const kind = noiommu ? 'VFIO devices without an IOMMU' : 'VFIO devices';
  const why = isOlder(seam.release, since)
    ? `nodes of ${kind} came with Linux ${since}, this is Linux ${seam.release}`
    : 'the kernel was built without CONFIG_VFIO_DEVICE_CDEV';
  return { what: 'cdev', message: `${place.address} has no device node: ${why}`, mend };
}

function noNode(sysfs: Sysfs, facts: DeviceFacts): MissingThing[] {
  const { place, cdevName, number, found } = facts;
  if (cdevName === undefined) return [];
  const path = nodePath(cdevName);
  if (number === undefined) return [noCdev(sysfs, facts)];
  const makeNode = `mkdir -p /dev/vfio/devices\nmknod ${path} c ${number.replace(':', ' ')}`;
  if (found === undefined) {
    const message = `${place.address} is ready, but ${path} is not there: is udev running, is /dev/vfio mounted into this container?`;
    return [{ what: 'node', message, mend: makeNode }];
  }
  if (found !== number) {
    const message = `${path} is another device (${found}) than ${place.address} (${number})`;
    return [{ what: 'wrong-node', message, mend: `rm ${path}\n${makeNode}` }];
  }
  return facts.noiommu ? [] : noPermission(sysfs, path);
}

/**
 * Opening tells, and nothing else does: access lists and the device rules of containers have their say beside the mode.
 * It changes nothing, and disturbs nobody: until it is bound, a device can be open any number of times
 * (drivers/vfio/device_cdev.c).
 */
function noPermission({ seam }: Sysfs, path: string): MissingThing[] {
  const fd = seam.open(path, O_RDWR);
  if (fd >= 0) {
    seam.close(fd);
    return [];
  }
  switch (fd) {
    case EACCES:
      return [
        {
          what: 'permission',
          message: `this process may not open ${path}`,
          mend: `chown USER ${path} # USER: whom this program runs as; udev loses it again at the next boot`,
        },
      ];
    case EPERM:
      return [
        {
          what: 'permission',
          message: `this process may not open ${path}, by the device rules of its container`,
          mend: `start the container with --device ${path}, or add the device to its cgroup's rules`,
        },
      ];
    case ENOENT:
    case ENODEV:
    case ENXIO:
      return [
        { what: 'node', message: `${path} is there, but no device behind it: it is going away`, mend: 'try again' },
      ];
    default:
      throw new IommufdError('open', fd, { path });
  }
}

/** The IOMMU cannot keep devices of one group apart: the kernel refuses to bind while the host uses another of them. */
function busyGroup(sysfs: Sysfs, { place, group, members }: DeviceFacts): MissingThing[] {
  return members.flatMap((member): MissingThing[] => {
    const path = `${PCI_DEVICES}/${member}`;
    if (member === place.address || sysfs.names(`${path}/vfio-dev`).length > 0) return [];
    const driver = sysfs.linkName(`${path}/driver`);
    if (driver === undefined || HARMLESS_DRIVERS.includes(driver)) return [];
    return [
      {
        what: 'group',
        message: `${member} is in the same IOMMU group (${group}), and ${driver} drives it`,
        mend: `echo ${member} > ${path}/driver/unbind`,
      },
    ];
  });
}
