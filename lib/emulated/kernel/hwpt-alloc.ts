// IOMMU_HWPT_ALLOC (iommufd/hw_pagetable.c).
import { ERRNO } from '../../uapi/errno.js';
import { iommu_hwpt_data_type, iommufd_hwpt_alloc_flags } from '../../uapi/iommufd-constants.js';
import { iommu_hwpt_alloc } from '../../uapi/iommufd-structs.js';
import type { Command } from './command.js';
import { IommufdDevice } from './device.js';
import { Fault } from './fault.js';
import type { Hwpt } from './hwpt.js';
import { allocNestedOfParent, allocNestedOfViommu } from './hwpt-nested.js';
import { allocHwptPaging, HwptPaging } from './hwpt-paging.js';
import { Ioas } from './ioas.js';
import type { IommufdObject } from './object-table.js';
import { UserStruct } from './user-data.js';
import { Viommu } from './viommu.js';

const AT = iommu_hwpt_alloc.at;
const { IOMMU_HWPT_DATA_NONE: NONE } = iommu_hwpt_data_type.values;
const { IOMMU_HWPT_FAULT_ID_VALID: FAULT_ID_VALID } = iommufd_hwpt_alloc_flags.values;

export function hwptAlloc(command: Command): number {
  const { context } = command;
  const { objects } = context;
  if (command.get(AT.__reserved) !== 0) return -ERRNO.EOPNOTSUPP;
  const type = command.get(AT.data_type);
  const length = command.get(AT.data_len);
  if ((type === NONE) !== (length === 0)) return -ERRNO.EINVAL;
  const device = objects.get(command.get(AT.dev_id), IommufdDevice);
  if (device === undefined) return -ERRNO.ENOENT;
  const from = objects.find(command.get(AT.pt_id));
  const flags = command.get(AT.flags);
  const data = new UserStruct(context.process.memory, type, command.address(AT.data_uptr), length);
  const hwpt = make(from, device, flags, data);
  if (typeof hwpt === 'number') return hwpt;
  command.made = hwpt;
  if ((flags & FAULT_ID_VALID) !== 0) {
    const fault = objects.get(command.get(AT.fault_id), Fault);
    if (fault === undefined) return -ERRNO.ENOENT;
    hwpt.setFault(fault);
  }
  command.set(AT.out_hwpt_id, hwpt.id);
  return command.respond(iommu_hwpt_alloc.size);
}

function make(from: IommufdObject | undefined, device: IommufdDevice, flags: number, data: UserStruct): Hwpt | number {
  if (from instanceof Ioas) {
    const given = data.length > 0 ? data : undefined;
    return allocHwptPaging(from, device, { flags, data: given, attachPasid: undefined });
  }
  if (from instanceof HwptPaging) return allocNestedOfParent(from, device, flags, data);
  if (from instanceof Viommu && from.iommu === device.dev.iommu) return allocNestedOfViommu(from, flags, data);
  return -ERRNO.EINVAL;
}
