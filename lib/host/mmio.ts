// Device registers mapped into this process. Every access is one aligned load or store made by the host: typed arrays
// over registers may merge, drop or widen accesses, and Atomics on x86 read when they should only write.
import { toSize, type U64 } from './arguments.js';
import { destroyed, IommufdError, invalidType, outOfRange, UsageError } from './errors.js';
import { unsafeMmioWindow } from './kernel.js';
import type { Region } from './seam.js';

const collected = new FinalizationRegistry<Region>((region) => {
  if (!region.live) return;
  process.emitWarning('an MMIO mapping was collected without unmap()', { code: 'IOMMUFD_COLLECTED' });
  region.drop();
});

/** One mmap, shared by the windows cut from it: it goes with the last of them. */
export class MmioMapping {
  #users = 0;
  readonly region: Region;
  readonly #onGone: () => void;
  #lost: string | undefined;

  constructor(region: Region, onGone: () => void) {
    this.region = region;
    this.#onGone = onGone;
    collected.register(this, region, this);
  }

  /** Why the registers cannot be used any more, though their addresses are still taken. */
  get lost(): string | undefined {
    return this.#lost;
  }
  /** The registers went away from under the mapping: nobody reaches them through it again. The addresses stay taken. */
  lose(why: string): void {
    this.#lost ??= why;
    this.region.detachWindows();
  }

  acquire(): void {
    this.#users++;
  }
  release(): void {
    this.#users--;
    if (this.#users > 0) return;
    collected.unregister(this);
    const rc = this.region.free();
    if (rc < 0) throw new IommufdError('munmap', rc, { address: this.region.address });
    this.#onGone();
  }
}

/** What is known of a window besides its place. */
interface Window {
  readonly mapping: MmioMapping;
  readonly base: number;
  readonly length: number;
  readonly parent?: MmioRegion;
  /** Told when the window is given up. */
  readonly onUnmap?: (window: MmioRegion) => void;
}

const EIO = -5;

/** Where the device does not answer, the kernel raises SIGBUS, and the host throws; other errors are misuse. */
function asRefusal(error: unknown, offset: number, width: number): unknown {
  const isGone = error instanceof Error && 'code' in error && error.code === 'EIO';
  return isGone ? new IommufdError('MMIO', EIO, { offset, width }) : error;
}

/**
 * A window of device registers. Offsets are bytes from its start; a width's accesses must be aligned to it. Values up to
 * 32 bits are numbers, 64 bits bigint. Access outside is a RangeError; access after `unmap` throws
 * ERR_IOMMUFD_DESTROYED, as does access to registers that a reset, or the memory bit of the device, took away meanwhile;
 * access to a device that does not answer is an IommufdError EIO.
 */
export class MmioRegion {
  /** Bytes. */
  readonly length: number;
  readonly #mapping: MmioMapping;
  readonly #region: Region;
  readonly #base: number;
  readonly #parent: MmioRegion | undefined;
  readonly #onUnmap: ((window: MmioRegion) => void) | undefined;
  #mapped = true;

  /** Not for callers: use `viommu.mmap()`, `queue.mmap()` or `region.mmap()`. */
  constructor({ mapping, base, length, parent, onUnmap }: Window) {
    this.#mapping = mapping;
    this.#region = mapping.region;
    this.#base = base;
    this.length = length;
    this.#parent = parent;
    this.#onUnmap = onUnmap;
    if (parent === undefined) mapping.acquire();
  }

