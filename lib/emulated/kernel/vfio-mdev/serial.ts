// A serial device that is nothing but a driver: the twin of Linux's sample of a mediated device (samples/vfio-mdev/mtty.c),
// with one port or two. It does no DMA.
import { ERRNO } from '../../../uapi/errno.js';
import {
  vfio_device_flags,
  vfio_irq_info_flags,
  vfio_pci_irq_index,
  vfio_pci_region_index,
  vfio_region_info_flags,
} from '../../../uapi/vfio-constants.js';
import {
  VFIO_DEVICE_GET_INFO,
  VFIO_DEVICE_GET_IRQ_INFO,
  VFIO_DEVICE_RESET,
  VFIO_DEVICE_SET_IRQS,
} from '../../../uapi/vfio-ioctls.js';
import { vfio_device_info, vfio_irq_info } from '../../../uapi/vfio-structs.js';
import type { Kernel } from '../kernel.js';
import type { DmaLoggingOps, RegionAnswer, UserBuffer, VfioBinding, VfioDriver } from '../vfio/driver.js';
import { readIrqSet } from '../vfio/irq-set.js';
import { CONFIG_SIZE, PORT_BAR_SIZE, SerialConfig } from './serial-config.js';
import { SerialInterrupts } from './serial-interrupts.js';
import { SerialMigration } from './serial-migration.js';
import { Uart } from './uart.js';

const INFO = vfio_device_info;
const IRQ = vfio_irq_info;
const { VFIO_DEVICE_FLAGS_PCI } = vfio_device_flags.values;
const {
  VFIO_PCI_BAR5_REGION_INDEX: BAR5,
  VFIO_PCI_CONFIG_REGION_INDEX: CONFIG,
  VFIO_PCI_NUM_REGIONS: REGIONS,
} = vfio_pci_region_index.values;
const {
  VFIO_PCI_INTX_IRQ_INDEX: INTX,
  VFIO_PCI_MSI_IRQ_INDEX: MSI,
  VFIO_PCI_NUM_IRQS: IRQS,
} = vfio_pci_irq_index.values;
const { VFIO_REGION_INFO_FLAG_READ, VFIO_REGION_INFO_FLAG_WRITE } = vfio_region_info_flags.values;
const { VFIO_IRQ_INFO_EVENTFD, VFIO_IRQ_INFO_MASKABLE, VFIO_IRQ_INFO_AUTOMASKED, VFIO_IRQ_INFO_NORESIZE } =
  vfio_irq_info_flags.values;

/** Where regions start in the file: this far from each other. */
const REGION_SPAN = 2 ** 40;
/** Registers are found by the low bits of the offset, however far behind the end it is. */
const OFFSET_SPAN = 2 ** 16;

/** It never writes to memory, and says so. */
const DMA_LOGGING: DmaLoggingOps = {
  start: (_ranges, pageSize) => pageSize,
  stop: () => 0,
  readAndClear: () => 0,
};

export class SerialDevice implements VfioDriver {
  readonly migration: SerialMigration;
  readonly dmaLogging = DMA_LOGGING;
  readonly #kernel: Kernel;
  readonly #config: SerialConfig;
  readonly #interrupts = new SerialInterrupts();
  /** The sample has records for two, and finds the second one also where the device has one only. */
  readonly #uarts: readonly Uart[];
  readonly #ports: number;
  /** How many interrupts an index has is taken from what VFIO_DEVICE_GET_INFO told last: before that, none. */
  #knownIrqs = 0;

