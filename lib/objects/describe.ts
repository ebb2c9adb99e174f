// Each kind of object as what another process makes it from again.
import { UsageError } from '../host/errors.js';
import { Device, deviceBehind } from './device.js';
import { FaultQueue, faultReader } from './fault-queue.js';
import { hex, type MappingState, type ObjectState } from './handover-state.js';
import { HwQueue } from './hw-queue.js';
import { HwptNested } from './hwpt-nested.js';
import { HwptPaging } from './hwpt-paging.js';
import { Ioas, mappingsOf } from './ioas.js';
import { idOf, type KernelObject } from './kernel-object.js';
import { Vdevice } from './vdevice.js';
import { Veventq, veventqBehind } from './veventq.js';
import { Viommu, viommuRegion } from './viommu.js';

/** Takes an fd along; answers its place. */
interface Fds {
  add(fd: number): number;
}

/** The object's state; its fds go into the list. `mappings` tells what an address space maps. */
export function describeObject(
  object: KernelObject,
  fds: Fds,
  mappings: (ioas: Ioas) => readonly MappingState[],
): ObjectState {
  const id = idOf(object);
  if (object instanceof Ioas) {
    return { type: 'ioas', id, complete: mappingsOf(object).complete, mappings: mappings(object) };
  }
  if (object instanceof Device) return describeDevice(object, id, fds);
  if (object instanceof HwptPaging) {
    const { auto, nestParent } = object;
    return { type: 'hwpt-paging', id, ioas: idOf(object.ioas), auto, nestParent, faultQueue: faultQueueOf(object) };
  }
  if (object instanceof HwptNested) {
    return { type: 'hwpt-nested', id, parent: idOf(object.parent), faultQueue: faultQueueOf(object) };
  }
  if (object instanceof FaultQueue) return { type: 'fault-queue', id, fd: fds.add(faultReader(object).fd) };
  if (object instanceof Viommu) return describeViommu(object, id);
  if (object instanceof Vdevice) {
    const { viommu, device, virtId } = object;
    return { type: 'vdevice', id, viommu: idOf(viommu), device: idOf(device), virtId: hex(virtId) };
  }
  if (object instanceof Veventq) {
    const { reader, ...kept } = veventqBehind(object);
    return { type: 'veventq', id, viommu: idOf(object.viommu), fd: fds.add(reader.fd), depth: object.depth, ...kept };
  }
  if (object instanceof HwQueue) {
    const { viommu, typeNumber: kind, index, iova, length } = object;
    return { type: 'hw-queue', id, viommu: idOf(viommu), kind, index, iova: hex(iova), length: hex(length) };
  }
  throw new UsageError('ERR_IOMMUFD_UNAVAILABLE', `${object.describe()} cannot be handed over`);
}

function describeDevice(device: Device, id: number, fds: Fds): ObjectState {
  const { file, attachments } = deviceBehind(device);
  return {
    type: 'device',
    id,
    name: file?.name ?? device.describe(),
    fd: file === undefined ? null : fds.add(file.fd),
    attachments: attachments.map(({ pageTable, pasid }) => ({ pasid: pasid ?? null, to: idOf(pageTable) })),
  };
}

function describeViommu(viommu: Viommu, id: number): ObjectState {
  const region = viommuRegion(viommu);
  return {
    type: 'viommu',
    id,
    hwpt: idOf(viommu.hwpt),
    kind: viommu.typeNumber,
    data: [...viommu.data],
    mmap: region === undefined ? null : { offset: hex(region.offset), length: hex(region.length) },
  };
}

function faultQueueOf(object: KernelObject): number | null {
  const queue = object.parents.find((parent) => parent instanceof FaultQueue);
  return queue === undefined ? null : idOf(queue);
}

/** Why an object cannot be handed over as it is: nothing, or what to do. */
export function eventsLeft(object: KernelObject): string[] {
  if (object instanceof Device) return deviceInTheWay(object);
  const reader =
    object instanceof FaultQueue
      ? faultReader(object)
      : object instanceof Veventq
        ? veventqBehind(object).reader
        : undefined;
  if (reader === undefined) return [];
  if (reader.iterating) return [`${object.describe()} is being read: end that first`];
  return reader.waiting > 0
    ? [`${object.describe()} has ${reader.waiting} event(s) that were read: drain() first`]
    : [];
}

function deviceInTheWay(device: Device): string[] {
  const { bound, file } = deviceBehind(device);
  if (bound === 'elsewhere') return [];
  if (file === undefined) return [`${device.describe()} is bound in a way that leaves no file`];
  return file.owned ? [] : [`the fd of ${device.describe()} is borrowed: whoever owns it hands the device over`];
}
