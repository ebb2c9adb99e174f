// Opening the node of a VFIO device.
import { IommufdError, invalidType, UsageError } from '../host/errors.js';
import type { Seam } from '../host/seam.js';
import { probeVfio } from './adopt.js';
import { DeviceCore } from './core.js';
import { VfioDevice } from './device.js';
import { findVfioNode, isNoiommuNode } from './discovery.js';

const O_RDWR = 2;

/** Whether a device whose DMA nothing translates will do. */
export type IommuNeed = 'iommu' | 'unsafe-without';

/** `host.openDevice` and `host.unsafeOpenDevice`. */
export function openVfioDevice(seam: Seam, address: string, need: IommuNeed): VfioDevice {
  if (typeof address !== 'string') throw invalidType('address', 'a PCI address, a UUID or the path of a node', address);
  const path = address.startsWith('/') ? address : findVfioNode(seam, address);
  if (need === 'iommu' && isNoiommuNode(seam, path)) {
    throw new UsageError(
      'ERR_IOMMUFD_UNAVAILABLE',
      `${address} has no IOMMU: its DMA reaches all of memory. host.unsafeOpenDevice opens it all the same`,
    );
  }
  const fd = seam.open(path, O_RDWR);
  if (fd < 0) throw new IommufdError('open', fd, { path });
  const refused = probeVfio(seam, fd);
  if (refused < 0) {
    seam.close(fd);
    throw new IommufdError(
      'VFIO_DEVICE_BIND_IOMMUFD',
      refused,
      { path },
      'is it the node of a VFIO device?',
      seam.release,
    );
  }
  return new VfioDevice(new DeviceCore(seam, fd, address, true));
}
