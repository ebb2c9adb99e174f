// One of everything on an emulated machine, for tests that let the kernel's allocations fail: the same on every machine.
import {
  createEmulatedHost,
  type EmulatedDevice,
  type EmulatedHost,
  type MachineName,
  type MachineState,
  mock,
} from '../../lib/emulated-host.js';
import type {
  Device,
  DmaMemory,
  HwptNested,
  HwptPaging,
  HwQueue,
  Ioas,
  Iommufd,
  NestedOptions,
  Veventq,
  VfioDevice,
  Viommu,
} from '../../lib/index.js';

export const ADDRESS = '0000:01:00.0';
export const SIBLING = '0000:01:00.1';
export const UUID = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001';
export const NO_IOMMU = '0000:00:09.0';
export const MACHINES = ['selftest', 'arm-smmuv3', 'tegra241-cmdqv', 'intel-vtd'] as const;
export const SMMUS = ['arm-smmuv3', 'tegra241-cmdqv'] as const;
/** The machines that have vIOMMUs. */
export const VIOMMUS = ['selftest', ...SMMUS] as const;
/** Those that have hardware queues. */
export const QUEUES = ['selftest', 'tegra241-cmdqv'] as const;

export const PAGE = 4096;
export const IOVA = 0x4000_0000n;
/** Where nothing is mapped. */
export const FREE = 0x5000_0000n;
export const SIZE = 64 * PAGE;
export const STREAM = 7n;

/** Translation by stage 2 alone: a valid stream table entry with Config 0b100 (Arm IHI 0070, 5.2). */
const BYPASS = [1n | (4n << 1n), 0n] as const;

export class Site {
  readonly host: EmulatedHost;
  /** The machine before anybody used it. */
  readonly before: MachineState;
  readonly iommufd: Iommufd;
  readonly nic: VfioDevice;
  readonly device: Device;
  readonly own: EmulatedDevice;
  readonly ram: DmaMemory;
  readonly ioas: Ioas;
  readonly parent: HwptPaging;
  readonly #undo: (() => void)[] = [];

  constructor(readonly machine: MachineName) {
    const capable = machine !== 'selftest';
    const model = { model: 'test', pasid: true, ats: capable, recoverableFaults: capable } as const;
    this.host = createEmulatedHost({
      machine,
      // Pinned pages are charged to somebody, but for the machine with the device that takes privilege.
      limits: { privileged: machine === 'selftest', lockedMemory: 64 * SIZE },
      devices: [
        { address: ADDRESS, ...model },
        { address: SIBLING, ...model },
        { uuid: UUID, model: 'serial' },
        { address: NO_IOMMU, iommu: false },
      ],
    });
    this.before = this.host.inspect();
    this.iommufd = this.host.openIommufd();
    this.later(() => this.iommufd.close());
    this.nic = this.open(ADDRESS);
    this.device = this.nic.bind(this.iommufd);
    this.own = this.host.device(ADDRESS);
    this.ram = this.memory(SIZE);
    this.ioas = this.iommufd.allocIoas();
    this.ioas.map(this.ram, { iova: IOVA });
    this.parent = this.ioas.allocHwpt(this.device, { nestParent: true });
  }

  /** Runs when the site goes, the last one first. */
  later(step: () => void): void {
    this.#undo.push(step);
  }
  /** Everything goes. */
  close(): void {
    for (const step of this.#undo.splice(0).reverse()) step();
  }

  open(name: string): VfioDevice {
    const nic = this.host.openDevice(name);
    this.later(() => nic[Symbol.dispose]());
    return nic;
  }
  bound(name: string): VfioDevice {
    const nic = this.open(name);
    nic.bind(this.iommufd);
    return nic;
  }
  memory(size = PAGE): DmaMemory {
    const memory = this.host.allocateMemory(size);
    this.later(() => memory.free());
    return memory;
  }
  viommu(): Viommu {
    const type = this.machine === 'arm-smmuv3' ? 'arm-smmuv3' : 'tegra241-cmdqv';
    return this.parent.allocViommu(this.device, this.machine === 'selftest' ? mock.viommu() : { type });
  }
  /** A vIOMMU that knows the device. */
  furnished(): Viommu {
    const viommu = this.viommu();
    viommu.allocVdevice(this.device, { virtId: STREAM });
    return viommu;
  }
  veventq(viommu: Viommu, depth = 4): Veventq {
    return viommu.allocVeventq({ depth, ...(this.machine === 'selftest' ? mock.veventq() : {}) });
  }
  hwQueue(viommu: Viommu): HwQueue {
    const place = { index: 0, iova: IOVA, length: PAGE };
    return viommu.allocHwQueue({ ...place, ...(this.machine === 'selftest' ? mock.hwQueue() : {}) });
  }
  /** What a nested page table of this machine takes. */
  get nestedOptions(): NestedOptions {
    if (this.machine === 'selftest') return mock.nested();
    if (this.machine === 'intel-vtd') return { vtd: { pageTable: IOVA, addressWidth: 48 } };
    return { ste: BYPASS };
  }
  nested(): HwptNested {
    if (this.machine === 'intel-vtd') return this.parent.allocNestedHwpt(this.device, this.nestedOptions);
    return this.furnished().allocNestedHwpt(this.device, this.nestedOptions);
  }

  /** All that a call could have left behind: what the kernel holds, and what the library knows. */
  state(): unknown {
    const objects = this.iommufd.closed ? [] : this.iommufd.objects;
    return {
      kernel: this.host.inspect(),
      objects: objects.map((object) => [object.describe(), ...object.heldBy]),
      mapped: [this.ram.mappings, this.ioas.mappingCount],
    };
  }
}
