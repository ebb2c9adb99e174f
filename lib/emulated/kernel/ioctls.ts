// The iommufd ioctls by number: their sizes come from the uapi tables, their work from the files named after it.
import * as uapi from '../../uapi/iommufd-ioctls.js';
import type { Ioctl } from '../../uapi/layout.js';
import { destroy } from './destroy.js';
import { getDirtyBitmap, setDirtyTracking } from './dirty.js';
import { faultQueueAlloc } from './fault.js';
import { getHwInfo } from './hw-info.js';
import { hwQueueAlloc } from './hw-queue.js';
import { hwptAlloc } from './hwpt-alloc.js';
import { hwptInvalidate } from './invalidate.js';
import {
  ioasAlloc,
  ioasAllowIovas,
  ioasChangeProcess,
  ioasCopy,
  ioasIovaRanges,
  ioasMap,
  ioasMapFile,
  ioasNoiommuGetPa,
  ioasUnmap,
} from './ioas-ioctls.js';
import type { ExtraIoctl, Handler, Kernel } from './kernel.js';
import { option } from './option.js';
import { vdeviceAlloc } from './vdevice.js';
import { veventqAlloc } from './veventq.js';
import { vfioIoas } from './vfio-ioas.js';
import { viommuAlloc } from './viommu.js';

const FIRST = uapi.IOMMU_DESTROY.request;

const rows: readonly (readonly [Ioctl, Handler])[] = [
  [uapi.IOMMU_DESTROY, destroy],
  [uapi.IOMMU_IOAS_ALLOC, ioasAlloc],
  [uapi.IOMMU_IOAS_ALLOW_IOVAS, ioasAllowIovas],
  [uapi.IOMMU_IOAS_COPY, ioasCopy],
  [uapi.IOMMU_IOAS_IOVA_RANGES, ioasIovaRanges],
  [uapi.IOMMU_IOAS_MAP, ioasMap],
  [uapi.IOMMU_IOAS_UNMAP, ioasUnmap],
  [uapi.IOMMU_OPTION, option],
  [uapi.IOMMU_VFIO_IOAS, vfioIoas],
  [uapi.IOMMU_HWPT_ALLOC, hwptAlloc],
  [uapi.IOMMU_GET_HW_INFO, getHwInfo],
  [uapi.IOMMU_HWPT_SET_DIRTY_TRACKING, setDirtyTracking],
  [uapi.IOMMU_HWPT_GET_DIRTY_BITMAP, getDirtyBitmap],
  [uapi.IOMMU_HWPT_INVALIDATE, hwptInvalidate],
  [uapi.IOMMU_FAULT_QUEUE_ALLOC, faultQueueAlloc],
  [uapi.IOMMU_IOAS_MAP_FILE, ioasMapFile],
  [uapi.IOMMU_VIOMMU_ALLOC, viommuAlloc],
  [uapi.IOMMU_VDEVICE_ALLOC, vdeviceAlloc],
  [uapi.IOMMU_IOAS_CHANGE_PROCESS, ioasChangeProcess],
  [uapi.IOMMU_VEVENTQ_ALLOC, veventqAlloc],
  [uapi.IOMMU_HW_QUEUE_ALLOC, hwQueueAlloc],
  [uapi.IOMMU_IOAS_NOIOMMU_GET_PA, ioasNoiommuGetPa],
];

const byNumber: ((ExtraIoctl & { readonly since: string }) | undefined)[] = [];
for (const [{ request, layout, minSize, since }, run] of rows) {
  byNumber[request - FIRST] = { request, size: layout.size, minSize, since, run };
}

/** Whether the number's lowest byte, all that Linux looks at here, is one of its table's: only then it reads the struct. */
export function isInTable({ testCommand }: Kernel, request: number): boolean {
  const at = (request & 0xff) - (FIRST & 0xff);
  const end = testCommand === undefined ? byNumber.length : testCommand.request - FIRST + 1;
  return at >= 0 && at < end;
}

export function findIoctl(kernel: Kernel, request: number): ExtraIoctl | undefined {
  const { testCommand } = kernel;
  if (testCommand !== undefined && testCommand.request === request) return testCommand;
  const op = byNumber[request - FIRST];
  return op === undefined || kernel.has(op.since) ? op : undefined;
}
