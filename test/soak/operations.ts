// What a VMM may do, at random: one line each of what there is to it.
import { mock } from '../../lib/emulated-host.js';
import {
  type Device,
  type FaultQueue,
  type HwptNested,
  type HwptPaging,
  type HwQueue,
  type Ioas,
  IommufdError,
  type Veventq,
  type Viommu,
} from '../../lib/index.js';
import { FORGET_ASID, GuestQueue, GuestTables, SYNC } from '../rig/vqueue-guest.js';
import { VtdTables } from '../rig/vtd-tables.js';
import { dma, dmaThatWaits } from './dma.js';
import type { Life, Operation } from './life.js';
import {
  interrupts,
  logging,
  mapBar,
  migrate,
  power,
  registers,
  requestDevice,
  reset,
  returnDevice,
} from './operations-vfio.js';
import { PAGE, type Placed, type Ram } from './places.js';
import type { Weights } from './world.js';

/** Where memory is mapped, from the world's base on: some of these overlap. */
const IOVAS = [0n, 0x10_0000n, 0x20_0000n, 0x8_0000n, 0x18_0000n] as const;
const anIova = ({ random, world }: Life) => world.base + (random.pick(IOVAS) ?? 0n);
const PASIDS = [undefined, undefined, undefined, 1, 63, 5000] as const;
const MOST_RAMS = 6;

const openIommufd: Operation = (life) => {
  if (life.iommufds.filter(({ closed }) => !closed).length < 3) life.iommufds.push(life.host.openIommufd());
};
const openDevice: Operation = (life) => {
  const iommufd = life.iommufd();
  const address = life.address();
  if (iommufd === undefined) return;
  if (life.world.bind !== undefined) {
    life.world.bind(life, iommufd);
    return;
  }
  const nic = life.host.openDevice(address);
  life.nics.push(nic);
  try {
    nic.bind(iommufd);
    if (life.random.chance(80)) nic.config.enable({ memory: true, busMaster: true });
  } catch (error) {
    nic.close();
    throw error;
  }
};
const allocRam: Operation = (life) => {
  if (life.rams.filter(({ memory }) => !memory.freed).length < MOST_RAMS) life.ram();
};
const freeRam: Operation = (life) => {
  const ram = life.someRam();
  if (ram?.mappings === 0) ram.free();
};
const allocIoas: Operation = (life) => life.iommufd()?.allocIoas();

function mapOptions(life: Life, { pages }: Ram) {
  const { random } = life;
  const first = random.below(4) * 16;
  const length = (random.chance(50) ? pages - first : 1 + random.below(32)) * PAGE;
  return {
    ...{ iova: anIova(life), offset: first * PAGE, length },
    ...{ readable: true, writable: random.chance(80) },
  };
}
const map: Operation = async (life) => {
  const [ioas, ram] = [life.object<Ioas>('ioas'), life.aRam()];
  if (ioas === undefined || ram === undefined) return;
  const { iova, ...rest } = mapOptions(life, ram);
  const options = life.random.chance(20) ? rest : { iova, ...rest };
  const at = life.random.chance(20) ? await ioas.mapAsync(ram.memory, options) : ioas.map(ram.memory, options);
  const { length, ...more } = rest;
  life.places.of(ioas).push({ iova: at, length: BigInt(length), ram, ...more });
};
const unmap: Operation = (life) => {
  const ioas = life.object<Ioas>('ioas');
  if (ioas === undefined) return;
  const placed = life.random.pick(life.places.of(ioas));
  if (placed === undefined) return;
  // What devices keep of it must go with it.
  if (life.world.emulated !== undefined) dma(life);
  ioas.unmap(placed.iova, placed.length);
  life.places.gone(ioas, placed.iova);
  if (life.world.emulated !== undefined) dma(life);
};
const unmapAll: Operation = (life) => {
  const ioas = life.object<Ioas>('ioas');
  if (ioas === undefined) return;
  const placed = life.places.of(ioas);
  try {
    ioas.unmapAll();
    placed.length = 0;
  } catch (error) {
    // What lies before the pages that something uses is gone: each tells for itself.
    const left = placed.filter((one) => isInUse(ioas, one));
    placed.splice(0, placed.length, ...left);
    throw error;
  }
};
/** Whether a mapping is there and stays; one that is merely there goes. */
function isInUse(ioas: Ioas, { iova, length }: Placed): boolean {
  try {
    ioas.unmap(iova, length);
    return false;
  } catch (error) {
    if (error instanceof IommufdError && (error.code === 'EBUSY' || error.code === 'ENOENT'))
      return error.code === 'EBUSY';
    throw error;
  }
}
const copy: Operation = (life) => {
  const to = life.object<Ioas>('ioas');
  if (to === undefined) return;
  const from = life.object<Ioas>('ioas', to.iommufd);
  const placed = from === undefined ? undefined : life.random.pick(life.places.of(from));
  if (from === undefined || placed === undefined) return;
  const iova = to.copy(from, { sourceIova: placed.iova, length: placed.length, iova: anIova(life) });
  // A copy may do all that the memory can.
  life.places.of(to).push({ ...placed, iova, readable: true, writable: true });
};

