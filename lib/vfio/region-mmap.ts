// Mapping regions of a device into this process, and what takes the mappings away again.
import { checkOptions, toSize, type U64 } from '../host/arguments.js';
import { IommufdError, outOfRange, UsageError } from '../host/errors.js';
import { MmioMapping, MmioRegion } from '../host/mmio.js';
import type { DeviceCore, MemoryLoss } from './core.js';
import type { RegionArea } from './region-info.js';

export interface RegionMmapOptions {
  /** Bytes from the start of the region, a multiple of the page size; 0 if left out. */
  readonly offset?: U64;
  /** Bytes, a multiple of the page size or to the end of the area; to the end of the area if left out. */
  readonly length?: U64;
}

/** A region, as far as mapping it goes. */
export interface MappedPlace {
  readonly name: string;
  /** Where it starts in the device's file. */
  readonly offset: number;
  readonly areas: readonly RegionArea[];
  /** Whether it goes away with the device's memory: the kernel takes mappings of BARs away then, of nothing else. */
  readonly isBar: boolean;
}

const LOSSES: Readonly<Record<MemoryLoss, string>> = {
  reset: 'went away in a reset: map it anew',
  'memory off': "went away with the device's memory, which was turned off: turn it on (config.enable), and map it anew",
  'low power': 'went away when the device was let go to sleep: wake it, and map it anew',
};

/** `region.mmap`. */
export function mapRegion(core: DeviceCore, place: MappedPlace, options: RegionMmapOptions): MmioRegion {
  checkOptions(options, ['offset', 'length']);
  const { offset: from = 0, length: asked } = { ...options };
  const offset = toSize(from, 'offset');
  const { pageSize } = core.seam;
  if (offset % pageSize !== 0) throw outOfRange('offset', `a multiple of ${pageSize}`, offset);
  const most = roomAt(core, place, offset);
  const length = asked === undefined ? most : checkLength(toSize(asked, 'length'), most, pageSize);
  // After the options: reading them may run code of the caller's.
  core.check();
  const whole = Math.ceil(length / pageSize) * pageSize;
  const mapped = core.seam.mapMmio(core.fd, place.offset + offset, whole);
  if (typeof mapped === 'number') {
    throw new IommufdError('mmap', mapped, { region: place.name, offset, length }, core.name);
  }
  return keep(core, place, new MmioMapping(mapped, () => undefined), length);
}

/** The mapping as a part of the device: it goes with it, and is lost with its memory. */
function keep(core: DeviceCore, { name, isBar }: MappedPlace, mapping: MmioMapping, length: number): MmioRegion {
  const lose = (why: MemoryLoss) => mapping.lose(`${name} of ${core.name} ${LOSSES[why]}`);
  const stop = isBar ? core.onMemoryLoss(lose) : undefined;
  const part = { close: () => window.unmap() };
  const onUnmap = () => {
    stop?.();
    core.remove(part);
  };
  const window = new MmioRegion({ mapping, base: 0, length, onUnmap });
  core.add(part);
  return window;
}

/** Bytes from `offset` to the end of the area that it lies in; throws where it lies in none. */
function roomAt(core: DeviceCore, { name, areas }: MappedPlace, offset: number): number {
  const area = areas.find((one) => offset >= one.offset && offset < one.offset + one.length);
  if (area !== undefined) return area.offset + area.length - offset;
  const what = `${name} of ${core.name} cannot be mapped`;
  const text = areas.map((one) => `${one.offset} to ${one.offset + one.length - 1}`).join(', ');
  const message = areas.length === 0 ? what : `${what} at ${offset}: it can be at ${text}`;
  throw new UsageError('ERR_IOMMUFD_UNAVAILABLE', message);
}

function checkLength(length: number, most: number, pageSize: number): number {
  if (length < 1 || length > most) throw outOfRange('length', `between 1 and ${most}, where the area ends`, length);
  if (length % pageSize !== 0 && length !== most) throw outOfRange('length', `a multiple of ${pageSize}`, length);
  return length;
}
