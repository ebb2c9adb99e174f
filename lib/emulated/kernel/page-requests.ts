// Page requests: a device wants to touch what is not mapped, and waits for an answer. Collects them into groups and hands
// those to whoever handles the faults of the domain (drivers/iommu/io-pgfault.c).
import { ERRNO } from '../../uapi/errno.js';
import { iommufd_page_response_code } from '../../uapi/iommufd-constants.js';
import type { IommuDevice, PageRequest } from './driver.js';
import type { AttachHandle } from './iommu-group.js';

/** What hardware is told: those that user space may answer, and the kernel's own. */
export const RESPONSE = {
  success: iommufd_page_response_code.values.IOMMUFD_PAGE_RESP_SUCCESS,
  invalid: iommufd_page_response_code.values.IOMMUFD_PAGE_RESP_INVALID,
  /** The kernel failed: the device should send no more. */
  failure: 2,
} as const;

/** The PASID of requests that have none. */
const NO_PASID = 0;

/** Requests that are answered together. */
export class PageRequestGroup {
  constructor(
    readonly device: IommuDevice,
    /** What the device was attached by when the last one came. */
    readonly handle: AttachHandle,
    /** In the order they came. */
    readonly requests: readonly PageRequest[],
    readonly last: PageRequest,
  ) {}
  respond(code: number): void {
    this.device.iommu.pageResponse?.(this.device, this.last, code);
  }
}

/**
 * Hardware raises a page request. One that nobody handles is answered at once.
 * @returns 0, or -EINVAL for one that nobody handles, -ENOMEM where one that is not the last is lost
 */
export function reportPageRequest(device: IommuDevice, request: PageRequest): number {
  const handle = findHandle(device, request);
  const queue = handle?.domain.fault;
  if (handle === undefined || queue === undefined) {
    device.iommu.pageResponse?.(device, request, RESPONSE.invalid);
    return -ERRNO.EINVAL;
  }
  const { partialRequests: partial = [] } = device;
  const allocated = queue.context.kernel.allocates();
  if (!request.last) {
    if (!allocated) return -ERRNO.ENOMEM;
    device.partialRequests = [...partial, request];
    return 0;
  }
  const requests = [...partial.filter(({ group }) => group === request.group), request];
  device.partialRequests = partial.filter(({ group }) => group !== request.group);
  const group = new PageRequestGroup(device, handle, requests, request);
  if (allocated) queue.deliver(group);
  else group.respond(RESPONSE.failure);
  return 0;
}

/** The device's last domain that handles faults is gone: groups without their last request never get it. */
export function forgetPageRequests(device: IommuDevice): void {
  device.partialRequests = undefined;
}

function findHandle(device: IommuDevice, request: PageRequest): AttachHandle | undefined {
  const { group, iommu } = device;
  if (!request.hasPasid) return group.handleOf(NO_PASID);
  const handle = group.handleOf(request.pasid);
  if (handle !== undefined || !iommu.userPasidTable) return handle;
  // The guest keeps the table of PASIDs: all of them are the business of its page table.
  const whole = group.handleOf(NO_PASID);
  return whole?.domain.kind === 'nested' ? whole : undefined;
}
