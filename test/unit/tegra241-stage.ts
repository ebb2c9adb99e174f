// A stage for tests of the emulated Tegra241: machines with devices, guests with memory and a vIOMMU, guests that run.
import assert from 'node:assert/strict';
import { deviceSpec } from '../../lib/emulated/device-options.js';
import { EmulatedDevice } from '../../lib/emulated/emulated-device.js';
import { hwQueueControl } from '../../lib/emulated/hardware/tegra241/driver/viommu.js';
import { HwQueue as KernelQueue } from '../../lib/emulated/kernel/hw-queue.js';
import { Machine } from '../../lib/emulated/machine.js';
import { Host } from '../../lib/host-object.js';
import type { Device, DmaMemory, HwptPaging, HwQueue, Ioas, Veventq, Viommu } from '../../lib/index.js';
import { GuestQueue, GuestTables, RAM_SIZE, VA } from '../rig/vqueue-guest.js';

export const PAGE = 4096n;
/** Where each guest finds its memory. */
export const IPA = 0x4000_0000n;
export const STREAM = 7;

export const code = (work: () => unknown): string => {
  try {
    work();
    return 'ok';
  } catch (error) {
    if (error instanceof Error && 'code' in error) return String(error.code);
    throw error;
  }
};

const undo: (() => void)[] = [];
/** What a case made goes, newest first. */
export function unmake(): void {
  for (const step of undo.splice(0).reverse()) step();
}

export interface MachineOptions {
  readonly devices?: number;
  /** With 2, every second device is behind the other one: that keeps no dirty state. */
  readonly smmus?: 1 | 2;
  readonly ats?: boolean;
  readonly scatter?: boolean;
  readonly dialect?: 'linux' | 'vqueue-v3';
}

export function addressOf(index: number): string {
  return `0000:${(index + 1).toString(16).padStart(2, '0')}:00.0`;
}

/** A machine with devices that are bound to one iommufd. */
export function stage({
  devices = 1,
  smmus = 1,
  ats = false,
  scatter = false,
  dialect = 'linux',
}: MachineOptions = {}) {
  const addresses = Array.from({ length: devices }, (_, i) => addressOf(i));
  const machine = new Machine({
    name: 'tegra241-cmdqv',
    devices: addresses.map((address, i) => deviceSpec({ address, ats, dirtyTracking: i % smmus === 0 })),
    memorySize: 256 * 2 ** 20,
    scatter,
    hugePageSizes: [],
    openFiles: 512,
    rights: { ipcLock: true, sysResource: true, sysRawio: true, lockedPages: 0 },
    dialect,
  });
  const host = new Host(machine.seam);
  const iommufd = host.openIommufd();
  undo.push(() => iommufd.close());
  const memory = (size = RAM_SIZE): DmaMemory => {
    const ram = host.allocateMemory(size);
    undo.push(() => ram.free());
    return ram;
  };
  return {
    machine,
    iommufd,
    memory,
    devices: addresses.map((address) => host.openDevice(address).bind(iommufd)),
    itself: (index = 0): EmulatedDevice => {
      const endpoint = machine.endpointAt(addressOf(index));
      assert(endpoint !== undefined);
      return new EmulatedDevice(endpoint, undefined);
    },
    control: (queue: HwQueue) => {
      const [file] = machine.iommufds;
      const object = file?.context.objects.get(queue.id, KernelQueue);
      const control = object === undefined ? undefined : hwQueueControl(object);
      assert(control !== undefined);
      return control;
    },
  };
}
export type Stage = ReturnType<typeof stage>;

export function firstDevice(s: Stage, index = 0): Device {
  const device = s.devices[index];
  assert(device !== undefined);
  return device;
}

export interface Guest {
  readonly device: Device;
  readonly ram: DmaMemory;
  readonly ioas: Ioas;
  readonly parent: HwptPaging;
  readonly viommu: Viommu;
}

/** Memory and a vIOMMU for the guest of a device, or of one that shares its memory. */
export function makeGuest(s: Stage, index = 0): Guest {
  const device = firstDevice(s, index);
  const ram = s.memory();
  const ioas = s.iommufd.allocIoas();
  ioas.map(ram, { iova: IPA });
  const parent = ioas.allocHwpt(device, { nestParent: true });
  return { device, ram, ioas, parent, viommu: parent.allocViommu(device, { type: 'tegra241-cmdqv' }) };
}

export interface Running extends Guest {
  readonly tables: GuestTables;
  readonly events: Veventq;
  readonly guest: GuestQueue;
  readonly queue: HwQueue;
  /** The byte that the device reads at the guest's page `index` from VA on. */
  read(index?: number): number;
}

/** A guest whose device is translated by tables of the guest's, with a queue that runs. Its page n is full of n. */
export function run(s: Stage, { index = 0, ats = false } = {}): Running {
  const made = makeGuest(s, index);
  const { device, ram, viommu } = made;
  const tables = new GuestTables(ram, IPA);
  for (let page = 0; page < 8; page++) ram.write(tables.offset(page), new Uint8Array(4096).fill(page));
  viommu.allocVdevice(device, { virtId: STREAM });
  const events = viommu.allocVeventq({ depth: 8 });
  device.attach(viommu.allocNestedHwpt(device, { ste: tables.ste({ ats }) }));
  const guest = new GuestQueue(ram, viommu.mmap());
  const { offset, length } = guest.place;
  const queue = viommu.allocHwQueue({ index: 0, iova: IPA + offset, length });
  assert(guest.enable());
  const itself = s.itself(index);
  const read = (page = 0) => itself.dmaRead(VA + BigInt(page) * PAGE, 1)[0] ?? -1;
  return { ...made, tables, events, guest, queue, read };
}

/** The queues that events tell of. */
export function errors(events: Veventq): (readonly number[])[] {
  return events.drain().map((event) => {
    assert(event.type === 'event' && event.event.kind === 'tegra241-cmdqv');
    return event.event.queues;
  });
}
