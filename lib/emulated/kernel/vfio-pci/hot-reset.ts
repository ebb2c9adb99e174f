// Resets of a whole bus: which functions that hits, who has them, and the reset itself (vfio_pci_core.c). A cdev's caller owns
// what is bound to its iommufd, and what shares a group with that.
import { ERRNO } from '../../../uapi/errno.js';
import { vfio_pci_devid, vfio_pci_hot_reset_flags } from '../../../uapi/vfio-constants.js';
import { vfio_pci_dependent_device, vfio_pci_hot_reset, vfio_pci_hot_reset_info } from '../../../uapi/vfio-structs.js';
import type { UserBuffer, VfioBinding } from '../vfio/driver.js';
import type { PciFunction } from './function.js';
import type { OpenFunction } from './open-function.js';
import type { VfioPci } from './vfio-pci.js';

const FLAGS = vfio_pci_hot_reset_flags.values;
const DEVID = vfio_pci_devid.values;
const INFO = vfio_pci_hot_reset_info;
const DEVICE = vfio_pci_dependent_device;

/** The functions that vfio-pci drives. */
export type VfioPciFunctions = ReadonlyMap<PciFunction, VfioPci>;

/** What a program's iommufd knows a function as: an id, or one of vfio_pci_devid. */
function devidOf(driver: VfioPci | undefined, { context }: VfioBinding): number {
  if (driver === undefined) return DEVID.VFIO_PCI_DEVID_NOT_OWNED;
  if (driver.open?.binding.context === context) return driver.open.binding.id;
  const sharesGroup = context.groups.has(driver.fn.dev.group);
  return sharesGroup ? DEVID.VFIO_PCI_DEVID_OWNED : DEVID.VFIO_PCI_DEVID_NOT_OWNED;
}

/** '0000:01:00.0' in numbers. */
function placeOf(address: string): { segment: number; bus: number; devfn: number } {
  const [segment = 0, bus = 0, slot = 0, fn = 0] = address.split(/[:.]/).map((part) => Number.parseInt(part, 16));
  return { segment, bus, devfn: (slot << 3) | fn };
}

export function hotResetInfo(open: OpenFunction, argument: UserBuffer): number {
  const bytes = new Uint8Array(INFO.end('count'));
  const view = new DataView(bytes.buffer);
  if (!argument.copyIn(0, bytes)) return -ERRNO.EFAULT;
  const argsz = view.getUint32(INFO.at.argsz, true);
  if (argsz < bytes.length) return -ERRNO.EINVAL;
  const { bus } = open.hardware.fn;
  if (!bus.resettable) return -ERRNO.ENODEV;
  const ids = bus.functions.map((fn) => devidOf(open.functions.get(fn), open.binding));
  let [flags, result] = [0, -ERRNO.ENOSPC];
  if (argsz - bytes.length >= ids.length * DEVICE.size) {
    if (!open.kernel.allocates()) return -ERRNO.ENOMEM;
    const devices = new Uint8Array(ids.length * DEVICE.size);
    bus.functions.forEach(({ address }, i) => {
      DEVICE.encode(new DataView(devices.buffer), i * DEVICE.size, { devid: ids[i], ...placeOf(address) });
    });
    if (!argument.copyOut(bytes.length, devices)) return -ERRNO.EFAULT;
    const owned = !ids.includes(DEVID.VFIO_PCI_DEVID_NOT_OWNED);
    flags = FLAGS.VFIO_PCI_HOT_RESET_FLAG_DEV_ID | (owned ? FLAGS.VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED : 0);
    result = 0;
  }
  view.setUint32(INFO.at.flags, flags, true);
  view.setUint32(INFO.at.count, ids.length, true);
  return argument.copyOut(0, bytes) ? result : -ERRNO.EFAULT;
}

export function hotReset(open: OpenFunction, argument: UserBuffer): number {
  const bytes = new Uint8Array(vfio_pci_hot_reset.end('count'));
  if (!argument.copyIn(0, bytes)) return -ERRNO.EFAULT;
  const { argsz, flags, count } = vfio_pci_hot_reset.decode(new DataView(bytes.buffer), 0);
  // Group files are proof for those who opened the device by its group.
  if (argsz < bytes.length || flags !== 0 || count !== 0) return -ERRNO.EINVAL;
  const { bus } = open.hardware.fn;
  if (!bus.resettable) return -ERRNO.ENODEV;
  const drivers = driversOn(bus.functions, open.functions);
  if (drivers === undefined) return -ERRNO.EINVAL;
  const revoked: VfioPci[] = [];
  let rc = 0;
  for (const driver of drivers) {
    if (devidOf(driver, open.binding) === DEVID.VFIO_PCI_DEVID_NOT_OWNED) {
      rc = -ERRNO.EINVAL;
      break;
    }
    driver.open?.dmaBufs.move(true);
    revoked.push(driver);
  }
  if (rc === 0) resetBus(drivers);
  for (const driver of revoked) if (driver.open?.config.memoryEnabled === true) driver.open.dmaBufs.move(false);
  return rc;
}

/** The drivers of all functions; undefined where vfio-pci does not have them all. */
function driversOn(functions: readonly PciFunction[], all: VfioPciFunctions): VfioPci[] | undefined {
  const drivers: VfioPci[] = [];
  for (const fn of functions) {
    const driver = all.get(fn);
    if (driver === undefined) return undefined;
    drivers.push(driver);
  }
  return drivers;
}

/** Every function is reset, and has its registers back afterwards. */
function resetBus(drivers: readonly VfioPci[]): void {
  for (const { hardware, fn, open } of drivers) {
    hardware.around(() => fn.busReset());
    open?.migration?.reset();
  }
}

/** A function was closed that could not be reset: its bus is, if that is possible and nobody has a function of it open. */
export function tryResetBus({ fn }: VfioPci, functions: VfioPciFunctions): void {
  if (!fn.bus.resettable) return;
  const drivers = driversOn(fn.bus.functions, functions);
  if (drivers === undefined || drivers.some(({ open }) => open !== undefined)) return;
  if (!drivers.some(({ needsReset }) => needsReset)) return;
  resetBus(drivers);
  for (const driver of drivers) driver.needsReset = false;
}
