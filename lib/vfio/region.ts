// A region of a device: a BAR, configuration space, or one of the device's own. Reads and writes are calls into the kernel;
// a mapping of it is registers in this process.
import { toBytes, toSize, toU32, toU64, type U64 } from '../host/arguments.js';
import { invalidType, outOfRange, UsageError } from '../host/errors.js';
import type { MmioRegion } from '../host/mmio.js';
import { vfio_pci_region_index } from '../uapi/vfio.js';
import { ConfigWrites } from './config-writes.js';
import type { DeviceCore } from './core.js';
import { allowDmaBufs, type DmaBuf, type DmaBufOptions, exportDmaBuf } from './dma-buf.js';
import { connectIoeventfd, type Ioeventfd, type IoeventfdOptions } from './ioeventfd.js';
import { RegionFile } from './region-file.js';
import { type RegionArea, type RegionFlags, type RegionInfo, type RegionType, regionName } from './region-info.js';
import { type MappedPlace, mapRegion, type RegionMmapOptions } from './region-mmap.js';

const INDEX = vfio_pci_region_index.values;

let coreOf: (region: VfioRegion) => DeviceCore;

/**
 * A region of a VFIO device: made by `device.region`. Values up to 32 bits are numbers, 64 bits bigint, little-endian in
 * the device. Offsets are bytes from the start of the region; those of a width's accesses must be aligned to it.
 *
 * Errors of all reads and writes: TypeError, RangeError (offset or value); UsageError ERR_IOMMUFD_UNAVAILABLE (the region
 * cannot be read, or written), ERR_IOMMUFD_DESTROYED (the device is closed); IommufdError with syscall 'pread' or
 * 'pwrite': EIO (the device's memory is off: see `config.enable`, or it sleeps and would not wake), EFAULT (mediated
 * devices: no such register), EINVAL.
 */
export class VfioRegion {
  readonly index: number;
  /** 'bar0' to 'bar5', 'rom', 'config', 'vga'; 'region 9' and so on for those of the device's own. */
  readonly name: string;
  /** Bytes; 0 where the device has no such region. */
  readonly size: number;
  /** Where it starts in the file of the device, in bytes: what KVM and ioeventfds count from. */
  readonly offset: number;
  readonly flags: RegionFlags;
  /** The parts that can be mapped; empty where none can. */
  readonly mmapAreas: readonly RegionArea[];
  /** What a region of the device's own is. */
  readonly type: RegionType | undefined;
  readonly #core: DeviceCore;
  readonly #file: RegionFile;
  readonly #place: MappedPlace;
  readonly #writes: ConfigWrites | undefined;

  static {
    coreOf = (region) => region.#core;
  }

  /** Not for callers: use `device.region`. */
  constructor(core: DeviceCore, info: RegionInfo, isPci: boolean) {
    this.index = info.index;
    this.name = regionName(info.index, isPci);
    this.size = info.size;
    this.offset = info.offset;
    this.flags = info.flags;
    this.mmapAreas = info.mmapAreas;
    this.type = info.type;
    this.#core = core;
    this.#file = new RegionFile(core, this.name, info.offset);
    const isBar = isPci && info.index < INDEX.VFIO_PCI_ROM_REGION_INDEX;
    this.#place = { name: this.name, offset: info.offset, areas: info.mmapAreas, isBar };
    const isConfig = isPci && info.index === INDEX.VFIO_PCI_CONFIG_REGION_INDEX;
    this.#writes = isConfig ? new ConfigWrites(this) : undefined;
    allowDmaBufs(core, this);
  }

  /** One access of 8 bits. */
  read8(offset: number): number {
    return this.#file.readNumber(this.#readable(offset, 1), 1);
  }
  /** One access of 16 bits. */
  read16(offset: number): number {
    return this.#file.readNumber(this.#readable(offset, 2), 2);
  }
  /** One access of 32 bits; in configuration space smaller ones where a capability ends in between. */
  read32(offset: number): number {
    return this.#file.readNumber(this.#readable(offset, 4), 4);
  }
  /**
   * One access of 64 bits since Linux 6.11, two of 32 before; always two (the lower first) in a ROM, in configuration
   * space, and on mediated devices as their drivers have it.
   */
  read64(offset: number): bigint {
    return this.#file.readBigint(this.#readable(offset, 8));
  }

