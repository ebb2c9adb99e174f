// Stretches of the process's addresses on an emulated machine: memory, blocks for bulk data, and mapped registers.
import { invalidType, outOfRange } from '../../host/errors.js';
import type { Region } from '../../host/seam.js';
import { ERRNO } from '../../uapi/errno.js';
import type { MmioMapping } from '../kernel/file.js';
import type { LocalAddressSpace, Placement } from '../memory/address-space.js';
import type { Backing } from '../memory/backing.js';

/** What regions need of the process. */
export interface RegionHome {
  readonly memory: LocalAddressSpace;
  /** Regions that lie somewhere. */
  readonly regions: Set<Region>;
  closeFd(fd: number): void;
}

type Width = 1 | 2 | 4;
const HIGHEST = { 1: 0xff, 2: 0xffff, 4: 0xffff_ffff } as const;

function checkOffset(region: Region, offset: number, width: number): void {
  if (typeof offset !== 'number') throw invalidType('offset', 'a number', offset);
  if (!region.live) throw new RangeError('the region is gone');
  const inside = offset >= 0 && offset + width <= region.length && offset % width === 0;
  if (!inside) throw outOfRange('offset', `a multiple of ${width} below ${region.length}`, offset);
}
function checkValue(value: number, width: Width): void {
  if (typeof value !== 'number') throw invalidType('value', 'a number', value);
  if (!(Number.isInteger(value) && value >= 0 && value <= HIGHEST[width])) {
    throw outOfRange('value', `between 0 and ${HIGHEST[width]}`, value);
  }
}
function checkValue64(value: bigint): void {
  if (typeof value !== 'bigint') throw invalidType('value', 'a bigint', value);
  if (value < 0n || value >> 64n !== 0n) throw outOfRange('value', 'between 0 and 2^64 - 1', value);
}
function checkSpan(region: Region, offset: number, length: number): void {
  const whole = Number.isInteger(offset) && Number.isInteger(length);
  if (!whole || offset < 0 || length < 0 || offset + length > region.length) {
    throw outOfRange('offset and length', `within ${region.length} bytes`, `${offset}, ${length}`);
  }
}

/** The checks that every access shares; what an access does is the subclass's. */
abstract class BaseRegion implements Region {
  #live = true;
  readonly home: RegionHome;

  constructor(
    home: RegionHome,
    protected readonly placement: Placement,
    readonly length: number,
  ) {
    this.home = home;
    home.regions.add(this);
  }

  get address(): bigint {
    return BigInt(this.placement.start);
  }
  abstract readonly fd: number;
  get live(): boolean {
    return this.#live;
  }
  protected end(): void {
    this.#live = false;
    this.home.memory.unmap(this.placement);
    this.home.regions.delete(this);
  }

  protected abstract load(offset: number, width: Width): number;
  protected abstract load64(offset: number): bigint;
  protected abstract store(offset: number, width: Width, value: number): void;
  protected abstract store64(offset: number, value: bigint): void;

  #read(offset: number, width: Width): number {
    checkOffset(this, offset, width);
    return this.load(offset, width);
  }
  #write(offset: number, width: Width, value: number): void {
    checkOffset(this, offset, width);
    checkValue(value, width);
    this.store(offset, width, value);
  }
  read8(offset: number): number {
    return this.#read(offset, 1);
  }
  read16(offset: number): number {
    return this.#read(offset, 2);
  }
  read32(offset: number): number {
    return this.#read(offset, 4);
  }
  read64(offset: number): bigint {
    checkOffset(this, offset, 8);
    return this.load64(offset);
  }
  write8(offset: number, value: number): void {
    this.#write(offset, 1, value);
  }
  write16(offset: number, value: number): void {
    this.#write(offset, 2, value);
  }
  write32(offset: number, value: number): void {
    this.#write(offset, 4, value);
  }
  write64(offset: number, value: bigint): void {
    checkOffset(this, offset, 8);
    checkValue64(value);
    this.store64(offset, value);
  }

  abstract window(offset: number, length: number): Uint8Array<ArrayBuffer>;
  abstract prefault(offset: number, length: number): Promise<number>;
  abstract detachWindows(): void;
  abstract free(): number;
  abstract drop(): void;
}

