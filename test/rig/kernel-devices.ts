// The devices of a machine with a real kernel, as test/vm/hardware.ts plugs them: found in sysfs by what they are.
import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, readlinkSync, realpathSync } from 'node:fs';
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

const FIND: Readonly<Record<Role, () => string | undefined>> = {
  edu: () => pciDevices(EDU).find(onRootBus),
  nvme: () => pciDevices(NVME).filter(hasNot('sriov_numvfs')).find(hasNot('physfn')),
  pair0: () => pciDevices(EDU).filter(behindPort)[0],
  pair1: () => pciDevices(EDU).filter(behindPort)[1],
  serial: () => mediatedDevices('mtty-2')[0],
  serial1: () => mediatedDevices('mtty-2')[1],
  test: () => undefined,
  sriov: () => pciDevices(NVME).find(has('sriov_numvfs')),
  vf: () => pciDevices(NVME).find(has('physfn')),
  display: () => mediatedDevices('mdpy-vga')[0],
  'display-dmabuf': () => mediatedDevices('mbochs-small')[0],
};

/** The PCI address of the device for a role, or its UUID where it is a mediated one. */
export function findDevice(role: Role): string | undefined {
  return FIND[role]();
}

/** How devices that were requested back come again: a file to write to, and what. */
const returns = new Map<Role, readonly [file: string, text: string]>();

/** Writes to a file of sysfs in another process: while the device is open here, it does not return. */
async function tell(file: string, text: string): Promise<void> {
  await promisify(execFile)('sh', ['-c', 'echo "$1" > "$2"', 'sh', text, file]);
}

/** Takes a device from its driver, which waits until its user lets it go: unbinds it, or removes it where it is mediated. */
export async function requestBack(role: Role): Promise<void> {
  const name = findDevice(role);
  if (name === undefined) throw new Error(`this machine has no ${role}`);
  const mediated = path.join(MEDIATED, name);
  if (existsSync(mediated)) {
    returns.set(role, [path.join(realpathSync(path.join(mediated, 'mdev_type')), 'create'), name]);
    await tell(path.join(mediated, 'remove'), '1');
  } else {
    returns.set(role, [path.join(PCI_DRIVER, 'bind'), name]);
    await tell(path.join(PCI_DRIVER, 'unbind'), name);
  }
}

/** Gives it back. */
export async function giveBack(role: Role): Promise<void> {
  const how = returns.get(role);
  if (how === undefined) throw new Error(`${role} was not requested back`);
  returns.delete(role);
  await tell(...how);
}
