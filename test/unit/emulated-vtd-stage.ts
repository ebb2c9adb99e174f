// A guest behind the VT-d unit of an emulated machine: memory, a nesting parent over it, and first-stage tables of its own.
import { createEmulatedHost, type EmulatedPciDeviceOptions } from '../../lib/emulated-host.js';
import type { DmaMemory, FaultQueue, HwptNested, VtdOptions } from '../../lib/index.js';
import { VtdTables } from '../rig/vtd-tables.js';

export const ADDRESS = '0000:01:00.0';
export const OTHER = '0000:02:00.0';
export const PAGE = 4096;
export const MiB = 2 ** 20;
/** Where the guest's memory lies for it. */
export const BASE = 0x4000_0000n;
const SIZE = 8 * MiB;
/** Data begins there, tables before it. */
export const DATA = 4 * MiB;
/** The guest's address that tests are mostly about. */
export const VA = 0x7000_0000n;

/** What undoes a stage. */
const undo: (() => void)[] = [];
afterEach(() => {
  for (const step of undo.splice(0).reverse()) step();
});

export type DeviceOptions = Omit<EmulatedPciDeviceOptions, 'address'>;

/** A machine with a device, and one more. */
export function machine(options: DeviceOptions = {}, other: DeviceOptions = options) {
  const host = createEmulatedHost({
    machine: 'intel-vtd',
    devices: [
      { address: ADDRESS, ...options },
      { address: OTHER, ...other },
    ],
  });
  const iommufd = host.openIommufd();
  const nics = [host.openDevice(ADDRESS), host.openDevice(OTHER)] as const;
  undo.push(() => {
    for (const nic of nics) nic.close();
    iommufd.close();
  });
  const [device, second] = [nics[0].bind(iommufd), nics[1].bind(iommufd)];
  const memory = (size: number): DmaMemory => {
    const ram = host.allocateMemory(size);
    undo.push(() => ram.free());
    return ram;
  };
  return { host, iommufd, nics, device, second, memory, own: host.device(ADDRESS), otherOwn: host.device(OTHER) };
}

export interface GuestOptions extends DeviceOptions {
  readonly levels?: 4 | 5;
  readonly dirtyTracking?: boolean;
}

/** A guest with 8 MiB: nothing is attached yet. */
export function guest({ levels = 4, dirtyTracking = false, ...options }: GuestOptions = {}) {
  const base = machine(options);
  const ram = base.memory(SIZE);
  const ioas = base.iommufd.allocIoas();
  ioas.map(ram, { iova: BASE });
  const parent = ioas.allocHwpt(base.device, { nestParent: true, dirtyTracking });
  const tables = new VtdTables(ram, { base: BASE, from: 0, levels });
  const nest = (more: Partial<VtdOptions['vtd']> & { pasid?: boolean; faultQueue?: FaultQueue } = {}): HwptNested => {
    const { pasid, faultQueue, ...vtd } = more;
    return parent.allocNestedHwpt(base.device, {
      vtd: { ...tables.vtd, ...vtd },
      ...(pasid === undefined ? {} : { pasid }),
      ...(faultQueue === undefined ? {} : { faultQueue }),
    });
  };
  return {
    ...{ ...base, ram, ioas, parent, tables, nest },
    /** The guest physical address of a page of data. */
    data: (page: number): bigint => BASE + BigInt(DATA + page * PAGE),
    /** What lies in that page. */
    read: (page: number, length = 4): Uint8Array => ram.read(DATA + page * PAGE, length),
    write: (page: number, bytes: Uint8Array): void => ram.write(DATA + page * PAGE, bytes),
  };
}

export function bytes(...values: number[]): Uint8Array {
  return Uint8Array.from(values);
}
