// IOMMU_HWPT_SET_DIRTY_TRACKING and IOMMU_HWPT_GET_DIRTY_BITMAP (iommufd/hw_pagetable.c, io_pagetable.c).
import { ERRNO } from '../../uapi/errno.js';
import {
  iommufd_hwpt_get_dirty_bitmap_flags,
  iommufd_hwpt_set_dirty_tracking_flags,
} from '../../uapi/iommufd-constants.js';
import { iommu_hwpt_get_dirty_bitmap, iommu_hwpt_set_dirty_tracking } from '../../uapi/iommufd-structs.js';
import type { Command } from './command.js';
import { HwptPaging } from './hwpt-paging.js';
import { IovaBitmap } from './iova-bitmap.js';

const SET = iommu_hwpt_set_dirty_tracking.at;
const GET = iommu_hwpt_get_dirty_bitmap.at;
const { IOMMU_HWPT_DIRTY_TRACKING_ENABLE: ENABLE } = iommufd_hwpt_set_dirty_tracking_flags.values;
const { IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR: NO_CLEAR } = iommufd_hwpt_get_dirty_bitmap_flags.values;
const LAST_IOVA = 2n ** 64n - 1n;

export function setDirtyTracking(command: Command): number {
  const flags = command.get(SET.flags);
  if ((flags & ~ENABLE) !== 0) return -ERRNO.EOPNOTSUPP;
  const hwpt = command.context.objects.get(command.get(SET.hwpt_id), HwptPaging);
  if (hwpt === undefined) return -ERRNO.ENOENT;
  const { dirty } = hwpt.domain;
  if (dirty === undefined) return -ERRNO.EOPNOTSUPP;
  const enable = (flags & ENABLE) !== 0;
  // It starts with a clean slate, also where it had started before.
  if (enable) {
    for (const { iova, length } of hwpt.ioas.iopt.areas()) dirty.read(iova, iova + length - 1n, true, () => {});
  }
  return dirty.setTracking(enable);
}

export function getDirtyBitmap(command: Command): number {
  const flags = command.get(GET.flags);
  if ((flags & ~NO_CLEAR) !== 0 || command.get(GET.__reserved) !== 0) return -ERRNO.EOPNOTSUPP;
  const { objects, kernel, process } = command.context;
  const hwpt = objects.get(command.get(GET.hwpt_id), HwptPaging);
  if (hwpt === undefined) return -ERRNO.ENOENT;
  const { iopt } = hwpt.ioas;
  const iova = command.get64(GET.iova);
  const length = command.get64(GET.length);
  const pageSize = command.get64(GET.page_size);
  // Linux 6.12 takes the last byte of nothing for one before the first.
  if (length === 0n && kernel.linux === '6.12' && iova !== 0n) return -ERRNO.EOVERFLOW;
  const refusal = checkRange(iova, length, pageSize, iopt.alignment);
  if (refusal < 0) return refusal;
  const { dirty } = hwpt.domain;
  if (dirty === undefined) return -ERRNO.EOPNOTSUPP;
  if (!kernel.allocates()) return -ERRNO.ENOMEM;
  const bitmap = new IovaBitmap(process.memory, command.address(GET.data), { iova, length, pageSize });
  // A hole in the mappings ends the walk, which the caller is not told.
  let end = iova - 1n;
  iopt.contiguous(iova, iova + length - 1n, (_start, last) => {
    end = last;
    return undefined;
  });
  // So it is with a driver that refuses to look while nothing is noted.
  if (end < iova || (!dirty.enabled && !dirty.readsWhileOff)) return 0;
  dirty.read(iova, end, (flags & NO_CLEAR) === 0, (start, size) => bitmap.set(start, size));
  return 0;
}

function checkRange(iova: bigint, length: bigint, pageSize: bigint, alignment: bigint): number {
  if (length === 0n) return -ERRNO.EINVAL;
  const end = iova + length;
  if (end - 1n > LAST_IOVA) return -ERRNO.EOVERFLOW;
  for (const unit of [alignment, pageSize]) {
    if (unit === 0n || ((iova | end) & (unit - 1n)) !== 0n) return -ERRNO.EINVAL;
  }
  return 0;
}
