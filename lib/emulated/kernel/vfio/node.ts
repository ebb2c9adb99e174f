// A device that a VFIO driver has, and that programs may open: struct vfio_device (drivers/vfio/vfio_main.c).
import { ERRNO } from '../../../uapi/errno.js';
import type { IommuDevice } from '../driver.js';
import type { OpenFile } from '../file.js';
import type { Kernel } from '../kernel.js';
import type { Process } from '../process.js';
import { VfioDeviceFile } from './device-file.js';
import type { VfioDriver } from './driver.js';

interface Parts {
  readonly kernel: Kernel;
  readonly driver: VfioDriver;
  /** The device that does DMA; undefined for a mediated one, whose driver reaches memory in its stead. */
  readonly dev: IommuDevice | undefined;
}

export class VfioDeviceNode {
  readonly kernel: Kernel;
  readonly driver: VfioDriver;
  readonly dev: IommuDevice | undefined;
  /** The file that it is bound by: one at a time. */
  boundBy: VfioDeviceFile | undefined;
  #openFiles = 0;
  /** Told that nobody has the device open any more, since the host takes it back. */
  #whenGone: (() => void) | undefined;
  #requests = 0;

  constructor({ kernel, driver, dev }: Parts) {
    this.kernel = kernel;
    this.driver = driver;
    this.dev = dev;
  }

  /** Without an IOMMU, and so only for those who may reach all of memory. */
  get noiommu(): boolean {
    return this.dev?.iommu.translates === false;
  }

  /** open(2) of its node. It can be opened any number of times: only one of the files can bind it. */
  open(process: Process): OpenFile | number {
    if (this.#whenGone !== undefined) return -ERRNO.ENODEV;
    if (this.noiommu && !process.rights.sysRawio) return -ERRNO.EPERM;
    if (!this.kernel.allocates()) return -ERRNO.ENOMEM;
    this.#openFiles++;
    return new VfioDeviceFile(this, process);
  }
  /** The last reference to a file of it has gone. */
  closed(): void {
    this.#openFiles--;
    this.#settle();
  }

  /**
   * The driver is taken from the device: nobody can open it any more, who has it open is asked for it, and `gone` is called
   * once it is closed. Linux asks again every ten seconds; here that is another call of `request`.
   */
  unregister(gone: () => void): void {
    this.#whenGone = gone;
    this.#requests = 0;
    if (this.#openFiles > 0) this.request();
    this.#settle();
  }
  /** Asks for the device again, while it is being taken back. */
  request(): void {
    if (this.#whenGone !== undefined) this.driver.request?.(this.#requests++);
  }
  #settle(): void {
    if (this.#openFiles === 0) this.#whenGone?.();
  }
  /** The driver has the device again. */
  register(): void {
    this.#whenGone = undefined;
  }
}
