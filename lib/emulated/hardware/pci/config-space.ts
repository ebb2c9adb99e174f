// The configuration space of a PCI function with a header of type 0 (PCI Local Bus 3.0, chapter 6): bytes, of which a driver
// may write some, and BAR registers that tell their size when all ones are written.
import type { PciBar } from '../../kernel/vfio-pci/function.js';
import type { Capability } from './capabilities.js';
import type { DeviceIdentity } from './model.js';

export const COMMAND = 0x04;
export const COMMAND_BUS_MASTER = 0x4;
export const COMMAND_INTX_OFF = 0x400;
export const STATUS = 0x06;
export const STATUS_INTX = 0x8;
const STATUS_CAPABILITIES = 0x10;
const BARS = 0x10;
const CAPABILITY_POINTER = 0x34;
const FIRST_CAPABILITY = 0x40;
const FIRST_EXTENDED = 0x100;
/** I/O, memory, bus master, system errors, and INTx off. */
const COMMAND_WRITABLE = 0x0507;

/** What a BAR register says beside its address. */
function barFlags({ kind, prefetchable }: PciBar): number {
  if (kind === 'io') return 0x1;
  return (kind === 'memory64' ? 0x4 : 0) | (prefetchable ? 0x8 : 0);
}

export interface Layout {
  readonly identity: DeviceIdentity;
  readonly bars: readonly PciBar[];
  readonly intx: boolean;
  readonly multifunction: boolean;
  readonly size: 256 | 4096;
  /** Behind the header, what no capability has keeps what is written. */
  readonly scratch: boolean;
  readonly capabilities: readonly Capability[];
  readonly extended: readonly Capability[];
}

export class ConfigSpace {
  readonly #bytes: Uint8Array;
  readonly #writable: Uint8Array;
  readonly #view: DataView;
  /** What a reset brings back. */
  readonly #initial: Uint8Array;
  readonly #places = new Map<number, number>();
  /** Bytes that no reset brings back. */
  readonly #scratch: number[] = [];

  constructor(layout: Layout) {
    this.#bytes = new Uint8Array(layout.size);
    this.#writable = new Uint8Array(layout.size);
    this.#view = new DataView(this.#bytes.buffer);
    this.#placeHeader(layout);
    for (const bar of layout.bars) this.#addBar(bar);
    this.#placeCapabilities(layout.capabilities);
    if (layout.scratch) this.#allowScratch(layout.capabilities);
    if (layout.size > FIRST_EXTENDED) this.#placeExtended(layout.extended);
    this.#initial = this.#bytes.slice();
  }

  #placeHeader({ identity, intx, multifunction, capabilities }: Layout): void {
    const { vendorId, deviceId, revision = 0, classCode = 0 } = identity;
    const { subsystemVendorId = 0, subsystemId = 0 } = identity;
    const view = this.#view;
    view.setUint16(0x00, vendorId, true);
    view.setUint16(0x02, deviceId, true);
    view.setUint16(STATUS, capabilities.length > 0 ? STATUS_CAPABILITIES : 0, true);
    view.setUint32(0x08, ((classCode << 8) | revision) >>> 0, true);
    view.setUint8(0x0e, multifunction ? 0x80 : 0);
    view.setUint16(0x2c, subsystemVendorId, true);
    view.setUint16(0x2e, subsystemId, true);
    view.setUint8(0x3d, intx ? 1 : 0);
    this.#allowWrites(COMMAND, 2, COMMAND_WRITABLE);
    // The cache line size and the interrupt line keep what is written, and mean nothing.
    this.#allowWrites(0x0c, 1, 0xff);
    this.#allowWrites(0x3c, 1, 0xff);
  }
  #addBar(bar: PciBar): void {
    const at = BARS + 4 * bar.index;
    this.#view.setUint32(at, barFlags(bar), true);
    // The bits below the size read as 0, whatever is written: that tells the size.
    this.#allowWrites(at, 4, (2 ** 32 - bar.size) >>> 0);
    if (bar.kind === 'memory64') this.#allowWrites(at + 4, 4, 0xffff_ffff);
  }
  #allowWrites(offset: number, width: number, bits: number): void {
    for (let i = 0; i < width; i++) this.#writable[offset + i] = (bits >>> (8 * i)) & 0xff;
  }

  #placeCapabilities(capabilities: readonly Capability[]): void {
    let at = FIRST_CAPABILITY;
    let pointer = CAPABILITY_POINTER;
    for (const { id, bytes, writable } of capabilities) {
      this.#bytes.set(bytes, at);
      this.#writable.set(writable, at);
      this.#bytes[at] = id;
      this.#bytes[pointer] = at;
      this.#places.set(id, at);
      pointer = at + 1;
      at += bytes.length;
    }
  }
  #allowScratch(capabilities: readonly Capability[]): void {
    const taken = new Set<number>();
    for (const { id, bytes, length = bytes.length } of capabilities)
      for (let i = 0; i < length; i++) taken.add((this.#places.get(id) ?? 0) + i);
    for (let at = FIRST_CAPABILITY; at < FIRST_EXTENDED; at++) {
      if (taken.has(at)) continue;
      this.#writable[at] = 0xff;
      this.#scratch.push(at);
    }
  }
  /** A header of an extended one has its id, version 1, and the offset of the next. */
  #placeExtended(capabilities: readonly Capability[]): void {
    let at = FIRST_EXTENDED;
    let previous = 0;
    for (const { id, bytes, writable } of capabilities) {
      this.#bytes.set(bytes, at);
      this.#writable.set(writable, at);
      this.#view.setUint32(at, id | (1 << 16), true);
      if (previous > 0) this.#view.setUint32(previous, (this.#view.getUint32(previous, true) | (at << 20)) >>> 0, true);
      previous = at;
      at += bytes.length;
    }
  }

  /** Where a capability lies; undefined where there is none. */
  find(id: number): number | undefined {
    return this.#places.get(id);
  }
  read(offset: number, width: 1 | 2 | 4): number {
    if (width === 4) return this.#view.getUint32(offset, true);
    return width === 2 ? this.#view.getUint16(offset, true) : this.#view.getUint8(offset);
  }
  /** A driver writes: what may be written is. */
  write(offset: number, width: 1 | 2 | 4, value: number): void {
    for (let i = 0; i < width; i++) {
      const mask = this.#writable[offset + i] ?? 0;
      const old = this.#bytes[offset + i] ?? 0;
      this.#bytes[offset + i] = (old & ~mask) | ((value >>> (8 * i)) & mask);
    }
  }
  /** Gives a BAR its address. */
  placeBar({ index, kind }: PciBar, address: number): void {
    const at = BARS + 4 * index;
    this.write(at, 4, address % 2 ** 32);
    if (kind === 'memory64') this.write(at + 4, 4, Math.floor(address / 2 ** 32));
  }
  /** The function itself changes bits of a 16-bit register. */
  setBits(offset: number, bits: number, on: boolean): void {
    const old = this.#view.getUint16(offset, true);
    this.#view.setUint16(offset, on ? old | bits : old & ~bits, true);
  }
  reset(): void {
    for (const at of this.#scratch) this.#initial[at] = this.#bytes[at] ?? 0;
    this.#bytes.set(this.#initial);
  }
}