const allocHwpt: Operation = async (life) => {
  const device = life.device();
  if (device === undefined) return;
  const ioas = life.object<Ioas>('ioas', device.iommufd);
  const faultQueue = life.object<FaultQueue>('fault-queue', device.iommufd);
  const choices = [
    { nestParent: true },
    { dirtyTracking: true },
    { pasid: true },
    faultQueue === undefined ? {} : { faultQueue },
  ];
  const options = life.random.pick(choices) ?? {};
  if (life.random.chance(20)) await ioas?.allocHwptAsync(device, options);
  else ioas?.allocHwpt(device, options);
};
const attach: Operation = async (life) => {
  const device = life.device();
  if (device === undefined) return;
  const kind = life.random.pick(['ioas', 'hwpt-paging', 'hwpt-nested', 'hwpt-nested'] as const) ?? 'ioas';
  const table = life.object<Ioas | HwptPaging | HwptNested>(kind, device.iommufd);
  const pasid = life.random.pick(PASIDS);
  if (table === undefined) return;
  const options = pasid === undefined ? {} : { pasid };
  if (pasid === undefined) life.blocked.add(device);
  if (life.random.chance(20)) await device.attachAsync(table, options);
  else device.attach(table, options);
  if (pasid === undefined) life.blocked.delete(device);
};
const detach: Operation = (life) => {
  const pasid = life.random.pick(PASIDS);
  life.device()?.detach(pasid === undefined ? {} : { pasid });
};

