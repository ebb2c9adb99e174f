// `iommufd/emulated`: a machine made of nothing but a program, with Linux's /dev/iommu and an IOMMU behind it. For tests
// of what uses this package, on any system: everything is in this process, and several hosts do not know each other.
import { EmulatedDevice } from './emulated/emulated-device.js';
import type { Endpoint } from './emulated/hardware/endpoint.js';
import type { ModelFunction } from './emulated/hardware/pci/function.js';
import type { HwQueueControl } from './emulated/hardware/tegra241/queue-control.js';
import { type EmulatedHostOptions, makeMachine } from './emulated/host-options.js';
import { inspectMachine, type MachineState } from './emulated/inspect.js';
import type { Machine, PluggedDevice } from './emulated/machine.js';
import { destroyed, invalidType, outOfRange, UsageError } from './host/errors.js';
import { Host, hostSeam } from './host-object.js';
import { Device } from './objects/device.js';
import { HwQueue } from './objects/hw-queue.js';
import { answeringSeam } from './recording/transcript-seam.js';

export type {
  EmulatedDeviceOptions,
  EmulatedMediatedDeviceOptions,
  EmulatedPciDeviceOptions,
} from './emulated/device-options.js';
export type { DmaOptions, EmulatedDevice, PageRequestOptions } from './emulated/emulated-device.js';
export type {
  BusDmaOptions,
  BusPageRequest,
  DeviceBus,
  DeviceIdentity,
  DeviceMigration,
  DeviceModel,
  ModelBar,
  ModelInterrupts,
} from './emulated/hardware/pci/model.js';

import { checkMade } from './host/made.js';

export type { TlbEntryState } from './emulated/hardware/platform.js';
export type { MachineName } from './emulated/hardware/platforms.js';
export type { HwQueueControl, HwQueueState } from './emulated/hardware/tegra241/queue-control.js';
export type { EmulatedHostOptions } from './emulated/host-options.js';
export type { IommufdState, MachineState, MappingState, ObjectState } from './emulated/inspect.js';
export { mock } from './emulated/mock-options.js';

/** A host that is a program: beside what every host has, it can be looked into, and made to fail. */
export class EmulatedHost extends Host {
  readonly #machine: Machine;

  /** Not for callers: use `createEmulatedHost`. */
  constructor(machine: Machine) {
    super(machine.seam);
    this.#machine = machine;
  }

  /** The PCI addresses of its devices, and the UUIDs of mediated ones. */
  get devices(): readonly string[] {
    return this.#machine.plugged.map(({ name }) => name);
  }

