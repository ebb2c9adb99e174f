// Live update, in the process that goes on: an iommufd with its devices.
import type { DmaMemory } from '../host/memory.js';
import { type AdoptRequest, adoptObjects, type Place } from '../objects/adopt.js';
import { Ioas } from '../objects/ioas.js';
import type { Iommufd } from '../objects/iommufd.js';
import type { KernelObject } from '../objects/kernel-object.js';
import { VfioDevice } from './device.js';

/** What `host.adoptIommufd` gives: all that the process before had on its iommufd. */
export interface AdoptedIommufd {
  readonly iommufd: Iommufd;
  /** In the order in which they were bound. */
  readonly devices: readonly VfioDevice[];
  /** In the order in which they were made. */
  readonly ioases: readonly Ioas[];
  /** Those that `handOver` was given, in its order, then what was mapped beside them. They are this process's to free. */
  readonly memories: readonly DmaMemory[];
  /** Everything by its id, which is what it was in the process before. */
  readonly objects: ReadonlyMap<number, KernelObject>;
}

/** `host.adoptIommufd`. */
export function adoptIommufd(place: Place, request: AdoptRequest): AdoptedIommufd {
  const devices: VfioDevice[] = [];
  const { iommufd, memories, objects } = adoptObjects(place, request, (fd, bound) => {
    const nic = VfioDevice.adopt(fd, bound);
    devices.push(nic);
    return nic.device;
  });
  const ioases = [...objects.values()].filter((object) => object instanceof Ioas);
  return { iommufd, devices, ioases, memories, objects };
}
