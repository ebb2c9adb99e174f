// IOMMU_VFIO_IOAS: which IOAS VFIO's old calls work on (iommufd/vfio_compat.c).
import { ERRNO } from '../../uapi/errno.js';
import { iommufd_vfio_ioas_op } from '../../uapi/iommufd-constants.js';
import { iommu_vfio_ioas } from '../../uapi/iommufd-structs.js';
import type { Command } from './command.js';
import { Ioas } from './ioas.js';

const AT = iommu_vfio_ioas.at;
const OPS = iommufd_vfio_ioas_op.values;

export function vfioIoas(command: Command): number {
  const { context } = command;
  if (command.u16(AT.__reserved) !== 0) return -ERRNO.EOPNOTSUPP;
  switch (command.u16(AT.op)) {
    case OPS.IOMMU_VFIO_IOAS_GET: {
      if (context.vfioIoas === undefined) return -ERRNO.ENODEV;
      command.set(AT.ioas_id, context.vfioIoas.id);
      return command.respond(iommu_vfio_ioas.size);
    }
    case OPS.IOMMU_VFIO_IOAS_SET: {
      const ioas = context.objects.get(command.get(AT.ioas_id), Ioas);
      if (ioas === undefined) return -ERRNO.ENOENT;
      context.vfioIoas = ioas;
      return 0;
    }
    case OPS.IOMMU_VFIO_IOAS_CLEAR:
      context.vfioIoas = undefined;
      return 0;
    default:
      return -ERRNO.EOPNOTSUPP;
  }
}
