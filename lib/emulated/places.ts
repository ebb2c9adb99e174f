// Where devices are: on a bus, in a slot, in an IOMMU group.
import type { DeviceSpec, PciDeviceSpec } from './device-options.js';
import type { Domain } from './kernel/driver.js';
import { IommuGroup } from './kernel/iommu-group.js';
import type { PciBus, PciFunction } from './kernel/vfio-pci/function.js';

/** '0000:01:00' of '0000:01:00.0'. */
export function slotOf(address: string): string {
  return address.slice(0, address.lastIndexOf('.'));
}

export interface Bus extends PciBus {
  readonly functions: PciFunction[];
}

/** The bus of an address. Bus 00 is the root, and every other one is below a port that can reset it. */
export function busOf(buses: Map<string, Bus>, address: string): Bus {
  const name = address.slice(0, address.lastIndexOf(':'));
  const bus = buses.get(name) ?? { functions: [], resettable: !name.endsWith(':00') };
  buses.set(name, bus);
  return bus;
}

interface NumberedGroup {
  readonly number: number;
  readonly group: IommuGroup;
}

/** IOMMU groups by number. */
export class Groups {
  readonly #blocked: Domain;
  readonly #groups = new Map<number, IommuGroup>();
  /** Numbers that were asked for. */
  readonly #taken: ReadonlySet<number>;
  #next = 0;

  constructor(devices: readonly DeviceSpec[], blocked: Domain) {
    this.#blocked = blocked;
    this.#taken = new Set(devices.flatMap((device) => (device.kind === 'pci' ? (device.group ?? []) : [])));
  }

  /** The group of a device: that of its number, or one of its own with the first number that nobody asked for. */
  of({ iommu, group: wanted }: PciDeviceSpec): NumberedGroup | undefined {
    if (!iommu) return undefined;
    const number = wanted ?? this.#unused();
    const group = this.#groups.get(number) ?? new IommuGroup(this.#blocked);
    this.#groups.set(number, group);
    return { number, group };
  }
  #unused(): number {
    while (this.#taken.has(this.#next)) this.#next++;
    return this.#next++;
  }
}
