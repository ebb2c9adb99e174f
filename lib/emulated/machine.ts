// An emulated machine put together: memory, a kernel, the process that calls it, and the hardware that was asked for.
import type { DeviceSpec, MediatedDeviceSpec, PciDeviceSpec } from './device-options.js';
import { type Endpoint, isEndpoint } from './hardware/endpoint.js';
import { NoiommuDevice } from './hardware/noiommu.js';
import { physicalDma, translatedDma } from './hardware/pci/dma-port.js';
import { Firmware } from './hardware/pci/firmware.js';
import { ModelFunction } from './hardware/pci/function.js';
import type { Platform } from './hardware/platform.js';
import { type MachineName, makePlatform } from './hardware/platforms.js';
import { hwQueueControl } from './hardware/tegra241/driver/viommu.js';
import type { HwQueueControl } from './hardware/tegra241/queue-control.js';
import { IommufdDevice } from './kernel/device.js';
import type { IommuDevice } from './kernel/driver.js';
import { FailNthFile } from './kernel/fail-nth-file.js';
import type { OpenFile } from './kernel/file.js';
import { HwQueue } from './kernel/hw-queue.js';
import type { IommuGroup } from './kernel/iommu-group.js';
import { IommufdFile } from './kernel/iommufd-file.js';
import { type Dialect, Kernel, type Linux } from './kernel/kernel.js';
import { Process, type ProcessRights } from './kernel/process.js';
import { VfioDeviceNode } from './kernel/vfio/node.js';
import { SerialDevice } from './kernel/vfio-mdev/serial.js';
import type { PciFunction } from './kernel/vfio-pci/function.js';
import { VfioPci } from './kernel/vfio-pci/vfio-pci.js';
import { LocalAddressSpace } from './memory/address-space.js';
import { ModelFaults } from './memory/faults.js';
import { PhysicalMemory } from './memory/physical.js';
import { type Bus, busOf, Groups, slotOf } from './places.js';
import { FdTable } from './process/fd-table.js';
import { Filesystem } from './process/filesystem.js';
import { CharacterFile } from './process/plain-files.js';
import { EmulatedSeam } from './process/seam.js';
import { addMediatedDevice, addPciDevice, addVfioEntry, removeVfioEntry, type VfioEntry } from './sysfs.js';

export interface MachineSpec {
  readonly name: MachineName;
  readonly devices: readonly DeviceSpec[];
  /** Bytes. */
  readonly memorySize: number;
  readonly scatter: boolean;
  readonly hugePageSizes: readonly number[];
  readonly openFiles: number;
  readonly rights: ProcessRights;
  readonly dialect: Dialect;
  /** The newest if left out. */
  readonly linux?: Linux;
}

/** A device with its node. */
export interface PluggedDevice {
  /** Its PCI address or UUID. */
  readonly name: string;
  readonly node: VfioDeviceNode;
  readonly entry: VfioEntry;
  /** The PCI function; undefined for a mediated device. */
  readonly fn: ModelFunction | undefined;
  readonly driver: VfioPci | undefined;
}

/** The device number of /dev/iommu on Linux. */
const MISC_MAJOR = 10;
const IOMMU_MINOR = 124;
const VFIO_MINOR = 196;
/** Where a thread says which of its allocations is to fail. */
const FAIL_NTH = '/proc/thread-self/fail-nth';

export class Machine {
  readonly physical: PhysicalMemory;
  readonly kernel: Kernel;
  readonly process: Process;
  readonly files: FdTable;
  readonly seam: EmulatedSeam;
  /** The IOMMU that devices are behind. */
  readonly platform: Platform;
  /** Every open /dev/iommu, in the order of opening. */
  readonly iommufds = new Set<IommufdFile>();
  readonly plugged: readonly PluggedDevice[];
  /** Devices that are being taken from their drivers, until nobody has them open. */
  readonly #requests = new Map<PluggedDevice, Promise<void>>();
  readonly #filesystem = new Filesystem();
  readonly #groups: Groups;
  readonly #firmware = new Firmware();
  readonly #faults = new ModelFaults();
  /** What vfio-pci drives. */
  readonly #drivers = new Map<PciFunction, VfioPci>();

