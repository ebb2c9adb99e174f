// A device as a guest knows it: its virtual id on a vIOMMU.
import { checkOptions, toU64, type U64 } from '../host/arguments.js';
import { checkMade } from '../host/made.js';
import { IOMMU_VDEVICE_ALLOC } from '../uapi/iommufd.js';
import { call } from './call.js';
import { Device } from './device.js';
import { checkAlive, checkSame, context, idOf, KernelObject } from './kernel-object.js';
import type { Viommu } from './viommu.js';

export interface VdeviceOptions {
  /** The id the guest knows the device by: its StreamID on an SMMUv3. */
  readonly virtId: U64;
}

/** A device on a vIOMMU (IOMMU_VDEVICE_ALLOC, Linux 6.13): made by `viommu.allocVdevice`. It goes before its device. */
export class Vdevice extends KernelObject {
  readonly type = 'vdevice';
  readonly viommu: Viommu;
  readonly device: Device;
  /** The id the guest knows the device by. */
  readonly virtId: bigint;

  /** Not for callers: use `viommu.allocVdevice`. */
  constructor(viommu: Viommu, device: Device, id: number, virtId: bigint) {
    super(viommu.iommufd, context(viommu), id, [viommu, device]);
    this.viommu = viommu;
    this.device = device;
    this.virtId = virtId;
  }
}

/** `viommu.allocVdevice`. */
export function allocVdevice(viommu: Viommu, device: Device, options: VdeviceOptions): Vdevice {
  checkOptions(options, ['virtId']);
  checkMade(device, Device, 'device', 'a Device');
  const virtId = toU64(options?.virtId, 'virtId');
  // After the options: reading them may run code of the caller's.
  checkAlive(viommu);
  checkSame(viommu, device, 'device');
  const input = { viommu_id: idOf(viommu), dev_id: idOf(device), virt_id: virtId };
  const out = call(context(viommu), IOMMU_VDEVICE_ALLOC, input);
  return new Vdevice(viommu, device, out.out_vdevice_id, virtId);
}