  /** One access of 8 bits. */
  write8(offset: number, value: number): void {
    this.#writeNumber(offset, 1, toUnsigned(value, 8));
  }
  /** One access of 16 bits. */
  write16(offset: number, value: number): void {
    this.#writeNumber(offset, 2, toUnsigned(value, 16));
  }
  /** One access of 32 bits, as `read32`. */
  write32(offset: number, value: number): void {
    this.#writeNumber(offset, 4, toU32(value, 'value'));
  }
  /** One access of 64 bits, as `read64`. */
  write64(offset: number, value: bigint): void {
    if (typeof value !== 'bigint') throw invalidType('value', 'a bigint', value);
    const number = toU64(value, 'value');
    const at = this.#writable(offset, 8);
    this.#told(
      at,
      8,
      (i) => Number(BigInt.asUintN(8, number >> BigInt(i * 8))),
      () => this.#file.writeBigint(at, number),
    );
  }

  /**
   * Reads bytes. The kernel makes of them the widest accesses that alignment allows: bulk memory of a device is right for
   * this, registers with side effects are not.
   */
  read(offset: U64, length: U64): Uint8Array {
    const { from, bytes } = this.#span(offset, length);
    this.#checkReadable();
    return this.#file.read(from, bytes);
  }
  /** Writes bytes, as `read` reads them. One that is refused half-way leaves those before it written. */
  write(offset: U64, data: Uint8Array): void {
    const copy = toBytes(data, 'data');
    const { from } = this.#span(offset, copy.length);
    this.#checkWritable();
    this.#told(
      from,
      copy.length,
      (i) => copy[i] ?? 0,
      () => this.#file.write(from, copy),
    );
  }

  /**
   * Maps registers into this process: accesses are then loads and stores, without the kernel. Closing the device unmaps
   * them. Once a BAR is lost (a reset, its memory turned off, low power) accesses throw ERR_IOMMUFD_DESTROYED, and it must
   * be mapped anew; the addresses stay taken until `unmap`. An access that a device does not answer, since its memory is
   * off or it is gone, throws an IommufdError EIO.
   * @throws RangeError (not whole pages, or beyond the area); UsageError ERR_IOMMUFD_UNAVAILABLE (this part of the region
   * cannot be mapped: see `mmapAreas`); IommufdError EINVAL, EBUSY (another driver holds the BAR), ENOMEM
   */
  mmap(options: RegionMmapOptions = {}): MmioRegion {
    return mapRegion(this.#core, this.#place, options);
  }

  /**
   * A memory BAR, or parts of it, as a dma-buf: for drivers that reach the device peer to peer
   * (VFIO_DEVICE_FEATURE_DMA_BUF, Linux 6.19). `ioas.mapDmaBuf` maps a BAR for devices without it.
   * @throws RangeError (not whole pages, or beyond the end); IommufdError ENODEV (not a BAR), EINVAL (no memory, but
   * ports), EOPNOTSUPP, ENOTTY (an older kernel, or one without CONFIG_VFIO_PCI_DMABUF)
   */
  exportDmaBuf(options?: DmaBufOptions): DmaBuf {
    return exportDmaBuf(this.#core, this, options);
  }

  /**
   * Has the kernel write to the region whenever an eventfd is signalled (VFIO_DEVICE_IOEVENTFD, Linux 4.17).
   * @throws TypeError, RangeError; IommufdError EINVAL (not a BAR, or over the MSI-X table), ENOSPC (1000 are there), EEXIST
   * (the same write is there already), EBADF
   */
  ioeventfd(options: IoeventfdOptions): Ioeventfd {
    return connectIoeventfd(this.#core, this, options);
  }

  toJSON(): Record<string, unknown> {
    const { name, index, size, offset, flags, mmapAreas, type } = this;
    return { type: 'VfioRegion', name, index, size, offset, flags, mmapAreas, regionType: type };
  }

  #checkReadable(): void {
    this.#core.check();
    if (!this.flags.readable) throw this.#cannot('read');
  }
  #checkWritable(): void {
    this.#core.check();
    if (!this.flags.writable) throw this.#cannot('written');
  }
  #cannot(what: string): UsageError {
    return new UsageError('ERR_IOMMUFD_UNAVAILABLE', `${this.name} of ${this.#core.name} cannot be ${what}`);
  }

  #readable(offset: number, width: number): number {
    const at = this.#at(offset, width);
    this.#checkReadable();
    return at;
  }
  #writable(offset: number, width: number): number {
    const at = this.#at(offset, width);
    this.#checkWritable();
    return at;
  }

  #writeNumber(offset: number, width: 1 | 2 | 4, value: number): void {
    const at = this.#writable(offset, width);
    this.#told(
      at,
      width,
      (i) => (value >>> (i * 8)) & 0xff,
      () => this.#file.writeNumber(at, width, value),
    );
  }

  /** Does a write. Some to configuration space take the device's memory away, done or half done. */
  #told(offset: number, length: number, byteAt: (index: number) => number, write: () => void): void {
    const loss = this.#writes?.lossOf({ offset, length, byteAt });
    try {
      write();
    } finally {
      if (loss !== undefined) this.#core.memoryLost(loss);
    }
  }

  #at(offset: number, width: number): number {
    if (typeof offset !== 'number') throw invalidType('offset', 'a number', offset);
    if (!(offset >= 0 && offset + width <= this.size)) {
      throw outOfRange('offset', this.#within(width), offset);
    }
    if (offset % width !== 0) throw outOfRange('offset', `a multiple of ${width}`, offset);
    return offset;
  }

  #span(offset: U64, length: U64): { from: number; bytes: number } {
    const from = toSize(offset, 'offset');
    const bytes = toSize(length, 'length');
    if (from > this.size) throw outOfRange('offset', `at most ${this.size}`, offset);
    if (bytes > this.size - from) throw outOfRange('length', `at most ${this.size - from}`, length);
    return { from, bytes };
  }

  #within(width: number): string {
    return this.size < width
      ? `in a region that has more than ${this.size} bytes`
      : `between 0 and ${this.size - width}`;
  }
}

function toUnsigned(value: number, bits: 8 | 16): number {
  const number = toU32(value, 'value');
  if (number >= 2 ** bits) throw outOfRange('value', `an integer between 0 and 2^${bits} - 1`, value);
  return number;
}

/** What the parts of a device share: for this package's own files. */
export function regionCore(region: VfioRegion): DeviceCore {
  return coreOf(region);
}