  constructor(spec: MachineSpec) {
    this.physical = new PhysicalMemory({ size: spec.memorySize, scatter: spec.scatter });
    this.kernel = new Kernel(this.physical, spec.dialect, spec.linux);
    this.files = new FdTable(spec.openFiles);
    const memory = new LocalAddressSpace();
    this.process = new Process(memory, this.files, spec.rights);
    this.#addNodes(this.#filesystem);
    this.platform = makePlatform(spec.name, this.kernel);
    this.#groups = new Groups(spec.devices, this.platform.blocked);
    this.plugged = this.#plugAll(spec.devices);
    const { physical, files } = this;
    const { hugePageSizes } = spec;
    const [filesystem, faults] = [this.#filesystem, this.#faults];
    const release = `${this.kernel.linux}-emulated`;
    this.seam = new EmulatedSeam({ release, physical, memory, files, filesystem, hugePageSizes, faults });
  }

  #addNodes(filesystem: Filesystem): void {
    filesystem.addNode('/dev/null', { major: 1, minor: 3, open: () => new CharacterFile('nothing') });
    filesystem.addNode('/dev/zero', { major: 1, minor: 5, open: () => new CharacterFile('zeros') });
    filesystem.addNode('/dev/iommu', {
      major: MISC_MAJOR,
      minor: IOMMU_MINOR,
      open: () => this.#openIommufd('user'),
    });
    filesystem.addFile(FAIL_NTH, { size: 0, open: () => new FailNthFile(this.kernel) });
    // As with CONFIG_IOMMUFD_VFIO_CONTAINER: a container is an iommufd that charges as VFIO did.
    filesystem.addNode('/dev/vfio/vfio', {
      major: MISC_MAJOR,
      minor: VFIO_MINOR,
      open: () => this.#openIommufd('mm'),
    });
  }
  #openIommufd(charged: 'user' | 'mm'): OpenFile {
    const file = new IommufdFile(this.kernel, this.process, (closed) => this.iommufds.delete(closed));
    file.context.accountMode = charged;
    this.iommufds.add(file);
    return file;
  }

  #plugAll(devices: readonly DeviceSpec[]): PluggedDevice[] {
    const buses = new Map<string, Bus>();
    const slots = devices.map(({ name }) => slotOf(name));
    return devices.map((spec, index) => {
      if (spec.kind === 'mediated') return this.#plugMediated(spec, index);
      const multifunction = slots.filter((slot) => slot === slotOf(spec.name)).length > 1;
      return this.#plugPci(spec, index, busOf(buses, spec.name), multifunction);
    });
  }
  #plugPci(spec: PciDeviceSpec, minor: number, bus: Bus, multifunction: boolean): PluggedDevice {
    const { name } = spec;
    const group = this.#groups.of(spec);
    const dev = this.#makeDevice(spec, group?.group);
    const dma = isEndpoint(dev) ? translatedDma(dev) : physicalDma(this.physical);
    const fn = new ModelFunction(spec.parts, {
      address: name,
      dev,
      bus,
      dma,
      firmware: this.#firmware,
      faults: this.#faults,
      multifunction,
    });
    bus.functions.push(fn);
    addPciDevice(this.#filesystem, fn, group?.number);
    const driver = new VfioPci(this.kernel, fn, this.#drivers);
    this.#drivers.set(fn, driver);
    const node = new VfioDeviceNode({ kernel: this.kernel, driver, dev });
    const hasNode = spec.iommu || this.kernel.has('7.3');
    const entryName = `${hasNode && !spec.iommu ? 'noiommu-' : ''}vfio${minor}`;
    const entry = { name: entryName, minor, hasNode, bus: 'pci', driver: 'vfio-pci' } as const;
    return this.#plug({ name, node, fn, driver }, entry);
  }
  #makeDevice(spec: PciDeviceSpec, group: IommuGroup | undefined): IommuDevice {
    return spec.iommu ? this.platform.createDevice({ ...spec, group }) : new NoiommuDevice(spec.name);
  }
  #plugMediated({ name, ports }: MediatedDeviceSpec, minor: number): PluggedDevice {
    addMediatedDevice(this.#filesystem, name, `mtty-${ports}`);
    const node = new VfioDeviceNode({
      kernel: this.kernel,
      driver: new SerialDevice(this.kernel, ports),
      dev: undefined,
    });
    return this.#plug(
      { name, node, fn: undefined, driver: undefined },
      { name: `vfio${minor}`, minor, hasNode: true, bus: 'mdev', driver: 'mtty' },
    );
  }
  /** Gives a device its node. */
  #plug(device: Omit<PluggedDevice, 'entry'>, place: Omit<VfioEntry, 'device' | 'open'>): PluggedDevice {
    const entry = { ...place, device: device.name, open: () => device.node.open(this.process) };
    addVfioEntry(this.#filesystem, entry);
    return { ...device, entry };
  }

  /** Takes a device from its driver, as writing to `unbind` does; resolves when nobody has it open any more. */
  request(device: PluggedDevice): Promise<void> {
    const pending = this.#requests.get(device);
    if (pending === undefined) return this.#take(device);
    device.node.request();
    return pending;
  }
  #take(device: PluggedDevice): Promise<void> {
    const gone = new Promise<void>((resolve) => device.node.unregister(resolve)).then(() => {
      this.#requests.delete(device);
      removeVfioEntry(this.#filesystem, device.entry);
      if (device.fn !== undefined) this.#drivers.delete(device.fn);
    });
    this.#requests.set(device, gone);
    return gone;
  }
  /** The driver has it again; false while somebody still has it open who was asked for it. On Linux, writing to `bind` waits. */
  giveBack(device: PluggedDevice): boolean {
    if (this.#requests.has(device)) return false;
    const { node, entry, fn, driver } = device;
    node.register();
    addVfioEntry(this.#filesystem, entry);
    if (fn !== undefined && driver !== undefined) this.#drivers.set(fn, driver);
    return true;
  }

  /** open(2) of a device node, or of what else is a file here. */
  open(path: string): OpenFile | number {
    return this.#filesystem.open(path);
  }

  deviceAt(name: string): PluggedDevice | undefined {
    return this.plugged.find((device) => device.name === name);
  }
  /** What is plugged in at an address, as its IOMMU has it; undefined for what is behind none. */
  endpointAt(address: string): Endpoint | undefined {
    const dev = this.deviceAt(address)?.node.dev;
    return dev !== undefined && isEndpoint(dev) ? dev : undefined;
  }
  /** The hardware of a queue that an open /dev/iommu knows by this id; undefined where it has none to look into. */
  hwQueueOf(file: OpenFile | undefined, id: number): HwQueueControl | undefined {
    const queue = file instanceof IommufdFile ? file.context.objects.get(id, HwQueue) : undefined;
    return queue === undefined ? undefined : hwQueueControl(queue);
  }
  /** The device that an open /dev/iommu knows by this id. */
  endpointOf(file: OpenFile | undefined, id: number): Endpoint | undefined {
    const dev = file instanceof IommufdFile ? file.context.objects.get(id, IommufdDevice)?.dev : undefined;
    return dev !== undefined && isEndpoint(dev) ? dev : undefined;
  }
}
