// VFIO_DEVICE_FEATURE: all numbers, all flags, too little data and too much; low power, and dma-bufs.
import {
  IOMMU_IOAS_MAP_FILE,
  iommufd_ioas_map_flags,
  ptr,
  struct,
  u32,
  u64,
  VFIO_DEVICE_FEATURE,
  vfio_device_feature_dma_buf,
  vfio_device_feature_flags,
  vfio_device_feature_index,
} from '../../../../lib/uapi/index.js';
import { type DeviceFile, PAGE, U32_MAX, type VfioSession } from '../session.js';
import { IOVA } from './files.js';
import type { WeightedStep } from './step.js';

export const INDEX = vfio_device_feature_index.values;
export const {
  VFIO_DEVICE_FEATURE_GET: GET,
  VFIO_DEVICE_FEATURE_SET: SET,
  VFIO_DEVICE_FEATURE_PROBE: PROBE,
} = vfio_device_feature_flags.values;

/** Numbers that other steps are about, unless they are only asked for: what they do takes time, or answers a file. */
const OWN_STEPS: readonly number[] = [
  INDEX.VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE,
  INDEX.VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY,
  INDEX.VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP,
  INDEX.VFIO_DEVICE_FEATURE_DMA_LOGGING_START,
  INDEX.VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT,
  INDEX.VFIO_DEVICE_FEATURE_DMA_BUF,
];

function feature(s: VfioSession): void {
  const { random } = s;
  const file = s.file();
  if (file === undefined) return;
  const index = random.percent(96) ? random.below(15) : random.pick([15, 16, 100, 0xffff]);
  const how = random.pick([GET, SET, GET | PROBE, SET | PROBE, PROBE, 0, GET | SET, GET | SET | PROBE]);
  const asks = OWN_STEPS.includes(index) ? how | PROBE : how;
  const flags = index | asks | (random.percent(2) ? 1 << (19 + random.below(12)) : 0);
  const tail = s.bytes(random.pick([0, 0, 1, 4, 7, 8, 8, 16, 24, 40]));
  s.machine.ioctl(file, VFIO_DEVICE_FEATURE, { values: { flags: flags >>> 0 }, tail, argsz: s.argsz(8 + tail.length) });
}

/** Lets a device sleep, waits until it does, wakes it, and looks whether that was told. */
async function lowPower(s: VfioSession): Promise<void> {
  const { random } = s;
  const file = s.pci();
  if (file === undefined || !file.bound) return;
  const wakes = random.percent(60);
  const ENTRY = INDEX.VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY;
  const index = wakes ? INDEX.VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP : ENTRY;
  const eventfd = random.percent(75) ? s.event('trigger') : s.eventFd('trigger');
  const tail = wakes ? [eventfd, random.percent(95) ? 0 : 1] : [];
  const argsz = s.argsz(8 + 4 * tail.length);
  const { result } = s.machine.ioctl(file, VFIO_DEVICE_FEATURE, { values: { flags: index | SET }, tail, argsz });
  if (result === 0) await s.machine.asleep(file.role);
  const times = random.below(3);
  for (let i = 0; i < times; i++) {
    s.machine.pread(file, 'config 0', 7 * 2 ** 40, 4);
    await s.machine.settle();
    s.collectEvents();
    // Until it sleeps again, where it may: another access would be answered at once.
    if (result === 0 && !wakes) await s.machine.asleep(file.role);
  }
  exit(s, file);
}
function exit(s: VfioSession, file: DeviceFile): void {
  s.machine.ioctl(file, VFIO_DEVICE_FEATURE, {
    values: { flags: INDEX.VFIO_DEVICE_FEATURE_LOW_POWER_EXIT | SET },
    tail: [],
  });
}

/** Numbers that are pages of edu's first BAR, or close to it. */
function rangePart(s: VfioSession): bigint {
  const { random } = s;
  if (random.percent(80)) return BigInt(PAGE * random.pick([0, 1, 1, 2, 16, 255, 256]));
  return random.pick([
    1n,
    2048n,
    BigInt(PAGE - 1),
    0x10_0000n,
    2n ** 63n,
    2n ** 64n - 4096n,
    2n ** 64n - 1n,
    2n ** 32n,
  ]);
}

