// An emulated machine put together: memory, a kernel, the process that calls it, and the hardware that was asked for.
import { NoiommuDevice } from './hardware/noiommu.js';
import { SelftestMachine } from './hardware/selftest/machine.js';
import { MockDevice } from './hardware/selftest/mock-device.js';
import type { IommuDevice } from './kernel/driver.js';
import type { OpenFile } from './kernel/file.js';
import { IommufdFile } from './kernel/iommufd-file.js';
import { type Dialect, Kernel } from './kernel/kernel.js';
import { Process, type ProcessRights } from './kernel/process.js';
import { BareDriver } from './kernel/vfio/bare-driver.js';
import { VfioDeviceNode } from './kernel/vfio/node.js';
import { LocalAddressSpace } from './memory/address-space.js';
import { PhysicalMemory } from './memory/physical.js';
import { FdTable } from './process/fd-table.js';
import { Filesystem } from './process/filesystem.js';
import { CharacterFile } from './process/plain-files.js';
import { EmulatedSeam } from './process/seam.js';

/** A PCI device that vfio-pci drives. */
export interface DeviceSpec {
  /** Its address as sysfs spells it: '0000:01:00.0'. */
  readonly address: string;
  readonly dirtyTracking: boolean;
  readonly pasid: boolean;
  /** Whether there is an IOMMU in front of it. */
  readonly iommu: boolean;
}

export interface MachineSpec {
  readonly devices: readonly DeviceSpec[];
  /** Bytes. */
  readonly memorySize: number;
  readonly scatter: boolean;
  readonly hugePageSizes: readonly number[];
  readonly openFiles: number;
  readonly rights: ProcessRights;
  readonly dialect: Dialect;
}

/** A device with its node. */
export interface PluggedDevice {
  readonly spec: DeviceSpec;
  readonly node: VfioDeviceNode;
}

/** The device numbers that Linux gives miscellaneous devices, and VFIO's here. */
const MISC_MAJOR = 10;
const IOMMU_MINOR = 124;
const VFIO_MAJOR = 511;

export class Machine {
  readonly physical: PhysicalMemory;
  readonly kernel: Kernel;
  readonly process: Process;
  readonly files: FdTable;
  readonly seam: EmulatedSeam;
  readonly selftest: SelftestMachine;
  /** Every open /dev/iommu, in the order of opening. */
  readonly iommufds = new Set<IommufdFile>();
  readonly plugged: readonly PluggedDevice[];

  constructor(spec: MachineSpec) {
    this.physical = new PhysicalMemory({ size: spec.memorySize, scatter: spec.scatter });
    this.kernel = new Kernel(this.physical, spec.dialect);
    this.files = new FdTable(spec.openFiles);
    const memory = new LocalAddressSpace();
    this.process = new Process(memory, this.files, spec.rights);
    const filesystem = new Filesystem();
    this.#addNodes(filesystem);
    this.selftest = new SelftestMachine(this.kernel);
    this.plugged = spec.devices.map((device, index) => this.#plug(filesystem, device, index));
    const { physical, files } = this;
    this.seam = new EmulatedSeam({ physical, memory, files, filesystem, hugePageSizes: spec.hugePageSizes });
  }

  #addNodes(filesystem: Filesystem): void {
    filesystem.addNode('/dev/null', { major: 1, minor: 3, open: () => new CharacterFile('nothing') });
    filesystem.addNode('/dev/zero', { major: 1, minor: 5, open: () => new CharacterFile('zeros') });
    filesystem.addNode('/dev/iommu', {
      major: MISC_MAJOR,
      minor: IOMMU_MINOR,
      open: () => {
        const file = new IommufdFile(this.kernel, this.process, (closed) => this.iommufds.delete(closed));
        this.iommufds.add(file);
        return file;
      },
    });
  }

  /** What a program finds of a device: its sysfs entry, driven by vfio-pci, and its node. */
  #plug(filesystem: Filesystem, spec: DeviceSpec, index: number): PluggedDevice {
    const node = new VfioDeviceNode({ kernel: this.kernel, dev: this.#makeDevice(spec), driver: new BareDriver() });
    const name = `${spec.iommu ? '' : 'noiommu-'}vfio${index}`;
    const sysfs = `/sys/bus/pci/devices/${spec.address}`;
    const number = `${VFIO_MAJOR}:${index}\n`;
    filesystem.addLink(`${sysfs}/driver`, '../../../bus/pci/drivers/vfio-pci');
    filesystem.addText(`${sysfs}/vfio-dev/${name}/dev`, number);
    filesystem.addText(`/sys/class/vfio-dev/${name}/dev`, number);
    filesystem.addLink(`/sys/class/vfio-dev/${name}/device`, `../../../${spec.address}`);
    filesystem.addNode(`/dev/vfio/devices/${name}`, {
      major: VFIO_MAJOR,
      minor: index,
      open: () => node.open(this.process),
    });
    return { spec, node };
  }
  #makeDevice({ address, dirtyTracking, pasid, iommu }: DeviceSpec): IommuDevice {
    if (!iommu) return new NoiommuDevice(address);
    return this.selftest.createDevice({ name: address, noDirty: !dirtyTracking, pasid });
  }

  /** The mock device that is plugged in at an address. */
  mockAt(address: string): MockDevice | undefined {
    const dev = this.plugged.find(({ spec }) => spec.address === address)?.node.dev;
    return dev instanceof MockDevice ? dev : undefined;
  }
  /** The mock device that an open /dev/iommu knows by this id. */
  mockOf(file: OpenFile | undefined, id: number): MockDevice | undefined {
    return file instanceof IommufdFile ? this.selftest.deviceById(file.context, id) : undefined;
  }
}
