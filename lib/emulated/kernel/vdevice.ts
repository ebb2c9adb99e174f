// vDEVICEs: what a vIOMMU's guest calls a device (iommufd/viommu.c).
import { ERRNO } from '../../uapi/errno.js';
import { iommu_vdevice_alloc } from '../../uapi/iommufd-structs.js';
import type { Command } from './command.js';
import { IommufdDevice } from './device.js';
import { IommufdObject } from './object-table.js';
import { Viommu } from './viommu.js';

const AT = iommu_vdevice_alloc.at;

export class Vdevice extends IommufdObject {
  readonly kind = 'vdevice';
  #undo: (() => void) | undefined;

  constructor(
    readonly viommu: Viommu,
    readonly device: IommufdDevice,
    /** The guest's id of the device. */
    readonly virtId: bigint,
  ) {
    super();
    viommu.users++;
    device.users++;
    device.vdevice = this;
  }

  /** Takes the guest's id, if the driver agrees; 0 or -errno. */
  init(): number {
    const { vdevices, driver } = this.viommu;
    if (vdevices.has(this.virtId)) return -ERRNO.EEXIST;
    const undo = driver.initVdevice?.(this);
    if (typeof undo === 'number') return undo;
    this.#undo = undo;
    vdevices.set(this.virtId, this);
    return 0;
  }

  destroy(): void {
    const { vdevices } = this.viommu;
    this.#undo?.();
    if (vdevices.get(this.virtId) === this) vdevices.delete(this.virtId);
    this.viommu.users--;
    this.device.vdevice = undefined;
    this.device.users--;
  }

  /** The device goes, and the vDEVICE with it; user space still knows the id, so that nobody else gets it. */
  tombstone(): void {
    this.device.context.objects.remove(this, { tombstone: true });
  }
}

/** IOMMU_VDEVICE_ALLOC. */
export function vdeviceAlloc(command: Command): number {
  const { objects, kernel } = command.context;
  const viommu = objects.get(command.get(AT.viommu_id), Viommu);
  if (viommu === undefined) return -ERRNO.ENOENT;
  const device = objects.get(command.get(AT.dev_id), IommufdDevice);
  if (device === undefined) return -ERRNO.ENOENT;
  if (viommu.iommu !== device.dev.iommu) return -ERRNO.EINVAL;
  if (device.destroying) return -ERRNO.ENOENT;
  if (device.vdevice !== undefined) return -ERRNO.EEXIST;
  if (!kernel.allocates()) return -ERRNO.ENOMEM;
  const vdevice = new Vdevice(viommu, device, command.get64(AT.virt_id));
  objects.reserve(vdevice);
  command.made = vdevice;
  const refusal = vdevice.init();
  if (refusal < 0) return refusal;
  command.set(AT.out_vdevice_id, vdevice.id);
  return command.respond(iommu_vdevice_alloc.size);
}
