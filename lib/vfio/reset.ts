// Resets: of the device alone, and of the bus or slot that it shares with others, which all of them go through
// (drivers/vfio/pci/vfio_pci_core.c).
import { refusal, tryCall, tryCallAsync } from '../objects/call.js';
import { Device } from '../objects/device.js';
import { context, idOf, whileUsed } from '../objects/kernel-object.js';
import * as uapi from '../uapi/vfio.js';
import type { DeviceCore } from './core.js';
import { readDeviceInfo } from './info.js';
import { tryTailCall } from './tail-call.js';

const {
  VFIO_DEVICE_RESET: RESET,
  VFIO_DEVICE_GET_PCI_HOT_RESET_INFO: GET_INFO,
  VFIO_DEVICE_PCI_HOT_RESET: HOT_RESET,
} = uapi;
const { VFIO_PCI_DEVID_OWNED: OWNED, VFIO_PCI_DEVID_NOT_OWNED: NOT_OWNED } = uapi.vfio_pci_devid.values;
const FLAGS = uapi.vfio_pci_hot_reset_flags.values;
const ENTRY = uapi.vfio_pci_dependent_device;

const EINVAL = -22;
const ENODEV = -19;
const ENOSPC = -28;
/** Room for what one slot usually has; the kernel tells where it is too little. */
const USUAL_DEVICES = 16;
/** A bus below a bridge, with some more below it. */
const MOST_DEVICES = 4096;

/** A device that goes through a hot reset. */
export interface HotResetDevice {
  /** Its PCI address: '0000:01:00.0'. */
  readonly address: string;
  /** Its id in the iommufd of the device asked, where it is bound there. */
  readonly id?: number;
  /** Whether that iommufd has it, or its IOMMU group. If not, it prevents the reset. */
  readonly owned: boolean;
}

export interface HotResetInfo {
  /** Whether `hotReset` can be done now. */
  readonly possible: boolean;
  /** All devices that it would reset, the one asked among them. */
  readonly devices: readonly HotResetDevice[];
  /** The addresses of those that prevent it: bind them to the same iommufd. */
  readonly blockers: readonly string[];
}

const cores = new WeakMap<Device, DeviceCore>();

/** Notes which file a bound device is reached by: a reset of its bus takes away the memory of others too. */
export function rememberCore(device: Device, core: DeviceCore): void {
  cores.set(device, core);
}

/** `nic.reset`. */
export function resetDevice(core: DeviceCore): void {
  const { result } = tryCall(core, RESET, {});
  // EINVAL is the answer before anything is touched. Whatever goes wrong later, the memory has been taken away by then.
  if (result !== EINVAL) core.memoryLost('reset');
  if (result < 0) throw refusal(core, RESET, result, {}, core.name);
}

/** `nic.resetAsync`. */
export async function resetDeviceAsync(core: DeviceCore, device: Device): Promise<void> {
  core.check();
  // Before it begins: an access to mapped registers would wait for its end.
  if (readDeviceInfo(core).canReset) core.memoryLost('reset');
  const ask = () => tryCallAsync(core, RESET, {});
  const { result } = await context(device).track(() => whileUsed([device], ask));
  // What was mapped meanwhile.
  if (result !== EINVAL) core.memoryLost('reset');
  if (result < 0) throw refusal(core, RESET, result, {}, core.name);
}

/** `nic.hotResetInfo`. */
export function readHotResetInfo(core: DeviceCore): HotResetInfo {
  let room = USUAL_DEVICES;
  for (;;) {
    const tail = new Uint8Array(room * ENTRY.size);
    const { result, out } = tryTailCall(core, GET_INFO, {}, tail);
    if (result >= 0) return decodeInfo(out.flags, tail.subarray(0, Math.min(out.count, room) * ENTRY.size));
    const more = result === ENOSPC && out.count > room && out.count <= MOST_DEVICES;
    if (!more) throw refusal(core, GET_INFO, result, { count: out.count }, core.name);
    room = out.count;
  }
}

function decodeInfo(flags: number, tail: Uint8Array): HotResetInfo {
  const view = new DataView(tail.buffer, tail.byteOffset, tail.length);
  // Without the flag the numbers are those of IOMMU groups: the file is a group's, which bind does not give.
  const byDevice = (flags & FLAGS.VFIO_PCI_HOT_RESET_FLAG_DEV_ID) !== 0;
  const devices = Array.from({ length: tail.length / ENTRY.size }, (_, i) => decodeDevice(view, i, byDevice));
  return {
    possible: byDevice && (flags & FLAGS.VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED) !== 0,
    devices,
    blockers: devices.filter(({ owned }) => !owned).map(({ address }) => address),
  };
}

function decodeDevice(view: DataView, i: number, byDevice: boolean): HotResetDevice {
  const { devid, segment, bus, devfn } = ENTRY.decode(view, i * ENTRY.size);
  const address = `${hex(segment, 4)}:${hex(bus, 2)}:${hex(devfn >> 3, 2)}.${devfn & 7}`;
  const owned = byDevice && devid !== NOT_OWNED;
  return owned && devid !== OWNED ? { address, id: devid, owned } : { address, owned };
}

function hex(value: number, digits: number): string {
  return value.toString(16).padStart(digits, '0');
}

/** `nic.hotReset`. */
export function hotReset(core: DeviceCore, device: Device): void {
  const info = readHotResetInfo(core);
  // The kernel would refuse, but only after it has revoked the dma-bufs of the devices that it came by first.
  if (!info.possible) throw refusal(core, HOT_RESET, EINVAL, { count: 0 }, blocked(core, info));
  const { result } = tryCall(core, HOT_RESET, { count: 0 });
  if (result !== ENODEV) for (const hit of hitBy(info, device, core)) hit.memoryLost('reset');
  if (result < 0) throw refusal(core, HOT_RESET, result, { count: 0 }, core.name);
}

function blocked(core: DeviceCore, { blockers }: HotResetInfo): string {
  return (
    `${core.name} shares its reset with ${blockers.join(', ')}, not owned by its iommufd: bind that to the same iommufd, ` +
    'or close it where it is open elsewhere'
  );
}

/** The devices of this process that went through it. */
function hitBy({ devices }: HotResetInfo, device: Device, core: DeviceCore): Set<DeviceCore> {
  const ids = new Set(devices.map(({ id }) => id));
  const hit = new Set([core]);
  for (const object of context(device).objects) {
    if (!(object instanceof Device) || !ids.has(idOf(object))) continue;
    const other = cores.get(object);
    if (other !== undefined) hit.add(other);
  }
  return hit;
}
