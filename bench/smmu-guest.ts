// A guest of an emulated Tegra241 for benchmarks: its device is translated by its own page tables, of four levels, on top of
// the kernel's, and it has a command queue of the hardware's.
import assert from 'node:assert/strict';
import { deviceSpec } from '../lib/emulated/device-options.js';
import type { Endpoint } from '../lib/emulated/hardware/endpoint.js';
import { Smmuv3Device } from '../lib/emulated/hardware/smmuv3/driver/device.js';
import type { Stream } from '../lib/emulated/hardware/smmuv3/stream.js';
import { Machine } from '../lib/emulated/machine.js';
import { Host } from '../lib/host-object.js';
import type { DmaMemory, Iommufd, MmioRegion } from '../lib/index.js';
import { Armv8Tables, type TableStore } from '../test/rig/armv8-tables.js';

export const PAGE = 4096;
const DEVICE = '0000:01:00.0';
const STREAM = 7;
const ASID = 5n;
/** Where the guest's memory lies for it. */
const IPA = 0x1_8000_0000;
/** How much it has: half of it for pages that its devices reach, the other half for tables and queues. */
const SIZE = 128 * 2 ** 20;
const DATA = SIZE / 2;
export const DATA_PAGES = DATA / PAGE;
/** The first address that its tables are about: 1 TiB. */
const VA = 2n ** 40n;
export const FIRST_PAGE = Number(VA) / PAGE;
/** A step that shares no factor with a power of two: pages that follow each other lead all over the place. */
const STEP = 7919;

/** T0SZ 16, cacheable tables, no TTB1, valid, 40-bit output, AArch64, faults are recorded. */
const CONTEXT =
  16n | (1n << 8n) | (1n << 10n) | (3n << 12n) | (1n << 30n) | (1n << 31n) | (2n << 32n) | (1n << 41n) | (7n << 45n);
const VALID = 1n;
const STAGE_1 = 5n << 1n;
const CACHEABLE = (1n << 2n) | (1n << 4n) | (3n << 6n);

/** Commands that the queue holds, of 16 bytes. */
export const QUEUE_LENGTH = 4096;
const COMMAND = 16;
const CONS = 0x00;
const PROD = 0x04;
const CONFIG = 0x08;
/** CMD_TLBI_NH_VA, CMD_SYNC */
const FORGET_PAGE = 0x12n;
const SYNC = 0x46n;

/** The guest's memory from its side. */
class GuestMemory implements TableStore {
  readonly #view: DataView;
  #next = DATA;

  constructor(ram: DmaMemory) {
    const { buffer, byteOffset, byteLength } = ram.window();
    this.#view = new DataView(buffer, byteOffset, byteLength);
  }
  allocate(bytes: number): number {
    const at = Math.ceil(this.#next / bytes) * bytes;
    this.#next = at + bytes;
    return IPA + at;
  }
  put(ipa: number, low: number, high: number): void {
    this.#view.setUint32(ipa - IPA, low, true);
    this.#view.setUint32(ipa - IPA + 4, high, true);
  }
  put64(ipa: number, value: bigint): void {
    this.put(ipa, Number(value & 0xffff_ffffn), Number(value >> 32n));
  }
}

export class SmmuGuest {
  readonly ram: DmaMemory;
  /** The device's own side, and its stream in the SMMU. */
  readonly device: Endpoint;
  readonly stream: Stream;
  /** Memory of the device's: pages of it are whole pages of this machine. */
  readonly deviceMemory: DmaMemory;
  readonly #iommufd: Iommufd;
  readonly #memory: GuestMemory;
  readonly #page0: MmioRegion;
  #prod = 0;

  constructor() {
    const machine = makeMachine();
    const host = new Host(machine.seam);
    const iommufd = host.openIommufd();
    const device = host.openDevice(DEVICE).bind(iommufd);
    const ioas = iommufd.allocIoas();
    this.ram = host.allocateMemory(SIZE);
    this.ram.window().fill(1);
    this.deviceMemory = host.allocateMemory(2 ** 20);
    ioas.map(this.ram, { iova: IPA });
    const parent = ioas.allocHwpt(device, { nestParent: true });
    const viommu = parent.allocViommu(device, { type: 'tegra241-cmdqv' });
    viommu.allocVdevice(device, { virtId: STREAM });
    this.#memory = new GuestMemory(this.ram);
    device.attach(viommu.allocNestedHwpt(device, { ste: this.#makeTables() }));
    this.#page0 = viommu.mmap();
    const queue = this.#fillQueue();
    viommu.allocHwQueue({ index: 0, iova: queue, length: QUEUE_LENGTH * COMMAND });
    this.#page0.write32(CONFIG, 1);
    const endpoint = machine.endpointAt(DEVICE);
    assert(endpoint instanceof Smmuv3Device);
    this.device = endpoint;
    this.stream = endpoint.stream;
    this.#iommufd = iommufd;
  }

  /** Tables that lead from 1 TiB on to every page of the data, in no order; answers the stream table entry. */
  #makeTables(): readonly [bigint, bigint] {
    const memory = this.#memory;
    const tables = new Armv8Tables(memory, { granule: 12, inputBits: 48 });
    for (let i = 0; i < DATA_PAGES; i++) {
      tables.map(VA + BigInt(i * PAGE), IPA + ((i * STEP) % DATA_PAGES) * PAGE, PAGE);
    }
    const context = memory.allocate(64);
    memory.put64(context, CONTEXT | (ASID << 48n));
    memory.put64(context + 8, BigInt(tables.root));
    return [VALID | STAGE_1 | BigInt(context), CACHEABLE];
  }
  /** Where in its memory the page `i` of the guest's addresses leads. */
  offsetOf(i: number): number {
    return ((i * STEP) % DATA_PAGES) * PAGE;
  }
  iovaOf(i: number): bigint {
    return VA + BigInt(i * PAGE);
  }

  /** A queue full of invalidations, page after page, with a CMD_SYNC at the end. */
  #fillQueue(): number {
    const memory = this.#memory;
    const queue = memory.allocate(QUEUE_LENGTH * COMMAND);
    for (let i = 0; i < QUEUE_LENGTH; i++) {
      const isLast = i === QUEUE_LENGTH - 1;
      memory.put64(queue + i * COMMAND, isLast ? SYNC : FORGET_PAGE | (ASID << 48n));
      memory.put64(queue + i * COMMAND + 8, isLast ? 0n : this.iovaOf(i));
    }
    return queue;
  }
  /** Rings the doorbell for a queue full of commands, which are carried out at once. */
  ring(): void {
    this.#prod = (this.#prod + QUEUE_LENGTH) % (2 * QUEUE_LENGTH);
    this.#page0.write32(PROD, this.#prod);
    if (this.#page0.read32(CONS) !== this.#prod) throw new Error('the queue stands still');
  }

  /** Also keeps what is used: owners that nobody refers to are collected, and closed. */
  check(): void {
    if (this.#iommufd.closed || this.ram.freed || this.deviceMemory.freed) throw new Error('closed while in use');
  }
}

function makeMachine(): Machine {
  return new Machine({
    name: 'tegra241-cmdqv',
    devices: [deviceSpec({ address: DEVICE })],
    memorySize: 2 ** 30,
    scatter: false,
    hugePageSizes: [],
    openFiles: 64,
    rights: { ipcLock: true, sysResource: true, sysRawio: true, lockedPages: 0 },
    dialect: 'linux',
  });
}
