// vIOMMUs: a slice of a physical IOMMU, lent to a guest (iommufd/viommu.c, driver.c).
import { ERRNO } from '../../uapi/errno.js';
import { iommu_viommu_type } from '../../uapi/iommufd-constants.js';
import { iommu_viommu_alloc } from '../../uapi/iommufd-structs.js';
import type { Command } from './command.js';
import { IommufdDevice } from './device.js';
import type { Iommu, IommuDevice, MmapRegion, ViommuDriver } from './driver.js';
import { HwptPaging } from './hwpt-paging.js';
import type { IommufdContext } from './iommufd-file.js';
import { IommufdObject } from './object-table.js';
import { UserStruct } from './user-data.js';
import type { Vdevice } from './vdevice.js';
import type { Veventq } from './veventq.js';

const AT = iommu_viommu_alloc.at;

export class Viommu extends IommufdObject {
  readonly kind = 'viommu';
  /** By the guest's ids. */
  readonly vdevices = new Map<bigint, Vdevice>();
  readonly veventqs: Veventq[] = [];
  #driver: ViommuDriver | undefined;

  constructor(
    readonly context: IommufdContext,
    readonly iommu: Iommu,
    /** The guest's physical memory. */
    readonly hwpt: HwptPaging,
    readonly type: number,
  ) {
    super();
    hwpt.users++;
  }

  get driver(): ViommuDriver {
    if (this.#driver === undefined) throw new Error('the driver has not made its part of this vIOMMU yet');
    return this.#driver;
  }
  /** The driver makes its part; 0 or -errno. */
  init(data: UserStruct | undefined): number {
    const driver = this.iommu.initViommu(this, this.hwpt.domain, data);
    if (typeof driver === 'number') return driver;
    this.#driver = driver;
    return 0;
  }

  destroy(): void {
    this.#driver?.destroy();
    this.hwpt.users--;
  }

  /** Lets user space map registers; answers the offset for mmap(2), or -errno. */
  allocMmap(region: MmapRegion): { readonly offset: number } | number {
    if (!this.context.kernel.allocates()) return -ERRNO.ENOMEM;
    const offset = this.context.mmaps.alloc(this, region);
    return offset < 0 ? offset : { offset };
  }
  freeMmap(offset: number): void {
    this.context.mmaps.free(this, offset);
  }

  findVeventq(type: number): Veventq | undefined {
    return this.veventqs.find((queue) => queue.type === type);
  }
  /** Hardware has something to tell the guest; -EOPNOTSUPP where nobody asked for it. */
  reportEvent(type: number, data: Uint8Array): number {
    if (data.length === 0) return -ERRNO.EINVAL;
    return this.findVeventq(type)?.report(data) ?? -ERRNO.EOPNOTSUPP;
  }

  /** The device that the guest calls by this id. */
  findDevice(virtId: bigint): IommuDevice | undefined {
    return this.vdevices.get(virtId)?.device.dev;
  }
  /** What the guest calls a device. */
  virtIdOf(device: IommuDevice): bigint | undefined {
    for (const [virtId, vdevice] of this.vdevices) if (vdevice.device.dev === device) return virtId;
    return undefined;
  }
}

/** IOMMU_VIOMMU_ALLOC. */
export function viommuAlloc(command: Command): number {
  const { context } = command;
  const { objects } = context;
  const type = command.get(AT.type);
  if (command.get(AT.flags) !== 0 || type === iommu_viommu_type.values.IOMMU_VIOMMU_TYPE_DEFAULT) {
    return -ERRNO.EOPNOTSUPP;
  }
  const device = objects.get(command.get(AT.dev_id), IommufdDevice);
  if (device === undefined) return -ERRNO.ENOENT;
  const { iommu } = device.dev;
  if (!iommu.hasViommu(device.dev, type)) return -ERRNO.EOPNOTSUPP;
  const hwpt = objects.get(command.get(AT.hwpt_id), HwptPaging);
  if (hwpt === undefined) return -ERRNO.ENOENT;
  if (!hwpt.nestParent) return -ERRNO.EINVAL;
  if (!context.kernel.allocates()) return -ERRNO.ENOMEM;
  const viommu = new Viommu(context, iommu, hwpt, type);
  objects.reserve(viommu);
  command.made = viommu;
  const refusal = viommu.init(driverData(command, type));
  if (refusal < 0) return refusal;
  command.set(AT.out_viommu_id, viommu.id);
  return command.respond(iommu_viommu_alloc.size);
}

function driverData(command: Command, type: number): UserStruct | undefined {
  const length = command.get(AT.data_len);
  if (length === 0) return undefined;
  return new UserStruct(command.context.process.memory, type, command.address(AT.data_uptr), length);
}