function exportDmaBuf(s: VfioSession): void {
  const { random } = s;
  const file = s.file();
  if (file === undefined || s.dmaBufs.length > 4) return;
  const count = random.percent(75) ? 1 : random.pick([0, 2, 3]);
  const told = random.percent(95) ? count : random.pick([0, 1, 4, 1000, U32_MAX]);
  const layout = vfio_device_feature_dma_buf;
  const tail = new Uint8Array(layout.size + 16 * count);
  const view = new DataView(tail.buffer);
  layout.encode(view, 0, {
    region_index: random.percent(88) ? 0 : random.pick([1, 6, 7, 8, 9, U32_MAX]),
    open_flags: random.pick([2, 2, 2, 0, 1, 0x8_0002, 3, 0x40, U32_MAX]),
    flags: random.percent(96) ? 0 : 1,
    nr_ranges: told,
  });
  let length = 0;
  for (let i = 0; i < count; i++) {
    const plain = [BigInt(PAGE * random.below(16)), BigInt(PAGE * (1 + random.below(4)))] as const;
    const [offset, size] = random.percent(65) ? plain : [rangePart(s), rangePart(s)];
    view.setBigUint64(layout.size + 16 * i, offset, true);
    view.setBigUint64(layout.size + 16 * i + 8, size, true);
    length += Number(size);
  }
  const flags = INDEX.VFIO_DEVICE_FEATURE_DMA_BUF | (random.percent(95) ? GET : SET);
  const struct = { values: { flags }, tail, argsz: s.argsz(8 + tail.length), answersFd: true };
  const { result } = s.machine.ioctl(file, VFIO_DEVICE_FEATURE, struct);
  if (result >= 0) s.dmaBufs.push({ fd: s.machine.own(result), name: s.name('dmabuf'), length });
}

const MAP_FLAGS = Object.values(iommufd_ioas_map_flags.values).reduce((all, flag) => all | flag, 0);

function mapDmaBuf(s: VfioSession): void {
  const { random } = s;
  const context = random.pick(s.contexts);
  const buffer = random.pick(s.dmaBufs);
  if (context === undefined || buffer === undefined) return;
  const whole = random.percent(70);
  const values = {
    flags: random.percent(90) ? MAP_FLAGS : MAP_FLAGS & ~4,
    ioas_id: s.id(context, 'ioas'),
    fd: buffer,
    start: whole ? 0n : rangePart(s),
    length: whole ? BigInt(buffer.length) : rangePart(s),
    iova: IOVA + 0x100_0000n * BigInt(1 + random.below(3)),
  };
  s.machine.ioctl(context, IOMMU_IOAS_MAP_FILE, { values });
}

function closeDmaBuf(s: VfioSession): void {
  const [buffer] = s.dmaBufs.splice(s.random.below(s.dmaBufs.length), 1);
  if (buffer !== undefined) s.machine.close(buffer);
}

/** A mediated device that does no DMA logs it all the same. */
function dmaLogging(s: VfioSession): void {
  const { random } = s;
  const file = s.file();
  if (file === undefined) return;
  const START = INDEX.VFIO_DEVICE_FEATURE_DMA_LOGGING_START;
  if (random.percent(60)) {
    const count = random.pick([0, 1, 1, 2]);
    const ranges = new BigUint64Array(2 * count).map(() => rangePart(s));
    startLogging(s, file, START, count, new Uint8Array(ranges.buffer));
  } else reportLogging(s, file);
}
function startLogging(s: VfioSession, file: DeviceFile, index: number, count: number, ranges: Uint8Array): void {
  const { random } = s;
  const values = {
    flags: index | SET,
    page_size: random.percent(90) ? BigInt(PAGE) : random.pick([0n, 1n, 3n, 2n ** 21n]),
    num_ranges: random.percent(95) ? count : random.pick([0, 3, U32_MAX]),
    ranges: { pointed: ranges },
  };
  s.machine.ioctl(file, LOGGING_START, { values });
}
function reportLogging(s: VfioSession, file: DeviceFile): void {
  const { random } = s;
  const values = {
    flags: INDEX.VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT | GET,
    iova: rangePart(s),
    length: random.percent(80) ? BigInt(PAGE * random.pick([1, 8, 64])) : rangePart(s),
    page_size: random.percent(85) ? BigInt(PAGE) : random.pick([0n, 3n, 2048n, 2n ** 21n, 2n ** 63n]),
    bitmap: { pointed: new Uint8Array(64) },
  };
  s.machine.ioctl(file, LOGGING_REPORT, { values });
}

/** The header and the feature's own struct as one. */
const LOGGING_START = {
  ...VFIO_DEVICE_FEATURE,
  layout: struct('start', '', {
    argsz: u32(''),
    flags: u32(''),
    page_size: u64(''),
    num_ranges: u32(''),
    reserved: u32(''),
    ranges: ptr('in', ''),
  }),
};
const LOGGING_REPORT = {
  ...VFIO_DEVICE_FEATURE,
  layout: struct('report', '', {
    argsz: u32(''),
    flags: u32(''),
    iova: u64(''),
    length: u64(''),
    page_size: u64(''),
    bitmap: ptr('inout', ''),
  }),
};

export const featureSteps: readonly WeightedStep[] = [
  [8, feature],
  [6, exportDmaBuf],
  [6, mapDmaBuf],
  [1, closeDmaBuf],
  [1, dmaLogging],
];
export const lowPowerSteps: readonly WeightedStep[] = [[1, lowPower]];
