// Stretches of the process's addresses on an emulated machine: memory, blocks for bulk data, and mapped registers.
import { invalidType, outOfRange } from '../../host/errors.js';
import type { Region } from '../../host/seam.js';
import { ERRNO } from '../../uapi/errno.js';
import type { MmioMapping } from '../kernel/file.js';
import type { LocalAddressSpace, Placement } from '../memory/address-space.js';
import type { Backing } from '../memory/backing.js';
import { checkInteger, checkSpan } from './checks.js';

/** What regions need of the process. */
export interface RegionHome {
  readonly memory: LocalAddressSpace;
  /** Regions that lie somewhere. */
  readonly regions: Set<Region>;
  closeFd(fd: number): void;
  /** After an access to a device. */
  settle(): void;
}

type Width = 1 | 2 | 4;
const HIGHEST = { 1: 0xff, 2: 0xffff, 4: 0xffff_ffff } as const;

function checkLive(region: Region): void {
  if (!region.live) throw new RangeError('the region is gone');
}
function checkOffset(region: Region, offset: number, width: number): void {
  if (typeof offset !== 'number') throw invalidType('offset', 'a number', offset);
  checkLive(region);
  const inside = offset >= 0 && offset + width <= region.length && offset % width === 0;
  if (!inside) throw outOfRange('offset', `a multiple of ${width} below ${region.length}`, offset);
}
function checkValue64(value: bigint): void {
  if (typeof value !== 'bigint') throw invalidType('value', 'a bigint', value);
  if (value < 0n || value >> 64n !== 0n) throw outOfRange('value', 'between 0 and 2^64 - 1', value);
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
  /** It cannot be used any more. */
  protected retire(): void {
    this.#live = false;
  }
  /** Gives the addresses back. */
  protected unmap(): void {
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
    checkInteger(value, 'value', 0, HIGHEST[width]);
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

/**
 * Windows that are gone, for all regions: V8 11.3 (Node 20) runs no callbacks of any registry any more, to the end of the
 * process, once a registry was itself collected with callbacks due (the task's early return in
 * `FinalizationRegistryCleanupTask::RunInternal`, src/heap/finalization-registry-cleanup-task.cc). So none may belong to what is
 * collected. A region is not kept by its windows.
 */
const windowsGone = new FinalizationRegistry<WeakRef<MemoryRegion>>((region) => {
  const looking = region.deref();
  if (looking !== undefined) windowGone(looking);
});
let windowGone: (region: MemoryRegion) => void;

/** Memory, or a block for bulk data. */
export class MemoryRegion extends BaseRegion {
  /** Calls on the thread pool that use it. */
  #jobs = 0;
  /** Windows that JavaScript may still look at: a forgotten region stays until they are gone. */
  #looking = 0;
  readonly #self = new WeakRef(this);
  #mapped = true;

  static {
    windowGone = (region) => {
      region.#looking--;
      region.#settle();
    };
  }

  constructor(
    home: RegionHome,
    placement: Placement,
    readonly backing: Backing,
    readonly kind: 'memory' | 'block',
    readonly fd: number,
  ) {
    super(home, placement, placement.length);
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
    checkLive(this);
    checkSpan(offset, 'offset', length, this.length);
    const window = this.backing.window(this, offset, length);
    this.#looking++;
    windowsGone.register(window, this.#self);
    return window;
  }
  /** Pages of the emulated machine are always present. */
  override async prefault(offset: number, length: number): Promise<number> {
    checkLive(this);
    checkSpan(offset, 'offset', length, this.length);
    return this.job(() => 0);
  }
  /** Work as for the thread pool: it is done at once, told of in the next turn, and keeps the region until then. */
  async job(work: () => number): Promise<number> {
    checkLive(this);
    const result = work();
    this.#jobs++;
    await new Promise((resolve) => setImmediate(resolve));
    this.#jobs--;
    this.#settle();
    return result;
  }

  override detachWindows(): void {
    if (this.live) this.backing.detachWindows(this);
  }
  override free(): number {
    if (!this.live) return 0;
    if (this.#jobs > 0) return -ERRNO.EBUSY;
    this.backing.detachWindows(this);
    this.retire();
    this.#end();
    return 0;
  }
  override drop(): void {
    this.retire();
    this.#settle();
  }
  /** What was dropped goes once nobody looks at it or works on it. */
  #settle(): void {
    if (!this.live && this.#mapped && this.#looking === 0 && this.#jobs === 0) this.#end();
  }
  #end(): void {
    this.#mapped = false;
    this.backing.forgetViewer(this);
    this.unmap();
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
    const value = this.#mapping.read(offset, width);
    this.home.settle();
    return value;
  }
  protected override load64(offset: number): bigint {
    const value = this.#mapping.read64(offset);
    this.home.settle();
    return value;
  }
  protected override store(offset: number, width: Width, value: number): void {
    this.#mapping.write(offset, width, value);
    this.home.settle();
  }
  protected override store64(offset: number, value: bigint): void {
    this.#mapping.write64(offset, value);
    this.home.settle();
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
    this.retire();
    this.unmap();
    this.#mapping.close();
    this.home.settle();
    return 0;
  }
  override drop(): void {
    this.free();
  }
}
