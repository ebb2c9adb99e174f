// One of everything on a machine, for tests that let the kernel's allocations fail: the same on every machine, emulated or real.
import type { MachineName } from '../../lib/emulated-host.js';
import { mock } from '../../lib/emulated-host.js';
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
import type { Host } from '../../lib/unsafe.js';
import type { Need, Place, Role } from './memory-place.js';

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
  readonly machine: MachineName;
  readonly host: Host;
  readonly iommufd: Iommufd;
  readonly device: Device;
  readonly ram: DmaMemory;
  readonly ioas: Ioas;
  readonly parent: HwptPaging;
  readonly #undo: (() => void)[] = [];
  readonly #devices = new Map<string, VfioDevice>();

  constructor(readonly place: Place) {
    this.machine = place.machine;
    this.host = place.host;
    this.iommufd = this.host.openIommufd();
    this.later(() => this.iommufd.close());
    try {
      this.device = place.device(this);
      this.ram = this.memory(SIZE);
      // Its pages are there: what is let fail is the kernel's work on them.
      this.ram.window(0, SIZE).fill(1);
      this.ioas = this.iommufd.allocIoas();
      this.ioas.map(this.ram, { iova: IOVA });
      this.parent = this.ioas.allocHwpt(this.device, { nestParent: place.nests });
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** The machine must have this: where it has not, it says why. */
  needs(need: Need): void {
    this.place.needs(need);
  }
  /** The device that most operations are about. */
  get nic(): VfioDevice {
    return this.bound('nic');
  }
  /** The address of a device, or its UUID. */
  name(role: Role): string {
    return this.place.name(role);
  }
  /** A device's own side, on an emulated machine. */
  get own() {
    return this.place.emulated().device(this.name('nic'));
  }

  /** Runs when the site goes, the last one first. */
  later(step: () => void): void {
    this.#undo.push(step);
  }
  /** Everything goes. */
  close(): void {
    for (const step of this.#undo.splice(0).reverse()) step();
  }

  open(role: Role): VfioDevice {
    const nic = this.host.openDevice(this.name(role));
    this.later(() => nic[Symbol.dispose]());
    return nic;
  }
  /** A device bound to the iommufd; the same one for all roles that it has. */
  bound(role: Role): VfioDevice {
    const name = this.name(role);
    const known = this.#devices.get(name);
    if (known !== undefined) return known;
    const nic = this.open(role);
    nic.bind(this.iommufd);
    this.#devices.set(name, nic);
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
    this.needs('nesting');
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
      kernel: this.place.inspect(this.iommufd),
      objects: objects.map((object) => [object.describe(), ...object.heldBy]),
      mapped: [this.ram.mappings, this.ioas.mappingCount],
    };
  }
}
