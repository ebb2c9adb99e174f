// What a VMM sets up for one guest on the mock: a device, memory, a nesting parent, a vIOMMU, and what hangs from it.
import assert from 'node:assert/strict';
import * as mock from '../../lib/emulated/hardware/selftest/uapi.js';
import type { Device, DmaMemory, HwptNested, HwptPaging, HwQueue, Ioas, MmioRegion, Viommu } from '../../lib/index.js';
import { errnoName } from '../../lib/uapi/index.js';
import { MOCK_APERTURE, type MockDevice, type MockDeviceOptions, testCmd } from './mock.js';
import { type Bench, PAGE, portOf } from './suite.js';

const numbers = mock.iommu_test_numbers.values;

export const VIOMMU_TYPE = numbers.IOMMU_VIOMMU_TYPE_SELFTEST;
export const QUEUE_TYPE = numbers.IOMMU_HW_QUEUE_TYPE_SELFTEST;
export const VEVENTQ_TYPE = numbers.IOMMU_VEVENTQ_TYPE_SELFTEST;
export const NESTED_TYPE = numbers.IOMMU_HWPT_DATA_SELFTEST;
/** A number that no kind has. */
export const UNKNOWN_TYPE = 0x7777_7777;
/** Bytes of an event's payload. */
export const PAYLOAD = mock.iommu_viommu_event_selftest.size;
/** Where the vIOMMU's driver data tells the mmap pair. */
export const MMAP_PAIR = {
  offsetAt: mock.iommu_viommu_selftest.at.out_mmap_offset,
  lengthAt: mock.iommu_viommu_selftest.at.out_mmap_length,
};
/** The first IOVA the mock takes: the guest's memory starts here. */
export const BASE = MOCK_APERTURE.start;

/** Driver data of a vIOMMU that asks for registers. */
export function viommuData(inData = 0): Uint8Array {
  const data = new Uint8Array(mock.iommu_viommu_selftest.size);
  mock.iommu_viommu_selftest.encode(new DataView(data.buffer), 0, { in_data: inData });
  return data;
}

/** A vIOMMU with registers; the first word of them is `inData`. */
export function makeViommu(parent: HwptPaging, device: Device, inData = 0): Viommu {
  return parent.allocViommu(device, { type: VIOMMU_TYPE, data: viommuData(inData), mmapPair: MMAP_PAIR });
}

export function makeNested(viommu: Viommu, device: Device, options: object = {}): HwptNested {
  const bytes = new Uint8Array(mock.iommu_hwpt_selftest.size);
  return viommu.allocNestedHwpt(device, { ...options, data: { type: NESTED_TYPE, bytes } });
}

export interface Guest {
  readonly mock: MockDevice;
  readonly device: Device;
  readonly ioas: Ioas;
  /** 64 KiB, mapped from BASE on. */
  readonly ram: DmaMemory;
  readonly parent: HwptPaging;
  readonly viommu: Viommu;
  /** A queue in page number `index` of the memory. */
  queue(index: number): HwQueue;
}

export interface GuestOptions {
  readonly device?: MockDeviceOptions;
  readonly inData?: number;
}

/** A guest with a vIOMMU, and nothing on that. */
export function makeGuest(t: Bench, options: GuestOptions = {}, iommufd = t.iommufd): Guest {
  const ram = t.memory();
  const mockDevice = t.mockDevice(options.device, iommufd);
  const { device } = mockDevice;
  const ioas = iommufd.allocIoas();
  ioas.map(ram, { iova: BASE });
  const parent = ioas.allocHwpt(device, { nestParent: true });
  const viommu = makeViommu(parent, device, options.inData);
  return {
    mock: mockDevice,
    device,
    ioas,
    ram,
    parent,
    viommu,
    queue: (index) => viommu.allocHwQueue({ type: QUEUE_TYPE, index, iova: BASE + BigInt(index) * PAGE, length: PAGE }),
  };
}

/** The guest's own number of its device, unless told otherwise. */
export const VIRT_ID = 0x20;

/** Gives a guest's device a virtual id, and attaches it to a nested page table: now events can be raised. */
export function plugDevice(guest: Pick<Guest, 'viommu' | 'device'>, virtId = VIRT_ID): HwptNested {
  guest.viommu.allocVdevice(guest.device, { virtId });
  const nested = makeNested(guest.viommu, guest.device);
  guest.device.attach(nested);
  return nested;
}

/** Makes the vIOMMU raise events about the device. */
export function raiseEvents(t: Bench, device: Device, count = 1): void {
  for (let i = 0; i < count; i++) {
    testCmd(portOf(t), 'IOMMU_TEST_OP_TRIGGER_VEVENT', mock.test_trigger_vevent, { dev_id: device.id });
  }
}

/** A file's read, past the objects: bytes, or the errno's name. */
export function rawRead(t: Bench, fd: number, length: number): Uint8Array | string {
  const { seam } = t.rig;
  const mark = seam.arena.mark();
  const at = seam.arena.take(length);
  try {
    const result = seam.read(fd, at, length);
    return result < 0 ? errnoName(result) : seam.arena.bytes.slice(at, at + result);
  } finally {
    seam.arena.release(mark);
  }
}

/** A file's write, past the objects: how many bytes were taken, or the errno's name. */
export function rawWrite(t: Bench, fd: number, bytes: Uint8Array): number | string {
  const { seam } = t.rig;
  const mark = seam.arena.mark();
  const at = seam.arena.take(bytes.length);
  try {
    seam.arena.bytes.set(bytes, at);
    const result = seam.write(fd, at, bytes.length);
    return result < 0 ? errnoName(result) : result;
  } finally {
    seam.arena.release(mark);
  }
}

/** mmap of a device file, past the objects: 'ok' (and unmapped at once), or the errno's name. */
export function rawMmap(t: Bench, offset: bigint, length: bigint, fd = t.iommufd.fd): string {
  const mapped = t.rig.seam.mapMmio(fd, Number(offset), Number(length));
  if (typeof mapped === 'number') return errnoName(mapped);
  assert.equal(mapped.free(), 0);
  return 'ok';
}

/** The region of a window, whole pages long. */
export function wholeRegion(t: Bench): number {
  return t.rig.seam.pageSize * 2;
}

/** Asserts that a window is gone. */
export function assertUnmapped(window: MmioRegion): void {
  assert.equal(window.mapped, false);
  assert.throws(() => window.read32(0), { code: 'ERR_IOMMUFD_DESTROYED' });
}

/** Lets everything that is due run: a wait that is over would be over by then. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
}