  constructor(kernel: Kernel, ports: 1 | 2) {
    this.#kernel = kernel;
    this.#ports = ports;
    this.#config = new SerialConfig(ports);
    this.#uarts = [0, 1].map(() => new Uart(() => this.#interrupts.raise()));
    this.migration = new SerialMigration(kernel, this.#uarts.slice(0, ports));
  }

  openDevice({ context }: VfioBinding): number {
    this.migration.process = context.process;
    return 0;
  }
  /** What it was sent, and its migration state, stay. */
  closeDevice(): void {
    this.migration.disableFiles();
    this.migration.process = undefined;
    this.#interrupts.disable();
  }

  regionInfo(index: number): RegionAnswer | number {
    if (index >= REGIONS) return -ERRNO.EINVAL;
    const bar = index < this.#ports ? PORT_BAR_SIZE : 0;
    return {
      flags: VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE,
      size: BigInt(index === CONFIG ? CONFIG_SIZE : bar),
      offset: BigInt(index * REGION_SPAN),
    };
  }

  ioctl(request: number, argument: UserBuffer): number {
    switch (request) {
      case VFIO_DEVICE_GET_INFO.request:
        return this.#deviceInfo(argument);
      case VFIO_DEVICE_GET_IRQ_INFO.request:
        return this.#irqInfo(argument);
      case VFIO_DEVICE_SET_IRQS.request: {
        const set = readIrqSet(this.#kernel, argument, IRQS, () => this.#knownIrqs);
        return typeof set === 'number' ? set : this.#interrupts.set(argument.process, set);
      }
      case VFIO_DEVICE_RESET.request:
        this.migration.reset();
        return 0;
      default:
        return -ERRNO.ENOTTY;
    }
  }
  #deviceInfo(argument: UserBuffer): number {
    const bytes = new Uint8Array(INFO.end('num_irqs'));
    const view = new DataView(bytes.buffer);
    if (!argument.copyIn(0, bytes)) return -ERRNO.EFAULT;
    if (view.getUint32(INFO.at.argsz, true) < bytes.length) return -ERRNO.EINVAL;
    view.setUint32(INFO.at.flags, VFIO_DEVICE_FLAGS_PCI, true);
    view.setUint32(INFO.at.num_regions, REGIONS, true);
    view.setUint32(INFO.at.num_irqs, IRQS, true);
    this.#knownIrqs = IRQS;
    return argument.copyOut(0, bytes) ? 0 : -ERRNO.EFAULT;
  }
  #irqInfo(argument: UserBuffer): number {
    const bytes = new Uint8Array(IRQ.size);
    const view = new DataView(bytes.buffer);
    if (!argument.copyIn(0, bytes)) return -ERRNO.EFAULT;
    const index = view.getUint32(IRQ.at.index, true);
    if (view.getUint32(IRQ.at.argsz, true) < bytes.length || index >= this.#knownIrqs) return -ERRNO.EINVAL;
    if (index !== INTX && index !== MSI) return -ERRNO.EINVAL;
    const more = index === INTX ? VFIO_IRQ_INFO_MASKABLE | VFIO_IRQ_INFO_AUTOMASKED : VFIO_IRQ_INFO_NORESIZE;
    view.setUint32(IRQ.at.flags, VFIO_IRQ_INFO_EVENTFD | more, true);
    view.setUint32(IRQ.at.count, 1, true);
    return argument.copyOut(0, bytes) ? 0 : -ERRNO.EFAULT;
  }

  read(into: Uint8Array, position: number): number {
    return accesses(into, position, (bytes, region, offset) => {
      bytes.fill(0);
      if (region === CONFIG) this.#config.read(offset, bytes);
      // An access is one of a register, however wide: the other bytes are nothing.
      else bytes[0] = this.#uarts[region]?.read(offset % OFFSET_SPAN) ?? 0;
    });
  }
  write(from: Uint8Array, position: number): number {
    return accesses(from, position, (bytes, region, offset) => {
      if (region === CONFIG) this.#config.write(offset % OFFSET_SPAN, bytes);
      else this.#uarts[region]?.write(offset % OFFSET_SPAN, bytes[0] ?? 0);
    });
  }
  mmap(): number {
    return -ERRNO.EINVAL;
  }
}

/**
 * Goes through bytes as the widest aligned accesses that there are; answers how many bytes that were, or -EFAULT where there
 * is no such region. BARs beyond the second are nothing: Linux reaches for what lies behind its records.
 */
function accesses(
  bytes: Uint8Array,
  position: number,
  access: (bytes: Uint8Array, region: number, offset: number) => void,
): number {
  for (let done = 0; done < bytes.length; ) {
    const at = position + done;
    const region = Math.floor(at / REGION_SPAN);
    if (region > BAR5 && region !== CONFIG) return -ERRNO.EFAULT;
    const width = [4, 2, 1].find((w) => bytes.length - done >= w && at % w === 0) ?? 1;
    access(bytes.subarray(done, done + width), region, at % REGION_SPAN);
    done += width;
  }
  return bytes.length;
}
