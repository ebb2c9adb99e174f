// What the kernel tells of a region: its place, what can be done with it, and the parts of it that can be mapped.
import { oneOf, toU32 } from '../host/arguments.js';
import { refusal } from '../objects/call.js';
import type { Values } from '../uapi/layout.js';
import * as uapi from '../uapi/vfio.js';
import { type Capability, capability, senseless, tryReadInfo } from './capabilities.js';
import type { DeviceCore } from './core.js';

/** The regions of a PCI device; those of its own have numbers from 9 on, as all regions of other devices have. */
export type RegionName = 'bar0' | 'bar1' | 'bar2' | 'bar3' | 'bar4' | 'bar5' | 'rom' | 'config' | 'vga';

/** A part of a region, in bytes from its start. */
export interface RegionArea {
  readonly offset: number;
  readonly length: number;
}

/** What a region of the device's own is, as linux/vfio.h numbers it (vfio_region_type, vfio_region_subtype). */
export interface RegionType {
  readonly type: number;
  readonly subtype: number;
}

export interface RegionFlags {
  readonly readable: boolean;
  readonly writable: boolean;
  /** Whether `mmap` works, for `mmapAreas` at least. */
  readonly mappable: boolean;
  /** Whether the pages that the MSI-X table lies in can be mapped too (Linux 4.16). */
  readonly msixMappable: boolean;
}

export interface RegionInfo {
  readonly index: number;
  readonly size: number;
  readonly offset: number;
  readonly flags: RegionFlags;
  readonly mmapAreas: readonly RegionArea[];
  readonly type: RegionType | undefined;
}

/** In the order of their indexes (vfio_pci_region_index). */
const NAMES: readonly RegionName[] = ['bar0', 'bar1', 'bar2', 'bar3', 'bar4', 'bar5', 'rom', 'config', 'vga'];
const FLAGS = uapi.vfio_region_info_flags.values;
const CAPS = uapi.vfio_region_info_cap.values;
const OP = uapi.VFIO_DEVICE_GET_REGION_INFO;
const AREA = uapi.vfio_region_sparse_mmap_area;

/** The index of a region that is named, or given by its index. */
export function regionIndex(which: RegionName | number): number {
  return typeof which === 'number' ? toU32(which, 'region') : NAMES.indexOf(oneOf(which, NAMES, 'region'));
}

/** How a region is called where the device has it. */
export function regionName(index: number, isPci: boolean): string {
  return (isPci ? NAMES[index] : undefined) ?? `region ${index}`;
}

/** VFIO_DEVICE_GET_REGION_INFO, Linux 3.6; a refusal (EINVAL: no such region) is an answer. */
export function tryReadRegionInfo(core: DeviceCore, index: number): RegionInfo | number {
  const info = tryReadInfo(core, OP, { index }, (flags) => (flags & FLAGS.VFIO_REGION_INFO_FLAG_CAPS) !== 0);
  return typeof info === 'number' ? info : decode(index, info.out, info.capabilities);
}

export function readRegionInfo(core: DeviceCore, index: number): RegionInfo {
  const info = tryReadRegionInfo(core, index);
  if (typeof info === 'number') throw refusal(core, OP, info, { index }, core.name);
  return info;
}

function decode(
  index: number,
  out: Values<typeof uapi.vfio_region_info.fields>,
  capabilities: readonly Capability[],
): RegionInfo {
  const has = (flag: number) => (out.flags & flag) !== 0;
  const size = toPlace(out.size, `region ${index} has ${out.size} bytes`);
  const offset = toPlace(out.offset, `region ${index} starts at ${out.offset}`);
  toPlace(out.offset + out.size, `region ${index} ends at ${out.offset + out.size}`);
  const mappable = has(FLAGS.VFIO_REGION_INFO_FLAG_MMAP);
  const flags = {
    readable: has(FLAGS.VFIO_REGION_INFO_FLAG_READ),
    writable: has(FLAGS.VFIO_REGION_INFO_FLAG_WRITE),
    mappable,
    msixMappable: capabilities.some(({ id }) => id === CAPS.VFIO_REGION_INFO_CAP_MSIX_MAPPABLE),
  };
  const all = size > 0 ? [{ offset: 0, length: size }] : [];
  const mmapAreas = mappable ? (sparseAreas(capabilities, size) ?? all) : [];
  const kind = capability(OP, capabilities, CAPS.VFIO_REGION_INFO_CAP_TYPE, uapi.vfio_region_info_cap_type)?.fields;
  return {
    index,
    size,
    offset,
    flags: Object.freeze(flags),
    mmapAreas: Object.freeze(mmapAreas.map((area) => Object.freeze(area))),
    type: kind && Object.freeze({ type: kind.type, subtype: kind.subtype }),
  };
}

/** The parts that can be mapped, where it is not all of the region. */
function sparseAreas(capabilities: readonly Capability[], size: number): RegionArea[] | undefined {
  const id = CAPS.VFIO_REGION_INFO_CAP_SPARSE_MMAP;
  const sparse = capability(OP, capabilities, id, uapi.vfio_region_info_cap_sparse_mmap);
  if (sparse === undefined) return undefined;
  const { fields, rest } = sparse;
  if (fields.nr_areas > rest.length / AREA.size)
    throw senseless(OP, `${fields.nr_areas} parts in ${rest.length} bytes`);
  const view = new DataView(rest.buffer, rest.byteOffset, rest.byteLength);
  return Array.from({ length: fields.nr_areas }, (_, i) => {
    const { offset, size: length } = AREA.decode(view, i * AREA.size);
    if (offset + length > size)
      throw senseless(OP, `a part from ${offset} on, ${length} bytes, in a region of ${size}`);
    return { offset: Number(offset), length: Number(length) };
  });
}

/** Sizes and places in the file are counted in numbers here; no device comes near their end. */
function toPlace(value: bigint, what: string): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw senseless(OP, what);
  return Number(value);
}