  /**
   * A device of the machine, from the device's own side.
   * @param address one of `devices`
   * @throws UsageError ERR_IOMMUFD_UNAVAILABLE where there is none at this address, or one without an IOMMU
   */
  device(address: string): EmulatedDevice {
    const { fn } = this.#pluggedAt(address);
    const endpoint = this.#machine.endpointAt(address);
    if (endpoint !== undefined) return this.#ownSide(endpoint, fn);
    throw new UsageError('ERR_IOMMUFD_UNAVAILABLE', `the device at ${address} has no IOMMU to do DMA through`);
  }
  #pluggedAt(address: string): PluggedDevice {
    if (typeof address !== 'string') throw invalidType('address', 'one of host.devices', address);
    const device = this.#machine.deviceAt(address);
    if (device !== undefined) return device;
    const reason = `this machine has no device at ${address}: it has ${this.devices.join(', ') || 'none'}`;
    throw new UsageError('ERR_IOMMUFD_UNAVAILABLE', reason);
  }

  /**
   * Takes a device from its VFIO driver, as an administrator does who writes to `unbind`. A program that has it open is told
   * by the request interrupt, and nobody can open it any more. Its node goes when it is closed. Asking again tells them again.
   * @param address one of `devices`
   * @returns once nobody has it open
   * @throws UsageError ERR_IOMMUFD_UNAVAILABLE where there is none at this address
   */
  requestDevice(address: string): Promise<void> {
    return this.#machine.request(this.#pluggedAt(address));
  }
  /**
   * Gives a device back to its VFIO driver, after `requestDevice`.
   * @throws UsageError ERR_IOMMUFD_UNAVAILABLE where there is none at this address, ERR_IOMMUFD_BUSY while it is still open
   * after `requestDevice`
   */
  returnDevice(address: string): void {
    if (this.#machine.giveBack(this.#pluggedAt(address))) return;
    const reason = `the device at ${address} is still open: wait for what requestDevice answered`;
    throw new UsageError('ERR_IOMMUFD_BUSY', reason);
  }

  /**
   * What stands behind a bound device, devices made by IOMMU_TEST_CMD included.
   * @throws UsageError ERR_IOMMUFD_UNAVAILABLE where it is bound on another host, or no more, or has no IOMMU;
   * ERR_IOMMUFD_DESTROYED where it was unbound, or its iommufd is closed
   */
  deviceOf(device: Device): EmulatedDevice {
    checkMade(device, Device, 'device', 'a Device');
    if (device.destroyed) throw destroyed(`device ${device.id}`);
    const { iommufd } = device;
    const isHere = answeringSeam(hostSeam(iommufd.host)) === this.#machine.seam;
    const endpoint = isHere ? this.#machine.endpointOf(this.#machine.files.get(iommufd.fd), device.id) : undefined;
    if (endpoint === undefined) {
      throw new UsageError('ERR_IOMMUFD_UNAVAILABLE', 'this device is not bound on this host, or has no IOMMU');
    }
    return this.#ownSide(endpoint, this.#machine.deviceAt(endpoint.name)?.fn);
  }
  #ownSide(endpoint: Endpoint, fn: ModelFunction | undefined): EmulatedDevice {
    return new EmulatedDevice(endpoint, fn, () => this.#machine.seam.settle());
  }

  /**
   * A hardware queue from the hardware's side: what it is at, and faults to happen.
   * @throws UsageError ERR_IOMMUFD_UNAVAILABLE where it is of another host, or a queue of the mock, which executes nothing;
   * ERR_IOMMUFD_DESTROYED
   */
  hwQueue(queue: HwQueue): HwQueueControl {
    checkMade(queue, HwQueue, 'queue', 'an HwQueue');
    if (queue.destroyed) throw destroyed(`hardware queue ${queue.id}`);
    const { iommufd } = queue;
    const isHere = answeringSeam(hostSeam(iommufd.host)) === this.#machine.seam;
    const control = isHere ? this.#machine.hwQueueOf(this.#machine.files.get(iommufd.fd), queue.id) : undefined;
    if (control !== undefined) return control;
    const reason = 'this queue is not of this host, or one of the mock, which executes nothing';
    throw new UsageError('ERR_IOMMUFD_UNAVAILABLE', reason);
  }

  /**
   * Lets an allocation of the kernel fail, once: what needs it answers ENOMEM. What was asked for before is forgotten.
   * @param after how many allocations work before, 0 if left out; -1 takes it back
   * @throws TypeError, RangeError
   */
  failAllocation(after = 0): void {
    if (typeof after !== 'number') throw invalidType('after', 'a number', after);
    if (!Number.isSafeInteger(after) || after < -1) throw outOfRange('after', 'an integer from -1 on', after);
    this.#machine.kernel.failAllocation(after);
  }
  /** Whether an allocation that was told to fail has not been asked for yet. */
  get failurePending(): boolean {
    return this.#machine.kernel.failurePending;
  }

  /** Everything there is, at this moment: objects, mappings, references, memory. Nothing is asked of the kernel. */
  inspect(): MachineState {
    return inspectMachine(this.#machine);
  }
}

/**
 * A machine of its own. It has no threads, keeps no program from ending unless an event is waited for, and goes when nobody
 * refers to it any more.
 * @throws TypeError, RangeError on options that make no sense
 */
export function createEmulatedHost(options: EmulatedHostOptions = {}): EmulatedHost {
  return new EmulatedHost(makeMachine(options));
}