/** Memory, or a block for bulk data. */
export class MemoryRegion extends BaseRegion {
  /** Calls on the thread pool that use it. */
  jobs = 0;
  /** Windows that JavaScript may still look at: a forgotten region stays until they are gone. */
  readonly #windows: FinalizationRegistry<undefined>;
  #looking = 0;
  #dropped = false;

  constructor(
    home: RegionHome,
    placement: Placement,
    readonly backing: Backing,
    readonly fd: number,
  ) {
    super(home, placement, placement.length);
    this.#windows = new FinalizationRegistry(() => {
      this.#looking--;
      if (this.#dropped) this.drop();
    });
  }

  #view(offset: number, width: number): DataView {
    const { buffer, byteOffset } = this.backing.bytes(offset, width);
    return new DataView(buffer, byteOffset, width);
  }
  protected override load(offset: number, width: Width): number {
    const view = this.#view(offset, width);
    if (width === 4) return view.getUint32(0, true);
    return width === 2 ? view.getUint16(0, true) : view.getUint8(0);
  }
  protected override load64(offset: number): bigint {
    return this.#view(offset, 8).getBigUint64(0, true);
  }
  protected override store(offset: number, width: Width, value: number): void {
    const view = this.#view(offset, width);
    if (width === 4) view.setUint32(0, value, true);
    else if (width === 2) view.setUint16(0, value, true);
    else view.setUint8(0, value);
  }
  protected override store64(offset: number, value: bigint): void {
    this.#view(offset, 8).setBigUint64(0, value, true);
  }

  override window(offset: number, length: number): Uint8Array<ArrayBuffer> {
    if (!this.live) throw new RangeError('the region is gone');
    checkSpan(this, offset, length);
    const window = this.backing.window(offset, length);
    this.#looking++;
    this.#windows.register(window, undefined);
    return window;
  }
  /** Pages of the emulated machine are always present. */
  override prefault(offset: number, length: number): Promise<number> {
    checkSpan(this, offset, length);
    return new Promise((resolve) => setImmediate(() => resolve(this.live ? 0 : -ERRNO.EFAULT)));
  }
  override detachWindows(): void {
    if (this.live) this.backing.detachWindows();
  }
  override free(): number {
    if (!this.live) return 0;
    if (this.jobs > 0) return -ERRNO.EBUSY;
    // Windows of other regions of the same file show the same ArrayBuffer: they decide when it goes.
    if (!this.#shared()) this.backing.detachWindows();
    this.#end();
    return 0;
  }
  override drop(): void {
    this.#dropped = true;
    if (this.live && this.#looking === 0) this.#end();
  }
  #shared(): boolean {
    for (const other of this.home.regions) {
      if (other !== this && other instanceof MemoryRegion && other.backing === this.backing) return true;
    }
    return false;
  }
  #end(): void {
    this.end();
    if (this.fd >= 0) this.home.closeFd(this.fd);
  }
}

/** Registers: every access reaches the hardware at once. */
export class MmioRegisters extends BaseRegion {
  readonly fd = -1;
  readonly #mapping: MmioMapping;

  constructor(home: RegionHome, placement: Placement, mapping: MmioMapping, length: number) {
    super(home, placement, length);
    this.#mapping = mapping;
  }

  protected override load(offset: number, width: Width): number {
    return this.#mapping.read(offset, width);
  }
  protected override load64(offset: number): bigint {
    return this.#mapping.read64(offset);
  }
  protected override store(offset: number, width: Width, value: number): void {
    this.#mapping.write(offset, width, value);
  }
  protected override store64(offset: number, value: bigint): void {
    this.#mapping.write64(offset, value);
  }

  override window(): never {
    throw new TypeError('registers have no window');
  }
  override prefault(): Promise<number> {
    return Promise.resolve(-ERRNO.EINVAL);
  }
  override detachWindows(): void {}
  override free(): number {
    if (!this.live) return 0;
    this.end();
    this.#mapping.close();
    return 0;
  }
  override drop(): void {
    this.free();
  }
}
