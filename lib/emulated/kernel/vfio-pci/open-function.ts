// A function that a program has open: struct vfio_pci_core_device between vfio_pci_core_enable and vfio_pci_core_disable. All
// that it holds goes with it.
import { ERRNO } from '../../../uapi/errno.js';
import type { Kernel } from '../kernel.js';
import type { Process } from '../process.js';
import type { VfioBinding } from '../vfio/driver.js';
import { VirtualConfig } from './config.js';
import { DmaBufs } from './dma-bufs.js';
import { DmaLogging } from './dma-logging.js';
import type { PciHardware, SavedRegisters } from './hardware.js';
import type { VfioPciFunctions } from './hot-reset.js';
import { Interrupts } from './interrupts.js';
import { Ioeventfds } from './ioeventfd.js';
import { Migration } from './migration.js';
import { Power } from './power.js';
import { COMMAND, COMMAND_INTX_DISABLE } from './registers.js';
import type { BarWindows } from './windows.js';

/** What it is opened with. */
export interface OpenParts {
  readonly kernel: Kernel;
  readonly hardware: PciHardware;
  readonly windows: BarWindows;
  readonly functions: VfioPciFunctions;
  readonly binding: VfioBinding;
}

export class OpenFunction {
  readonly kernel: Kernel;
  readonly process: Process;
  readonly hardware: PciHardware;
  readonly windows: BarWindows;
  readonly functions: VfioPciFunctions;
  readonly binding: VfioBinding;
  /** It can be reset alone. */
  readonly resets: boolean;
  readonly interrupts: Interrupts;
  readonly dmaBufs: DmaBufs;
  readonly ioeventfds: Ioeventfds;
  readonly power: Power;
  readonly config: VirtualConfig;
  readonly migration: Migration | undefined;
  readonly dmaLogging: DmaLogging | undefined;
  readonly #before: SavedRegisters;

  constructor({ kernel, hardware, windows, functions, binding }: OpenParts) {
    this.kernel = kernel;
    this.process = binding.context.process;
    this.hardware = hardware;
    this.windows = windows;
    this.functions = functions;
    this.binding = binding;
    const { fn } = hardware;
    hardware.clearMaster();
    hardware.enable();
    const reset = fn.functionReset;
    this.resets = reset !== undefined;
    if (reset !== undefined) hardware.aroundFunctionReset(() => reset.call(fn));
    this.#before = hardware.save();
    hardware.setIntx(true);
    this.interrupts = new Interrupts(this);
    this.dmaBufs = new DmaBufs(this);
    this.ioeventfds = new Ioeventfds(this);
    this.power = new Power(this);
    this.config = new VirtualConfig(this);
    this.migration = fn.migration === undefined ? undefined : new Migration(fn.migration, this.process);
    this.dmaLogging = fn.dmaLogging === undefined ? undefined : new DmaLogging(fn.dmaLogging);
    fn.onInterrupt = (kind, vector, level) => this.interrupts.raised(kind, vector, level);
  }

  /** VFIO_DEVICE_RESET. */
  reset(): number {
    if (!this.resets) return -ERRNO.EINVAL;
    this.resetFunction();
    return 0;
  }
  /** Resets it, if it can be; programs find the registers that they see as they were. */
  resetFunction(): void {
    const { fn } = this.hardware;
    const reset = fn.functionReset;
    this.dmaBufs.move(true);
    if (reset !== undefined) {
      this.hardware.aroundFunctionReset(() => reset.call(fn));
      this.migration?.reset();
    }
    if (this.config.memoryEnabled) this.dmaBufs.move(false);
  }

  /** Puts the function back as it was found; answers whether it could be reset. */
  close(): boolean {
    const { hardware } = this;
    const { fn } = hardware;
    this.dmaLogging?.stop();
    this.migration?.reset();
    this.dmaBufs.stop();
    this.power.stop();
    hardware.setPower(0);
    hardware.clearMaster();
    this.interrupts.stop();
    this.ioeventfds.stop();
    fn.onInterrupt = undefined;
    hardware.write(COMMAND, 2, COMMAND_INTX_DISABLE);
    try {
      fn.functionReset?.();
    } finally {
      hardware.restore(this.#before);
      hardware.clearMaster();
    }
    return this.resets;
  }
}
