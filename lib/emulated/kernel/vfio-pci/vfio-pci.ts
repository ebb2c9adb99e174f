// vfio-pci, the driver of a PCI function (drivers/vfio/pci). Where the hardware can migrate or notes its writes, it is a
// variant driver that knows about that.
import { ERRNO } from '../../../uapi/errno.js';
import { vfio_device_flags, vfio_pci_irq_index, vfio_pci_region_index } from '../../../uapi/vfio-constants.js';
import {
  VFIO_DEVICE_GET_INFO,
  VFIO_DEVICE_GET_IRQ_INFO,
  VFIO_DEVICE_GET_PCI_HOT_RESET_INFO,
  VFIO_DEVICE_IOEVENTFD,
  VFIO_DEVICE_PCI_HOT_RESET,
  VFIO_DEVICE_RESET,
  VFIO_DEVICE_SET_IRQS,
} from '../../../uapi/vfio-ioctls.js';
import { vfio_device_info } from '../../../uapi/vfio-structs.js';
import type { MmioMapping } from '../file.js';
import type { Kernel } from '../kernel.js';
import type { DmaLoggingOps, MigrationOps, RegionAnswer, UserBuffer, VfioBinding, VfioDriver } from '../vfio/driver.js';
import { feature } from './features.js';
import type { PciFunction } from './function.js';
import { PciHardware } from './hardware.js';
import { hotReset, hotResetInfo, tryResetBus, type VfioPciFunctions } from './hot-reset.js';
import { mapRegion } from './mmap.js';
import { OpenFunction } from './open-function.js';
import { accessRegion, regionInfo } from './regions.js';
import { BarWindows } from './windows.js';

const FLAGS = vfio_device_flags.values;

export class VfioPci implements VfioDriver {
  readonly fn: PciFunction;
  readonly hardware: PciHardware;
  /** It was in use, and not reset since. */
  needsReset = false;
  readonly #kernel: Kernel;
  readonly #functions: VfioPciFunctions;
  readonly #windows: BarWindows;
  #open: OpenFunction | undefined;

  /** `functions`: all that vfio-pci drives, for resets of a bus. The caller enters this one there. */
  constructor(kernel: Kernel, fn: PciFunction, functions: VfioPciFunctions) {
    this.fn = fn;
    this.#kernel = kernel;
    this.#functions = functions;
    this.hardware = new PciHardware(fn);
    this.#windows = new BarWindows(kernel.physical, this.hardware);
  }

  /** While a program has it. */
  get open(): OpenFunction | undefined {
    return this.#open;
  }
  get #live(): OpenFunction {
    if (this.#open === undefined) throw new Error(`${this.fn.address} is not open`);
    return this.#open;
  }

  openDevice(binding: VfioBinding): number {
    if (!this.#kernel.allocates()) return -ERRNO.ENOMEM;
    const { hardware } = this;
    const parts = { kernel: this.#kernel, hardware, windows: this.#windows, functions: this.#functions, binding };
    this.#open = new OpenFunction(parts);
    return 0;
  }
  /** There are no virtual functions: nobody has a token to ask for (vfio_pci_validate_vf_token). */
  matchToken(token: Uint8Array | undefined): number {
    return token === undefined ? 0 : -ERRNO.EINVAL;
  }
  closeDevice(): void {
    const open = this.#live;
    this.needsReset = true;
    try {
      if (open.close()) this.needsReset = false;
    } finally {
      this.#open = undefined;
    }
    tryResetBus(this, this.#functions);
  }
  request(): void {
    this.#open?.interrupts.request();
  }

  powerGet(): number {
    this.#live.power.get();
    return 0;
  }
  powerPut(): void {
    this.#live.power.put();
  }

  get migration(): MigrationOps | undefined {
    return this.#open?.migration;
  }
  get dmaLogging(): DmaLoggingOps | undefined {
    return this.#open?.dmaLogging;
  }

  regionInfo(index: number): RegionAnswer | number {
    return regionInfo(this.#live, index);
  }
  ioctl(request: number, argument: UserBuffer): number {
    const open = this.#live;
    switch (request) {
      case VFIO_DEVICE_GET_INFO.request:
        return this.#info(open, argument);
      case VFIO_DEVICE_GET_IRQ_INFO.request:
        return open.interrupts.info(argument);
      case VFIO_DEVICE_SET_IRQS.request:
        return open.interrupts.set(argument);
      case VFIO_DEVICE_RESET.request:
        return open.reset();
      case VFIO_DEVICE_GET_PCI_HOT_RESET_INFO.request:
        return hotResetInfo(open, argument);
      case VFIO_DEVICE_PCI_HOT_RESET.request:
        return hotReset(open, argument);
      case VFIO_DEVICE_IOEVENTFD.request:
        return open.ioeventfds.set(argument);
      default:
        return -ERRNO.ENOTTY;
    }
  }
  feature(flags: number, argument: UserBuffer, size: number): number {
    return feature(this.#live, flags, argument, size);
  }
  #info(open: OpenFunction, argument: UserBuffer): number {
    const bytes = new Uint8Array(vfio_device_info.size);
    const view = new DataView(bytes.buffer);
    const least = vfio_device_info.end('num_irqs');
    if (!argument.copyIn(0, bytes.subarray(0, least))) return -ERRNO.EFAULT;
    const argsz = view.getUint32(vfio_device_info.at.argsz, true);
    if (argsz < least) return -ERRNO.EINVAL;
    const flags = FLAGS.VFIO_DEVICE_FLAGS_PCI | (open.resets ? FLAGS.VFIO_DEVICE_FLAGS_RESET : 0);
    const num_regions = vfio_pci_region_index.values.VFIO_PCI_NUM_REGIONS;
    const num_irqs = vfio_pci_irq_index.values.VFIO_PCI_NUM_IRQS;
    vfio_device_info.encode(view, 0, { argsz, flags, num_regions, num_irqs });
    return argument.copyOut(0, bytes.subarray(0, Math.min(argsz, bytes.length))) ? 0 : -ERRNO.EFAULT;
  }

  read(into: Uint8Array, position: number): number {
    return this.#access(into, position, false);
  }
  write(from: Uint8Array, position: number): number {
    return this.#access(from, position, true);
  }
  #access(data: Uint8Array, position: number, write: boolean): number {
    if (data.length === 0) return 0;
    const open = this.#live;
    open.power.get();
    try {
      return accessRegion(open, data, position, write);
    } finally {
      open.power.put();
    }
  }
  mmap(offset: number, length: number): MmioMapping | number {
    return mapRegion(this.#live, offset, length);
  }
}
