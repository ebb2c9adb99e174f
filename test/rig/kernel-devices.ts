// The devices of a machine with a real kernel, as test/vm/hardware.ts plugs them: found in sysfs by what they are.
import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import type { Role } from './vfio-rig.js';

const PCI = '/sys/bus/pci/devices';
const MEDIATED = '/sys/bus/mdev/devices';
const PCI_DRIVER = '/sys/bus/pci/drivers/vfio-pci';

const EDU = '0x1234:0x11e8';
const NVME = '0x1b36:0x0010';

function names(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder).sort() : [];
}

/** The addresses of the PCI devices of a kind that vfio-pci drives. */
function pciDevices(kind: string): string[] {
  const text = (address: string, file: string) => readFileSync(path.join(PCI, address, file), 'utf8').trim();
  return names(PCI_DRIVER).filter(
    (address) =>
      existsSync(path.join(PCI, address)) && `${text(address, 'vendor')}:${text(address, 'device')}` === kind,
  );
}

/** Devices on the root bus, or behind a port. */
const onRootBus = (address: string) => address.startsWith('0000:00:');
const behindPort = (address: string) => !onRootBus(address);
const has = (file: string) => (address: string) => existsSync(path.join(PCI, address, file));
const hasNot = (file: string) => (address: string) => !has(file)(address);

/** The UUIDs of the mediated devices of a type. */
function mediatedDevices(type: string): string[] {
  const typeOf = (uuid: string) => path.basename(readlinkSync(path.join(MEDIATED, uuid, 'mdev_type')));
  return names(MEDIATED).filter((uuid) => typeOf(uuid) === type);
}

/** A mediated device's node: it has no PCI address. */
function nodeOf(uuid: string | undefined): string | undefined {
  const name = uuid === undefined ? undefined : names(path.join(MEDIATED, uuid, 'vfio-dev'))[0];
  return name === undefined ? undefined : path.join('/dev/vfio/devices', name);
}

const FIND: Readonly<Record<Role, () => string | undefined>> = {
  edu: () => pciDevices(EDU).find(onRootBus),
  nvme: () => pciDevices(NVME).filter(hasNot('sriov_numvfs')).find(hasNot('physfn')),
  pair0: () => pciDevices(EDU).filter(behindPort)[0],
  pair1: () => pciDevices(EDU).filter(behindPort)[1],
  serial: () => nodeOf(mediatedDevices('mtty-2')[0]),
  serial1: () => nodeOf(mediatedDevices('mtty-2')[1]),
  test: () => undefined,
  sriov: () => pciDevices(NVME).find(has('sriov_numvfs')),
  vf: () => pciDevices(NVME).find(has('physfn')),
  display: () => nodeOf(mediatedDevices('mdpy-vga')[0]),
  'display-dmabuf': () => nodeOf(mediatedDevices('mbochs-small')[0]),
};

/** The PCI address of the device for a role, or the path of its node where it is no PCI device. */
export function findDevice(role: Role): string | undefined {
  return FIND[role]();
}

/** Devices that were requested back: sysfs does not tell any more what they are. */
const taken = new Map<Role, string>();

/** Writes to a file of sysfs in another process: while the device is open here, it does not return. */
async function tell(file: string, text: string): Promise<void> {
  await promisify(execFile)('sh', ['-c', 'echo "$1" > "$2"', 'sh', text, file]);
}

/** Unbinds a PCI device from vfio-pci, which waits until its user lets it go. */
export async function requestBack(role: Role): Promise<void> {
  const address = findDevice(role);
  if (address === undefined || address.startsWith('/')) throw new Error(`${role} is no PCI device of this machine`);
  taken.set(role, address);
  await tell(path.join(PCI_DRIVER, 'unbind'), address);
}

/** Binds it again. */
export async function giveBack(role: Role): Promise<void> {
  const address = taken.get(role);
  if (address === undefined) throw new Error(`${role} was not requested back`);
  taken.delete(role);
  await tell(path.join(PCI_DRIVER, 'bind'), address);
}
