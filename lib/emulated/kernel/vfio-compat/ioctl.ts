// The calls of VFIO's old containers, which /dev/iommu answers for one IOAS (iommufd/vfio_compat.c): which one, IOMMU_VFIO_IOAS
// says.
import { ERRNO } from '../../../uapi/errno.js';
import { vfio_base, vfio_extension } from '../../../uapi/vfio-constants.js';
import {
  VFIO_CHECK_EXTENSION,
  VFIO_GET_API_VERSION,
  VFIO_IOMMU_GET_INFO,
  VFIO_IOMMU_MAP_DMA,
  VFIO_IOMMU_UNMAP_DMA,
  VFIO_SET_IOMMU,
} from '../../../uapi/vfio-ioctls.js';
import type { IommufdContext } from '../iommufd-file.js';
import type { UserBuffer } from '../vfio/driver.js';
import { mapDma, unmapDma } from './dma.js';
import { getInfo } from './info.js';

const EXTENSIONS = vfio_extension.values;

/** An argument as it is: memory behind an address, or a number. */
export interface CompatArgument {
  readonly memory: UserBuffer;
  readonly value: number;
}

type CompatCall = (context: IommufdContext, argument: CompatArgument) => number;

const calls: ReadonlyMap<number, CompatCall> = new Map<number, CompatCall>([
  [VFIO_GET_API_VERSION.request, () => vfio_base.values.VFIO_API_VERSION],
  [VFIO_CHECK_EXTENSION.request, (context, { value }) => checkExtension(context, value)],
  [VFIO_SET_IOMMU.request, (context, { value }) => setIommu(context, value)],
  [VFIO_IOMMU_GET_INFO.request, (context, { memory }) => getInfo(context, memory)],
  [VFIO_IOMMU_MAP_DMA.request, (context, { memory }) => mapDma(context, memory)],
  [VFIO_IOMMU_UNMAP_DMA.request, (context, { memory }) => unmapDma(context, memory)],
]);

export function findCompatCall(request: number): CompatCall | undefined {
  return calls.get(request);
}

/** Groups are not here, and with them a container for devices without an IOMMU: the kernel's `no_iommu_mode` is never set. */
function checkExtension(context: IommufdContext, extension: number): number {
  switch (extension) {
    case EXTENSIONS.VFIO_TYPE1_IOMMU:
    case EXTENSIONS.VFIO_TYPE1v2_IOMMU:
    case EXTENSIONS.VFIO_UNMAP_ALL:
    case EXTENSIONS.VFIO_NOIOMMU_IOMMU:
      return 1;
    case EXTENSIONS.VFIO_DMA_CC_IOMMU:
      return isCoherent(context);
    default:
      return 0;
  }
}

/** Whether all page tables make DMA cache-coherent: 1 or 0. */
function isCoherent({ vfioIoas }: IommufdContext): number {
  if (vfioIoas === undefined) return -ERRNO.ENODEV;
  return vfioIoas.hwpts.every(({ enforcesCoherency }) => enforcesCoherency) ? 1 : 0;
}

function setIommu({ vfioIoas }: IommufdContext, type: number): number {
  if (type !== EXTENSIONS.VFIO_TYPE1_IOMMU && type !== EXTENSIONS.VFIO_TYPE1v2_IOMMU) return -ERRNO.EINVAL;
  if (vfioIoas === undefined) return -ERRNO.ENODEV;
  // The first version unmaps in the middle of mappings: that takes small pages.
  return type === EXTENSIONS.VFIO_TYPE1_IOMMU ? vfioIoas.iopt.disableLargePages() : 0;
}