const typeOf = ({ machine }: Life) => (machine === 'arm-smmuv3' ? 'arm-smmuv3' : 'tegra241-cmdqv');
const allocViommu: Operation = (life) => {
  const device = life.device();
  const parent = device && life.object<HwptPaging>('hwpt-paging', device.iommufd);
  if (device === undefined || parent === undefined) return;
  parent.allocViommu(device, life.machine === 'selftest' ? mock.viommu() : { type: typeOf(life) });
};
const allocVdevice: Operation = (life) => {
  const viommu = life.object<Viommu>('viommu');
  const device = viommu && life.object<Device>('device', viommu.iommufd);
  if (device !== undefined) viommu?.allocVdevice(device, { virtId: BigInt(1 + life.random.below(4)) });
};
const allocVeventq: Operation = (life) => {
  const viommu = life.object<Viommu>('viommu');
  viommu?.allocVeventq({ depth: 1 + life.random.below(4), ...(life.machine === 'selftest' ? mock.veventq() : {}) });
};
const allocHwQueue: Operation = (life) => {
  const place = { index: life.random.below(3), iova: life.world.base, length: PAGE };
  life.object<Viommu>('viommu')?.allocHwQueue({ ...place, ...(life.machine === 'selftest' ? mock.hwQueue() : {}) });
};
/** A guest's tables in a memory that may be mapped where it thinks, and a page table of them. */
function nestedOn(life: Life, device: Device, parent: HwptPaging | Viommu, ram: Ram): HwptNested {
  const { random, machine, world } = life;
  if (machine === 'selftest') return parent.allocNestedHwpt(device, mock.nested());
  if (machine === 'intel-vtd') {
    const tables = new VtdTables(ram.memory, { base: world.base, from: 0 });
    for (let i = 0; i < 4; i++) tables.map(VA + BigInt(i * PAGE), world.base + BigInt((16 + random.below(200)) * PAGE));
    return parent.allocNestedHwpt(device, { vtd: tables.vtd, pasid: random.chance(50) });
  }
  const tables = new GuestTables(ram.memory, world.base);
  for (let i = 0; i < 4; i++) tables.map(i, random.chance(80) ? random.below(200) : undefined);
  return parent.allocNestedHwpt(device, { ste: tables.ste({ ats: random.chance(50) }) });
}
const allocNested: Operation = (life) => {
  const device = life.device();
  const ram = life.aRam();
  if (device === undefined || ram === undefined) return;
  const kind = life.machine === 'intel-vtd' ? 'hwpt-paging' : 'viommu';
  const parent = life.object<HwptPaging | Viommu>(kind, device.iommufd);
  if (parent !== undefined) nestedOn(life, device, parent, ram);
};
/** A whole guest: memory, a nesting parent, its own tables, and the device on them. */
const furnish: Operation = (life) => {
  const device = life.device();
  if (device === undefined) return;
  const ram = life.aRam() ?? life.ram();
  const ioas = device.iommufd.allocIoas();
  const placed = {
    iova: life.world.base,
    length: BigInt(ram.memory.size),
    ram,
    offset: 0,
    readable: true,
    writable: true,
  };
  ioas.map(ram.memory, { iova: life.world.base });
  life.places.of(ioas).push(placed);
  const parent = ioas.allocHwpt(device, { nestParent: true });
  if (life.machine === 'intel-vtd') {
    device.attach(nestedOn(life, device, parent, ram));
    return;
  }
  const viommu = parent.allocViommu(device, life.machine === 'selftest' ? mock.viommu() : { type: typeOf(life) });
  viommu.allocVdevice(device, { virtId: 1n });
  device.attach(nestedOn(life, device, viommu, ram));
};
/** What the guest's tables are about. */
export const VA = 0x10_0000_0000n;

const SMMU_COMMANDS = [[0x30n, 0n], FORGET_ASID, [0x05n | (1n << 32n), 1n], [0x46n, 0n], [0xffn, 0n]] as const;
const invalidate: Operation = (life) => {
  if (life.machine === 'intel-vtd') {
    life.object<HwptNested>('hwpt-nested')?.invalidate({ vtd: [{ address: VA, pages: 4n }] });
    return;
  }
  const command = life.random.pick(SMMU_COMMANDS) ?? SYNC;
  if (life.machine !== 'selftest') life.object<Viommu>('viommu')?.invalidate({ smmuv3: BigUint64Array.from(command) });
};
/** A queue of a Tegra241, as a guest drives it. */
const driveQueue: Operation = (life) => {
  const ram = life.aRam();
  const queue = life.object<HwQueue>('hw-queue');
  if (queue === undefined || ram === undefined) return;
  const window = life.machine === 'selftest' ? queue.mmap() : queue.viommu.mmap();
  try {
    if (life.random.chance(30)) window.write32(life.random.below(1024) * 4, life.random.below(2 ** 32));
    const guest = new GuestQueue(ram.memory, window, queue.index);
    guest.enable();
    guest.submit(FORGET_ASID, SYNC);
  } finally {
    if (life.random.chance(90)) window.unmap();
  }
};

const allocFaultQueue: Operation = (life) => life.iommufd()?.allocFaultQueue();
const answerFaults: Operation = (life) => {
  const queue = life.object<FaultQueue>('fault-queue');
  for (const group of queue?.drain() ?? []) queue?.respond(group, life.random.chance(50) ? 'success' : 'invalid');
};
const readEvents: Operation = (life) => life.object<Veventq>('veventq')?.drain();
const raiseEvent: Operation = (life) => {
  const device = life.device();
  if (device === undefined) return;
  const own = life.emulated.deviceOf(device);
  if (life.machine === 'selftest') own.raiseEvent();
  else own.requestPage({ address: life.world.base, group: life.random.below(512) });
};
const track: Operation = (life) => {
  const hwpt = life.object<HwptPaging>('hwpt-paging');
  if (hwpt === undefined) return;
  hwpt.setDirtyTracking(life.random.chance(60));
  const placed = life.random.pick(life.places.of(hwpt.ioas));
  if (placed === undefined) return;
  const bitmap = hwpt.dirtyBitmap({ iova: placed.iova, length: placed.length });
  try {
    bitmap.read();
  } finally {
    bitmap.free();
  }
};

