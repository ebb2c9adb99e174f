// A stub seam with the answers of a kernel that agrees to everything, and the objects most tests begin with.

import { Host } from '../../lib/host-object.js';
import type { Device } from '../../lib/objects/device.js';
import type { Iommufd } from '../../lib/objects/iommufd.js';
import * as uapi from '../../lib/uapi/index.js';
import type { VfioDevice } from '../../lib/vfio/device.js';
import { StubSeam } from './stub-seam.js';

export const NODE = '/dev/vfio/devices/vfio0';
const PAGE_0 = 0x10000n;

const DEVICE = uapi.vfio_device_flags.values;
const PCI_THAT_RESETS = DEVICE.VFIO_DEVICE_FLAGS_PCI | DEVICE.VFIO_DEVICE_FLAGS_RESET;
const { VFIO_REGION_INFO_FLAG_READ: READ, VFIO_REGION_INFO_FLAG_WRITE: WRITE } = uapi.vfio_region_info_flags.values;
const { VFIO_REGION_INFO_FLAG_MMAP: MMAP } = uapi.vfio_region_info_flags.values;
/** The regions of every device here that have a size: BAR 0, and configuration space. */
const REGIONS = new Map([
  [0, { size: 0x10000n, flags: READ | WRITE | MMAP }],
  [7, { size: 0x1000n, flags: READ | WRITE }],
]);

/** Ids count up from 1, as the kernel's do; every call works. */
export function agreeable(seam = new StubSeam()): StubSeam {
  let id = 0;
  const next = () => ++id;
  seam.paths.set('/dev/iommu', {}).set(NODE, {});
  seam.on(uapi.IOMMU_DESTROY, 0);
  /** By IOAS: the page table that an attach made for it. */
  const pageTables = new Map<number, number | undefined>();
  seam.on(uapi.IOMMU_IOAS_ALLOC, (_, { set }) => {
    const out_ioas_id = next();
    pageTables.set(out_ioas_id, undefined);
    set({ out_ioas_id });
    return 0;
  });
  seam.on(uapi.IOMMU_IOAS_MAP, 0).on(uapi.IOMMU_IOAS_MAP_FILE, 0).on(uapi.IOMMU_IOAS_UNMAP, 0);
  seam.on(uapi.IOMMU_IOAS_COPY, 0).on(uapi.IOMMU_HWPT_GET_DIRTY_BITMAP, 0).on(uapi.IOMMU_HWPT_INVALIDATE, 0);
  seam.on(uapi.IOMMU_HWPT_ALLOC, (_, { set }) => {
    set({ out_hwpt_id: next() });
    return 0;
  });
  seam.on(uapi.IOMMU_FAULT_QUEUE_ALLOC, (_, { set }) => {
    set({ out_fault_id: next(), out_fault_fd: seam.makeFd() });
    return 0;
  });
  seam.on(uapi.IOMMU_VIOMMU_ALLOC, (input, { set, memory }) => {
    if (input.data_len === 16) {
      const data = memory(input.data_uptr, 16);
      const pair = new DataView(data.buffer, data.byteOffset, 16);
      pair.setBigUint64(0, 0x5000_0000n, true);
      pair.setBigUint64(8, PAGE_0, true);
    }
    set({ out_viommu_id: next() });
    return 0;
  });
  seam.on(uapi.IOMMU_VDEVICE_ALLOC, (_, { set }) => {
    set({ out_vdevice_id: next() });
    return 0;
  });
  seam.on(uapi.IOMMU_VEVENTQ_ALLOC, (_, { set }) => {
    set({ out_veventq_id: next(), out_veventq_fd: seam.makeFd() });
    return 0;
  });
  seam.on(uapi.IOMMU_HW_QUEUE_ALLOC, (_, { set }) => {
    set({ out_hw_queue_id: next() });
    return 0;
  });
  seam.on(uapi.VFIO_DEVICE_BIND_IOMMUFD, (_, { set }) => {
    set({ out_devid: next() });
    return 0;
  });
  seam.on(uapi.VFIO_DEVICE_ATTACH_IOMMUFD_PT, (input, { set }) => {
    if (pageTables.has(input.pt_id)) {
      const made = pageTables.get(input.pt_id) ?? next();
      pageTables.set(input.pt_id, made);
      set({ pt_id: made });
    }
    return 0;
  });
  seam.on(uapi.VFIO_DEVICE_DETACH_IOMMUFD_PT, 0);
  seam.on(uapi.VFIO_DEVICE_GET_INFO, (_, { set }) => {
    set({ flags: PCI_THAT_RESETS, num_regions: 9, num_irqs: 5 });
    return 0;
  });
  seam.on(uapi.VFIO_DEVICE_GET_REGION_INFO, ({ index }, { set }) => {
    const { size, flags } = REGIONS.get(index) ?? { size: 0n, flags: 0 };
    set({ size, flags, offset: BigInt(index) << 40n });
    return index < 8 ? 0 : -22;
  });
  return seam;
}

export interface Stage {
  readonly seam: StubSeam;
  readonly host: Host;
  readonly iommufd: Iommufd;
}

/** An open iommufd on a kernel that agrees to everything. */
export function stage(seam = agreeable()): Stage {
  const host = new Host(seam);
  return { seam, host, iommufd: host.openIommufd() };
}

export interface DeviceStage extends Stage {
  readonly nic: VfioDevice;
  readonly device: Device;
}

/** The same, with a bound device. */
export function deviceStage(seam = agreeable()): DeviceStage {
  const base = stage(seam);
  const nic = base.host.openDevice(NODE);
  return { ...base, nic, device: nic.bind(base.iommufd) };
}

/** A device with a vIOMMU of this kind. */
export function viommuStage(type: 'arm-smmuv3' | 'tegra241-cmdqv' = 'tegra241-cmdqv', seam = agreeable()) {
  const base = deviceStage(seam);
  const ioas = base.iommufd.allocIoas();
  const parent = ioas.allocHwpt(base.device, { nestParent: true });
  return { ...base, ioas, parent, viommu: parent.allocViommu(base.device, { type }) };
}

/** Everything that a test may leave behind. */
export function leftovers(seam: StubSeam): { fds: number; regions: number; watches: number; badCloses: number } {
  return { fds: seam.files.size, regions: seam.regions.size, watches: seam.watches.size, badCloses: seam.badCloses };
}

export const NOTHING = { fds: 0, regions: 0, watches: 0, badCloses: 0 } as const;

/** An error's code, or what came instead. */
export function codeOf(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : String(error);
  }
  return 'ok';
}

/** The same for a promise. */
export async function codeOfAsync(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : String(error);
  }
  return 'ok';
}

/** Lets everything that is ready run. */
export async function turn(turns = 3): Promise<void> {
  for (let i = 0; i < turns; i++) await new Promise((resolve) => setImmediate(resolve));
}

/** Random numbers from a seed: a failing run can be repeated. */
export function generator(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}
