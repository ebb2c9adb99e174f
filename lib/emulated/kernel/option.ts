// IOMMU_OPTION (iommufd/main.c, ioas.c).
import { ERRNO } from '../../uapi/errno.js';
import { iommufd_option, iommufd_option_ops } from '../../uapi/iommufd-constants.js';
import { iommu_option } from '../../uapi/iommufd-structs.js';
import type { Command } from './command.js';
import { Ioas } from './ioas.js';

const AT = iommu_option.at;
const OPTIONS = iommufd_option.values;
const OPS = iommufd_option_ops.values;

export function option(command: Command): number {
  if (command.u16(AT.__reserved) !== 0) return -ERRNO.EOPNOTSUPP;
  const id = command.get(AT.option_id);
  let rc = -ERRNO.EOPNOTSUPP as number;
  if (id === OPTIONS.IOMMU_OPTION_RLIMIT_MODE) rc = rlimitMode(command);
  else if (id === OPTIONS.IOMMU_OPTION_HUGE_PAGES) rc = hugePages(command);
  // Only the value goes back, whatever the size of the caller's struct.
  return rc < 0 ? rc : command.respondAt(AT.val64, 8);
}

/** Who pays for pinned memory: to be said before there is any object. */
function rlimitMode(command: Command): number {
  if (command.get(AT.object_id) !== 0) return -ERRNO.EOPNOTSUPP;
  const { context } = command;
  const op = command.u16(AT.op);
  if (op === OPS.IOMMU_OPTION_OP_GET) {
    command.set64(AT.val64, context.accountMode === 'mm' ? 1n : 0n);
    return 0;
  }
  if (op !== OPS.IOMMU_OPTION_OP_SET) return -ERRNO.EOPNOTSUPP;
  if (!context.process.rights.sysResource) return -ERRNO.EPERM;
  if (!context.objects.isEmpty) return -ERRNO.EBUSY;
  const value = command.get64(AT.val64);
  if (value > 1n) return -ERRNO.EINVAL;
  context.accountMode = value === 1n ? 'mm' : 'user';
  return 0;
}

/** Whether page tables of an IOAS may use large pages. */
function hugePages(command: Command): number {
  const ioas = command.context.objects.get(command.get(AT.object_id), Ioas);
  if (ioas === undefined) return -ERRNO.ENOENT;
  const op = command.u16(AT.op);
  if (op === OPS.IOMMU_OPTION_OP_GET) {
    command.set64(AT.val64, ioas.iopt.largePages ? 1n : 0n);
    return 0;
  }
  if (op !== OPS.IOMMU_OPTION_OP_SET) return -ERRNO.EOPNOTSUPP;
  const value = command.get64(AT.val64);
  if (value === 0n) return ioas.iopt.disableLargePages();
  if (value !== 1n) return -ERRNO.EINVAL;
  ioas.iopt.enableLargePages();
  return 0;
}