const destroy: Operation = (life) => {
  const iommufd = life.iommufd();
  const object = life.random.pick(iommufd?.objects ?? []);
  if (object === undefined || object.type === 'device') return;
  if (life.random.chance(15)) object[Symbol.dispose]();
  else object.destroy();
};
const closeNic: Operation = (life) => {
  const nic = life.nic();
  if (life.random.chance(50)) nic?.[Symbol.dispose]();
  else nic?.close();
};
const closeIommufd: Operation = (life) => {
  const iommufd = life.iommufd();
  if (life.random.chance(50)) return iommufd?.closeAsync();
  iommufd?.close();
  return undefined;
};
const failAllocation: Operation = (life) => {
  if (!life.failing) return;
  life.failed = true;
  life.emulated.failAllocation(life.random.below(6));
};

/** How often each is drawn. */
const WEIGHTS: Weights = [
  [12, 'openIommufd', openIommufd],
  [30, 'openDevice', openDevice],
  [6, 'allocRam', allocRam],
  [2, 'freeRam', freeRam],
  [4, 'allocIoas', allocIoas],
  [20, 'map', map],
  [6, 'unmap', unmap],
  [1, 'unmapAll', unmapAll],
  [4, 'copy', copy],
  [10, 'allocHwpt', allocHwpt],
  [12, 'attach', attach],
  [5, 'detach', detach],
  [8, 'allocViommu', allocViommu],
  [8, 'allocVdevice', allocVdevice],
  [4, 'allocVeventq', allocVeventq],
  [6, 'allocHwQueue', allocHwQueue],
  [14, 'furnish', furnish],
  [8, 'allocNested', allocNested],
  [6, 'invalidate', invalidate],
  [6, 'driveQueue', driveQueue],
  [3, 'allocFaultQueue', allocFaultQueue],
  [6, 'answerFaults', answerFaults],
  [4, 'readEvents', readEvents],
  [4, 'raiseEvent', raiseEvent],
  [4, 'track', track],
  [5, 'interrupts', interrupts],
  [3, 'reset', reset],
  [3, 'registers', registers],
  [2, 'mapBar', mapBar],
  [3, 'power', power],
  [4, 'logging', logging],
  [4, 'migrate', migrate],
  [1, 'requestDevice', requestDevice],
  [16, 'returnDevice', returnDevice],
  [6, 'destroy', destroy],
  [2, 'closeNic', closeNic],
  [1, 'closeIommufd', closeIommufd],
  [5, 'failAllocation', failAllocation],
  [120, 'dma', dma],
  [6, 'dmaThatWaits', dmaThatWaits],
];
/** What only an emulated machine can be asked for: a device's own side, and the machine's. */
const EMULATED: readonly Operation[] = [raiseEvent, requestDevice, returnDevice, failAllocation, dma, dmaThatWaits];

interface Drawn {
  readonly name: string;
  readonly run: Operation;
}
const drawnFrom = (weights: Weights): Drawn[] =>
  weights.flatMap(([weight, name, run]) => Array.from({ length: weight }, () => ({ name, run })));
const ON_EMULATED = drawnFrom(WEIGHTS);
const ON_BOTH = drawnFrom(WEIGHTS.filter(([, , run]) => !EMULATED.includes(run)));

export function draw({ random, world }: Life): Drawn {
  const choice = world.emulated === undefined ? [...ON_BOTH, ...drawnFrom(world.operations)] : ON_EMULATED;
  return random.pick(choice) ?? { name: 'nothing', run: () => undefined };
}
