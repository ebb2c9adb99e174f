// The emulated kernel's VFIO core without a machine around it: a process with an iommufd, and devices with a driver that notes
// what it is asked.
import { SelftestMachine } from '../../lib/emulated/hardware/selftest/machine.js';
import type { IommuDevice } from '../../lib/emulated/kernel/driver.js';
import {
  type ArgumentMemory,
  argumentMemory,
  type MmioMapping,
  type OpenFile,
} from '../../lib/emulated/kernel/file.js';
import { IommufdFile } from '../../lib/emulated/kernel/iommufd-file.js';
import { Kernel } from '../../lib/emulated/kernel/kernel.js';
import { Process } from '../../lib/emulated/kernel/process.js';
import type {
  DmaLoggingOps,
  MigrationOps,
  RegionAnswer,
  UserBuffer,
  VfioBinding,
  VfioDriver,
} from '../../lib/emulated/kernel/vfio/driver.js';
import { VfioDeviceNode } from '../../lib/emulated/kernel/vfio/node.js';
import { LocalAddressSpace } from '../../lib/emulated/memory/address-space.js';
import { PhysicalMemory } from '../../lib/emulated/memory/physical.js';
import { FdTable } from '../../lib/emulated/process/fd-table.js';
import type { Fields, Input, Ioctl } from '../../lib/uapi/layout.js';

const PAGE = 4096;

export class FakeDriver implements VfioDriver {
  readonly asked: string[] = [];
  binding: VfioBinding | undefined;
  /** What the next `openDevice` answers. */
  refusal = 0;
  power = 0;
  region: RegionAnswer | number = { flags: 3, size: 0x1000n, offset: 0n };
  migration: MigrationOps | undefined;
  dmaLogging: DmaLoggingOps | undefined;
  matchToken?: (token: Uint8Array | undefined) => number;
  feature?: (flags: number, argument: UserBuffer, size: number) => number;
  mapping: MmioMapping | number = -22;
  /** Gives pinned memory back. */
  letGo?: () => void;

  openDevice(binding: VfioBinding): number {
    this.asked.push('open');
    this.binding = binding;
    return this.refusal;
  }
  closeDevice(): void {
    this.asked.push(`close, bound by ${this.binding?.context.objects.find(this.binding.id) !== undefined}`);
  }
  dmaUnmap(iova: bigint, length: bigint): void {
    this.asked.push(`unmap ${iova} ${length}`);
    this.letGo?.();
  }
  request(count: number): void {
    this.asked.push(`request ${count}`);
  }
  powerGet(): number {
    this.asked.push('wake');
    return this.power;
  }
  powerPut(): void {
    this.asked.push('sleep');
  }
  regionInfo(): RegionAnswer | number {
    return this.region;
  }
  ioctl(request: number): number {
    this.asked.push(`ioctl ${request & 0xff}`);
    return request & 0xff;
  }
  read(into: Uint8Array, position: number): number {
    this.asked.push(`read ${into.length} at ${position}`);
    return into.length;
  }
  write(from: Uint8Array, position: number): number {
    this.asked.push(`write ${from.length} at ${position}`);
    return from.length;
  }
  mmap(): MmioMapping | number {
    return this.mapping;
  }
}

export interface CoreStage {
  readonly kernel: Kernel;
  readonly process: Process;
  readonly files: FdTable;
  readonly iommufd: IommufdFile;
  readonly iommufdFd: number;
  /** A page that arguments are written into, and where it lies for the process. */
  readonly argument: ArgumentMemory;
  readonly address: number;
  readonly selftest: SelftestMachine;
  node(dev: IommuDevice | undefined, driver: VfioDriver): VfioDeviceNode;
  /** A file of a node. */
  open(node: VfioDeviceNode): OpenFile;
  /** Makes a call with this struct at the start of the page; answers what came back too. */
  call<F extends Fields>(
    file: OpenFile,
    op: Ioctl<F>,
    input: Input<F>,
    argsz?: number,
  ): { readonly result: number; readonly view: DataView };
}

export function coreStage({ openFiles = 100, sysRawio = true } = {}): CoreStage {
  const physical = new PhysicalMemory({ size: 2 ** 24, scatter: false });
  const kernel = new Kernel(physical, 'linux');
  const files = new FdTable(openFiles);
  const memory = new LocalAddressSpace();
  const process = new Process(memory, files, { ipcLock: true, sysResource: true, sysRawio, lockedPages: 1000 });
  const iommufd = new IommufdFile(kernel, process, () => {});
  const backing = physical.allocate(PAGE);
  const placement = backing === undefined ? undefined : memory.map(backing, 0, PAGE);
  if (backing === undefined || placement === undefined) throw new Error('no memory');
  const argument = argumentMemory(backing, 0);
  return {
    ...{ kernel, process, files, iommufd, argument, address: placement.start },
    iommufdFd: files.installOwned(iommufd),
    selftest: new SelftestMachine(kernel),
    node: (dev, driver) => new VfioDeviceNode({ kernel, dev, driver }),
    open: (node) => {
      const file = node.open(process);
      if (typeof file === 'number') throw new Error(`open answers ${file}`);
      return file;
    },
    call: (file, op, input, argsz = op.layout.size) => {
      const view = new DataView(argument.bytes.buffer, argument.bytes.byteOffset, PAGE);
      op.layout.encode(view, 0, input);
      view.setUint32(0, argsz, true);
      return { result: file.ioctl(op.request, argument, 0), view };
    },
  };
}
