// IOMMU_GET_HW_INFO (iommufd/device.c).
import { ERRNO } from '../../uapi/errno.js';
import { iommu_hw_info_type, iommufd_hw_capabilities, iommufd_hw_info_flags } from '../../uapi/iommufd-constants.js';
import { iommu_hw_info } from '../../uapi/iommufd-structs.js';
import type { AddressSpace } from '../memory/address-space.js';
import type { Command } from './command.js';
import { IommufdDevice } from './device.js';
import type { IommuDevice } from './driver.js';
import type { Kernel } from './kernel.js';

const AT = iommu_hw_info.at;
const { IOMMU_HW_INFO_FLAG_INPUT_TYPE: INPUT_TYPE } = iommufd_hw_info_flags.values;
const { IOMMU_HW_INFO_TYPE_DEFAULT: DEFAULT } = iommu_hw_info_type.values;
const CAPABILITIES = iommufd_hw_capabilities.values;
/** Zeros, to fill memory up with. */
const ZEROS = new Uint8Array(4096);

export function getHwInfo(command: Command): number {
  const { kernel } = command.context;
  const flags = command.get(AT.flags);
  const known = kernel.has('6.17') ? INPUT_TYPE : 0;
  if ((flags & ~known) !== 0) return -ERRNO.EOPNOTSUPP;
  // The reserved bytes share a word with the width of PASIDs.
  if (command.get(AT.out_max_pasid_log2) >>> 8 !== 0) return -ERRNO.EOPNOTSUPP;
  const type = (flags & INPUT_TYPE) !== 0 ? command.get(AT.in_data_type) : DEFAULT;
  const device = command.context.objects.get(command.get(AT.dev_id), IommufdDevice);
  if (device === undefined) return -ERRNO.ENOENT;
  const { dev } = device;
  const info = dev.iommu.hwInfo(dev, type);
  if (typeof info === 'number') return info;
  const { memory } = command.context.process;
  if (!copyOut(memory, command.address(AT.data_uptr), command.get(AT.data_len), info.data)) return -ERRNO.EFAULT;
  command.set(AT.out_data_type, info.type);
  command.set(AT.data_len, info.data.length);
  command.set(AT.out_max_pasid_log2, dev.maxPasids === 0 ? 0 : Math.log2(dev.maxPasids));
  command.set64(AT.out_capabilities, BigInt(capabilitiesOf(dev, kernel)));
  return command.respond(iommu_hw_info.size);
}

/** Cut off where the caller's buffer ends, and filled up with zeros where the data does. */
function copyOut(memory: AddressSpace, address: number, room: number, data: Uint8Array): boolean {
  if (!memory.write(address, data.subarray(0, room))) return false;
  for (let done = data.length; done < room; done += ZEROS.length) {
    if (!memory.write(address + done, ZEROS.subarray(0, room - done))) return false;
  }
  return true;
}

function capabilitiesOf(dev: IommuDevice, kernel: Kernel): number {
  let bits = 0;
  if (dev.capable('dirty-tracking')) bits |= CAPABILITIES.IOMMU_HW_CAP_DIRTY_TRACKING;
  if (!dev.capable('pci-ats') && kernel.linux !== '6.12') bits |= CAPABILITIES.IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED;
  if (dev.maxPasids === 0) return bits;
  if (dev.pciPasid?.exec) bits |= CAPABILITIES.IOMMU_HW_CAP_PCI_PASID_EXEC;
  if (dev.pciPasid?.privileged) bits |= CAPABILITIES.IOMMU_HW_CAP_PCI_PASID_PRIV;
  return bits;
}
