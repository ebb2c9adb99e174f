// A virtual SMMUv3 with an interface of the CMDQV: what the plain one does, and besides command queues of the guest's, which
// execute by themselves (tegra241-cmdqv.c).
import { ERRNO } from '../../../../uapi/errno.js';
import { iommu_hw_queue_type, iommu_veventq_type, iommu_viommu_type } from '../../../../uapi/iommufd-constants.js';
import { iommu_viommu_tegra241_cmdqv } from '../../../../uapi/iommufd-driver-data.js';
import type { NestedDomain, ViommuDriver } from '../../../kernel/driver.js';
import type { HwQueue } from '../../../kernel/hw-queue.js';
import type { Kernel } from '../../../kernel/kernel.js';
import type { UserArray, UserStruct } from '../../../kernel/user-data.js';
import type { Vdevice } from '../../../kernel/vdevice.js';
import { Smmuv3Device } from '../../smmuv3/driver/device.js';
import type { Smmuv3Viommu } from '../../smmuv3/driver/viommu.js';
import type { HwQueueControl } from '../queue-control.js';
import { LAST_VIRTUAL_STREAM } from '../stream-matches.js';
import type { VirtualInterface } from '../virtual-interface.js';
import type { CmdqvUnit } from './cmdqv-unit.js';
import { LvcmdqSlots } from './lvcmdq-slots.js';

const TYPE = iommu_viommu_type.values.IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV;
const QUEUE_TYPE = iommu_hw_queue_type.values.IOMMU_HW_QUEUE_TYPE_TEGRA241_CMDQV;
const EVENT_TYPE = iommu_veventq_type.values.IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV;
const DATA = iommu_viommu_tegra241_cmdqv;
const MIN_DATA = DATA.end('out_vintf_mmap_length');

/** An interface that this vIOMMU has. */
interface Taken {
  readonly index: number;
  readonly hardware: VirtualInterface;
  readonly queues: LvcmdqSlots;
}

export class Tegra241Viommu implements ViommuDriver {
  readonly #kernel: Kernel;
  readonly #base: Smmuv3Viommu;
  readonly #cmdqv: CmdqvUnit;
  #interface: Taken | undefined;
  #mmapOffset: number | undefined;

  constructor(kernel: Kernel, base: Smmuv3Viommu, cmdqv: CmdqvUnit) {
    this.#kernel = kernel;
    this.#base = base;
    this.#cmdqv = cmdqv;
  }

  /** Takes an interface, and tells where to map its page 0; 0 or -errno. */
  init(data: UserStruct | undefined): number {
    if (data === undefined) return -ERRNO.EINVAL;
    const bytes = new Uint8Array(DATA.size);
    const copied = data.copyIn(TYPE, MIN_DATA, bytes);
    if (copied < 0) return copied;
    const index = this.#cmdqv.takeInterface();
    if (index < 0) return index;
    const length = this.#start(index);
    const refusal = this.#lend(data, bytes, length);
    if (refusal < 0) this.destroy();
    return refusal;
  }
  /** Starts the interface; answers the bytes of its page 0. */
  #start(index: number): number {
    const { smmu, vmid, core } = this.#base;
    const hardware = this.#cmdqv.interfaceAt(index);
    this.#interface = {
      index,
      hardware,
      queues: new LvcmdqSlots(this.#kernel, hardware.queues, smmu.identification.idr),
    };
    // Nobody may have asked for these events, or there may be no memory for one: the guest does not learn of it then.
    hardware.enable(vmid, (errorMap) => core.reportEvent(EVENT_TYPE, errorMap));
    return hardware.region.length;
  }
  #lend(data: UserStruct, bytes: Uint8Array, length: number): number {
    const region = this.#base.core.allocMmap(this.#taken.hardware.region);
    if (typeof region === 'number') return region;
    this.#mmapOffset = region.offset;
    const answer = { out_vintf_mmap_offset: BigInt(region.offset), out_vintf_mmap_length: BigInt(length) };
    DATA.encode(new DataView(bytes.buffer), 0, answer);
    return data.copyOut(TYPE, MIN_DATA, bytes);
  }

  get #taken(): Taken {
    if (this.#interface === undefined) throw new Error('the vIOMMU has no interface');
    return this.#interface;
  }

  destroy(): void {
    if (this.#mmapOffset !== undefined) this.#base.core.freeMmap(this.#mmapOffset);
    this.#mmapOffset = undefined;
    const { index, hardware } = this.#taken;
    hardware.disable();
    this.#cmdqv.giveBack(index);
    this.#interface = undefined;
  }

  allocNested(flags: number, data: UserStruct): NestedDomain | number {
    return this.#base.allocNested(flags, data);
  }
  /** By the SMMU's own command queue: what a guest's queue does not take goes this way. */
  invalidate(requests: UserArray): number {
    return this.#base.invalidate(requests);
  }

  /** Gives the guest's id of a device, and the device's own, to the interface. */
  initVdevice(vdevice: Vdevice): (() => void) | number {
    const { dev } = vdevice.device;
    if (!(dev instanceof Smmuv3Device)) throw new Error('the device is not behind this SMMU');
    if (vdevice.virtId > LAST_VIRTUAL_STREAM) return -ERRNO.EINVAL;
    const { streams } = this.#taken.hardware;
    const index = streams.findFree();
    if (index < 0) return -ERRNO.ENOSPC;
    streams.set(index, Number(vdevice.virtId), dev.streamId);
    return () => streams.clear(index);
  }

  hasHwQueue(type: number): boolean {
    return type === QUEUE_TYPE;
  }
  initHwQueue(queue: HwQueue, index: number, physical: number): (() => void) | number {
    return this.#taken.queues.init(queue, index, physical);
  }

  /** The hardware of a queue; undefined where it is none of this vIOMMU's. */
  queueControl(queue: HwQueue): HwQueueControl | undefined {
    return this.#interface?.queues.control(queue);
  }
}

/** The hardware behind a queue; undefined where that is no Tegra241 CMDQV's. */
export function hwQueueControl(queue: HwQueue): HwQueueControl | undefined {
  const { driver } = queue.viommu;
  return driver instanceof Tegra241Viommu ? driver.queueControl(queue) : undefined;
}