  /** Whether it can still be used. */
  get mapped(): boolean {
    return this.#isThere && this.#mapping.lost === undefined;
  }
  /**
   * Where it lies in this process, for a VMM's memory slots. Told until `unmap`, also where the registers have gone, so
   * that those slots can be found and taken away: nothing else is put there before.
   */
  get address(): bigint {
    if (!this.#isThere) throw destroyed('this MMIO region');
    return this.#region.address + BigInt(this.#base);
  }

  read8(offset: number): number {
    const at = this.#at(offset, 1);
    try {
      return this.#region.read8(at);
    } catch (error) {
      throw asRefusal(error, offset, 1);
    }
  }
  read16(offset: number): number {
    const at = this.#at(offset, 2);
    try {
      return this.#region.read16(at);
    } catch (error) {
      throw asRefusal(error, offset, 2);
    }
  }
  read32(offset: number): number {
    const at = this.#at(offset, 4);
    try {
      return this.#region.read32(at);
    } catch (error) {
      throw asRefusal(error, offset, 4);
    }
  }
  read64(offset: number): bigint {
    const at = this.#at(offset, 8);
    try {
      return this.#region.read64(at);
    } catch (error) {
      throw asRefusal(error, offset, 8);
    }
  }
  write8(offset: number, value: number): void {
    const at = this.#at(offset, 1);
    try {
      this.#region.write8(at, value);
    } catch (error) {
      throw asRefusal(error, offset, 1);
    }
  }
  write16(offset: number, value: number): void {
    const at = this.#at(offset, 2);
    try {
      this.#region.write16(at, value);
    } catch (error) {
      throw asRefusal(error, offset, 2);
    }
  }
  write32(offset: number, value: number): void {
    const at = this.#at(offset, 4);
    try {
      this.#region.write32(at, value);
    } catch (error) {
      throw asRefusal(error, offset, 4);
    }
  }
  write64(offset: number, value: bigint): void {
    const at = this.#at(offset, 8);
    try {
      this.#region.write64(at, value);
    } catch (error) {
      throw asRefusal(error, offset, 8);
    }
  }

  /** A window of this window; it lives no longer than this one. */
  subregion(offset: U64, length: U64): MmioRegion {
    const from = toSize(offset, 'offset');
    const bytes = toSize(length, 'length');
    this.#check();
    if (from > this.length) throw outOfRange('offset', `at most ${this.length}`, offset);
    if (bytes > this.length - from) throw outOfRange('length', `at most ${this.length - from}`, length);
    return new MmioRegion({ mapping: this.#mapping, base: this.#base + from, length: bytes, parent: this });
  }

  /**
   * The registers as a DataView. Unsafe: the engine may merge, split or drop accesses, and bytes may be read that nobody
   * asked for; the view goes to length 0 at `unmap`. Kernel host only.
   * @throws UsageError ERR_IOMMUFD_UNAVAILABLE on a host whose registers are not memory
   */
  unsafeView(): DataView {
    this.#check();
    const window = unsafeMmioWindow(this.#region, this.#base, this.length);
    if (window === undefined) {
      throw new UsageError('ERR_IOMMUFD_UNAVAILABLE', 'the registers of this host are not memory: use read and write');
    }
    return new DataView(window);
  }

  /** Gives this window up; the mapping itself goes with its last window. Twice is fine. */
  unmap(): void {
    if (!this.#mapped) return;
    this.#mapped = false;
    if (this.#parent !== undefined) return;
    this.#onUnmap?.(this);
    this.#mapping.release();
  }

  [Symbol.dispose](): void {
    this.unmap();
  }

  toJSON(): Record<string, unknown> {
    return { type: 'MmioRegion', length: this.length, mapped: this.mapped };
  }

  get #isThere(): boolean {
    return this.#mapped && (this.#parent === undefined || this.#parent.#isThere);
  }

  /** Throws unless it can be used. */
  #check(): void {
    if (!this.#isThere) throw destroyed('this MMIO region');
    const { lost } = this.#mapping;
    if (lost !== undefined) throw new UsageError('ERR_IOMMUFD_DESTROYED', lost);
  }

  #at(offset: number, width: number): number {
    this.#check();
    if (typeof offset !== 'number') throw invalidType('offset', 'a number', offset);
    if (!(offset >= 0 && offset + width <= this.length)) {
      throw outOfRange('offset', `between 0 and ${this.length - width}`, offset);
    }
    if (offset % width !== 0) throw outOfRange('offset', `a multiple of ${width}`, offset);
    return this.#base + offset;
  }
}
