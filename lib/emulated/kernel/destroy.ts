// IOMMU_DESTROY (iommufd/main.c).
import { ERRNO } from '../../uapi/errno.js';
import { iommu_destroy } from '../../uapi/iommufd-structs.js';
import type { Command } from './command.js';

const AT = iommu_destroy.at;

export function destroy(command: Command): number {
  const { objects } = command.context;
  const object = objects.find(command.get(AT.id));
  if (object === undefined) return -ERRNO.ENOENT;
  return objects.remove(object) ? 0 : -ERRNO.EBUSY;
}
