// Devices whose file somebody else opened: a launcher with the privilege to, or the process before a live update.
import { checkOptions, oneOf, toFd } from '../host/arguments.js';
import { IommufdError } from '../host/errors.js';
import { checkMade } from '../host/made.js';
import type { Seam } from '../host/seam.js';
import { defaultHost, Host, hostSeam } from '../host-object.js';
import { refusal, tryCall } from '../objects/call.js';
import * as uapi from '../uapi/vfio.js';
import { DeviceCore } from './core.js';

export type FdOwnership = 'owned' | 'borrowed';

export interface DeviceFdOptions {
  /** The host it belongs to; `openHost()` if left out. */
  readonly host?: Host;
  /** `owned` (default): closed with the object. `borrowed`: it stays open, and whoever gave it closes it. */
  readonly ownership?: FdOwnership;
}

const BIND = uapi.VFIO_DEVICE_BIND_IOMMUFD;
const INFO = uapi.VFIO_DEVICE_GET_INFO;
const EINVAL = -22;
const ENOTTY = -25;

/** The core of a device by its fd; throws, with the fd as it was, where it is not one of a VFIO device. */
export function coreOfFd(fd: number, options: DeviceFdOptions, name?: string): DeviceCore {
  checkOptions(options, ['host', 'ownership']);
  const { host = defaultHost(), ownership = 'owned' } = { ...options };
  checkMade(host, Host, 'host', 'a Host');
  const number = toFd(fd, 'fd');
  const owned = oneOf(ownership, ['owned', 'borrowed'], 'ownership') === 'owned';
  const seam = hostSeam(host);
  const refused = probeVfio(seam, number);
  if (refused < 0) throw new IommufdError(BIND.name, refused, { fd }, 'is it the fd of a VFIO device?', seam.release);
  const rc = owned ? seam.own(number) : 0;
  if (rc < 0) throw new IommufdError('fcntl', rc, { fd });
  return new DeviceCore(seam, number, name ?? `fd ${number}`, owned);
}

/**
 * Whether a file is that of a VFIO device: 0 or -errno. A struct too short to bind with is refused with EINVAL before
 * anything is looked at (drivers/vfio/device_cdev.c), bound or not; another file does not know the call.
 */
export function probeVfio(seam: Seam, fd: number): number {
  const { arena } = seam;
  const mark = arena.mark();
  const at = arena.take(BIND.layout.size);
  BIND.layout.encode(arena.view, at, { argsz: 4 });
  const result = seam.ioctl(fd, BIND.request, at);
  arena.release(mark);
  if (result === EINVAL) return 0;
  return result >= 0 ? ENOTTY : result;
}

/** Throws unless the device is bound: until then it answers no question about itself. */
export function checkBound(core: DeviceCore): void {
  const { result } = tryCall({ seam: core.seam, fd: core.fd }, INFO, {});
  if (result >= 0) return;
  throw refusal(core, INFO, result, {}, `${core.name} is not bound to an iommufd: take VfioDevice.fromFd, and bind it`);
}
