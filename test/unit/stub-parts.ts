// The regions and watches of a stub seam.
import type { Region, Watch } from '../../lib/host/seam.js';

/** What a region asks of its seam. */
export interface RegionOwner {
  readonly regions: Set<StubRegion>;
  readonly prefaults: { offset: number; length: number }[];
  nextAddress(length: number): bigint;
  onPool(work: () => number): Promise<number>;
  failure(step: 'free' | 'prefault'): number | undefined;
}

/** What a watch asks of its seam. */
export interface WatchOwner {
  readonly watches: Set<StubWatch>;
  readable(fd: number): boolean;
}

export class StubRegion implements Region {
  live = true;
  dropped = false;
  readonly address: bigint;
  readonly fd: number;
  readonly #seam: RegionOwner;
  #bytes: ArrayBuffer | undefined;

  constructor(
    seam: RegionOwner,
    readonly kind: 'memory' | 'block' | 'mmio',
    readonly length: number,
    fd: number,
  ) {
    this.#seam = seam;
    this.fd = fd;
    this.address = seam.nextAddress(length);
    seam.regions.add(this);
  }

  /** The bytes themselves, made when first looked at. */
  get bytes(): ArrayBuffer {
    if (!this.live) throw new RangeError('the region is gone');
    this.#bytes ??= new ArrayBuffer(this.length);
    return this.#bytes;
  }
  get #view(): DataView {
    return new DataView(this.bytes);
  }

  window(offset: number, length: number): Uint8Array<ArrayBuffer> {
    if (this.kind === 'mmio') throw new TypeError('no window of MMIO');
    return new Uint8Array(this.bytes, offset, length);
  }
  read8(offset: number): number {
    return this.#view.getUint8(offset);
  }
  read16(offset: number): number {
    return this.#view.getUint16(offset, true);
  }
  read32(offset: number): number {
    return this.#view.getUint32(offset, true);
  }
  read64(offset: number): bigint {
    return this.#view.getBigUint64(offset, true);
  }
  write8(offset: number, value: number): void {
    this.#view.setUint8(offset, value);
  }
  write16(offset: number, value: number): void {
    this.#view.setUint16(offset, value, true);
  }
  write32(offset: number, value: number): void {
    this.#view.setUint32(offset, value, true);
  }
  write64(offset: number, value: bigint): void {
    this.#view.setBigUint64(offset, value, true);
  }
  prefault(offset: number, length: number): Promise<number> {
    this.#seam.prefaults.push({ offset, length });
    return this.#seam.onPool(() => this.#seam.failure('prefault') ?? 0);
  }
  detachWindows(): void {
    if (this.#bytes !== undefined) this.#bytes = structuredClone(this.#bytes, { transfer: [this.#bytes] });
  }
  free(): number {
    if (!this.live) return 0;
    const failure = this.#seam.failure('free');
    if (failure !== undefined) return failure;
    this.detachWindows();
    this.#end();
    return 0;
  }
  drop(): void {
    this.dropped = true;
    this.#end();
  }
  #end(): void {
    this.live = false;
    this.#seam.regions.delete(this);
  }
}

export class StubWatch implements Watch {
  armed = false;
  referenced = true;
  open = true;
  /** How often it was armed. */
  armings = 0;
  readonly #seam: WatchOwner;
  constructor(
    seam: WatchOwner,
    readonly fd: number,
    readonly onReadable: () => void,
  ) {
    this.#seam = seam;
  }
  arm(): void {
    if (!this.open || this.armed) return;
    this.armed = true;
    this.armings++;
    this.tell();
  }
  disarm(): void {
    this.armed = false;
  }
  ref(): void {
    this.referenced = true;
  }
  unref(): void {
    this.referenced = false;
  }
  close(): void {
    this.open = false;
    this.armed = false;
    this.#seam.watches.delete(this);
  }
  /** Calls back, later, if something is there to read. */
  tell(): void {
    if (!this.armed || !this.#seam.readable(this.fd)) return;
    setImmediate(() => {
      if (!this.armed) return;
      this.armed = false;
      this.onReadable();
    });
  }
}
