// Configuration space as a program sees it (vfio_pci_config.c): part hardware, part made up. Accesses are cut into aligned
// pieces of at most four bytes, each within one capability.
import { ERRNO } from '../../../uapi/errno.js';
import { ConfigMap, IN_HEADER, UNASSIGNED } from './config-map.js';
import { D3HOT, type PciHardware } from './hardware.js';
import type { OpenFunction } from './open-function.js';
import {
  ADVANCED_FEATURES,
  ERROR_REPORTING,
  HEADER,
  msiPermissions,
  PCI_EXPRESS,
  type Permissions,
  POWER,
  POWER_BUDGET,
} from './permissions.js';
import {
  AF,
  AF_RESET,
  AF_RESETS,
  AF_TRANSACTIONS,
  BAR0,
  CAP,
  CAP_NEXT,
  COMMAND,
  COMMAND_INTX_DISABLE,
  COMMAND_IO,
  COMMAND_MEMORY,
  CONFIG_SIZE,
  EXPRESS,
  EXPRESS_PAYLOAD,
  EXPRESS_READ_REQUEST,
  EXPRESS_RESET,
  EXPRESS_RESETS,
  EXT_CAP,
  HEADER_SIZE,
  MSI,
  MSI_CONFIGURED,
  MSI_ENABLE,
  PM,
  PM_STATE,
  ROM_ADDRESS,
} from './registers.js';

type Width = 1 | 2 | 4;

/** A piece of an access: where it lies, and how far into its capability. */
interface Piece {
  readonly at: number;
  readonly offset: number;
  readonly width: Width;
  readonly permissions: Permissions | undefined;
}

const mask = (width: Width): number => 0xffff_ffff >>> (32 - width * 8);

function getBits(bytes: Uint8Array, at: number, width: Width): number {
  let value = 0;
  for (let i = 0; i < width; i++) value |= (bytes[at + i] ?? 0) << (8 * i);
  return value >>> 0;
}
function setBits(bytes: Uint8Array, at: number, width: Width, value: number): void {
  for (let i = 0; i < width; i++) bytes[at + i] = value >>> (8 * i);
}

/** Registers that hold addresses: the BARs, and the ROM's. */
function isAddress(at: number): boolean {
  return (at >= BAR0 && at < BAR0 + 24) || (at >= ROM_ADDRESS && at < ROM_ADDRESS + 4);
}

export class VirtualConfig {
  readonly #open: OpenFunction;
  readonly #hardware: PciHardware;
  readonly #map: ConfigMap;
  readonly #msi: Permissions | undefined;
  /** What the BARs really hold. */
  readonly #bars: readonly number[];
  /** A program wrote BARs: they must look like hardware's before they are read. */
  #barsDirty = true;

  constructor(open: OpenFunction) {
    this.#open = open;
    const { hardware } = open;
    this.#hardware = hardware;
    this.#map = new ConfigMap(hardware);
    const { msiAt } = hardware;
    this.#msi = msiAt === 0 ? undefined : msiPermissions(hardware.read(msiAt + MSI.flags, 2));
    this.#bars = [0, 1, 2, 3, 4, 5].map((i) => hardware.read(BAR0 + i * 4, 4));
  }

  /** Whether the program lets the function answer memory accesses. */
  get memoryEnabled(): boolean {
    return (this.#map.view.getUint16(COMMAND, true) & COMMAND_MEMORY) !== 0 && this.#hardware.power < D3HOT;
  }
  get hasIntx(): boolean {
    return this.#map.bytes[0x3d] !== 0;
  }

  read(into: Uint8Array, at: number): number {
    if (at + into.length > this.#map.size) return -ERRNO.EFAULT;
    for (let done = 0; done < into.length; ) {
      const piece = this.#pieceAt(at + done, into.length - done);
      setBits(into, done, piece.width, this.#read(piece));
      done += piece.width;
    }
    return into.length;
  }
  write(from: Uint8Array, at: number): number {
    if (at + from.length > this.#map.size) return -ERRNO.EFAULT;
    for (let done = 0; done < from.length; ) {
      const piece = this.#pieceAt(at + done, from.length - done);
      this.#write(piece, getBits(from, done, piece.width));
      done += piece.width;
    }
    return from.length;
  }

  #pieceAt(at: number, most: number): Piece {
    const { owner } = this.#map;
    let length = 1;
    while ((at + length) % 4 !== 0 && owner[at + length] === owner[at]) length++;
    const fits = Math.min(length, most);
    const width = fits >= 4 && at % 4 === 0 ? 4 : fits >= 2 && at % 2 === 0 ? 2 : 1;
    const offset = owner[at] === UNASSIGNED ? 0 : at - this.#map.startOf(at);
    return { at, offset, width, permissions: this.#permissionsAt(at) };
  }
  #permissionsAt(at: number): Permissions | undefined {
    const id = this.#map.owner[at];
    if (at >= CONFIG_SIZE) {
      if (id === EXT_CAP.error) return ERROR_REPORTING;
      return id === EXT_CAP.power ? POWER_BUDGET : undefined;
    }
    if (id === IN_HEADER) return HEADER;
    if (id === CAP.pm) return POWER;
    if (id === CAP.msi) return this.#msi;
    if (id === CAP.express) return PCI_EXPRESS;
    return id === CAP.af ? ADVANCED_FEATURES : undefined;
  }

  #read({ at, offset, width, permissions }: Piece): number {
    if (isAddress(at)) this.#tidyBars();
    if (permissions === undefined) return this.#readDirect(at, offset, width);
    const virtual = getBits(permissions.virtual, offset, width);
    const made = getBits(this.#map.bytes, at, width);
    if (virtual === mask(width)) return made;
    return ((this.#hardware.read(at, width) & ~virtual) | (made & virtual)) >>> 0;
  }
  /** Hardware, but for where the chain goes on. */
  #readDirect(at: number, offset: number, width: Width): number {
    const { bytes, owner } = this.#map;
    const real = this.#hardware.read(at, width);
    if (owner[at] === UNASSIGNED) return real;
    if (at >= CONFIG_SIZE) return offset < 4 ? getBits(bytes, at, width) : real;
    if (offset === 0 && width > 1) return ((real & ~0xffff) | getBits(bytes, at, 2)) >>> 0;
    return offset === CAP_NEXT ? getBits(bytes, at, 1) : real;
  }

  #write(piece: Piece, value: number): void {
    const { at, permissions } = piece;
    const id = this.#map.owner[at];
    if (permissions === undefined) {
      const isOpen = at >= CONFIG_SIZE ? id === EXT_CAP.vendor || id === EXT_CAP.dvsec : id === CAP.vendor;
      if (isOpen || id === UNASSIGNED) this.#hardware.write(at, piece.width, value);
      return;
    }
    if (at < HEADER_SIZE) this.#writeHeader(piece, permissions, value);
    else {
      const readRequest = id === CAP.express && at < CONFIG_SIZE ? this.#readRequest(piece) : 0;
      this.#writeBits(piece, permissions, value);
      if (at >= CONFIG_SIZE) return;
      if (id === CAP.pm) this.#powerWritten(piece, value);
      else if (id === CAP.msi) this.#msiWritten(piece);
      else if (id === CAP.express) this.#expressWritten(piece, readRequest);
      else this.#afWritten(piece);
    }
  }
  #writeBits({ at, offset, width }: Piece, permissions: Permissions, value: number): void {
    const virtual = getBits(permissions.virtual, offset, width);
    const writable = getBits(permissions.writable, offset, width);
    const { bytes } = this.#map;
    const made = writable & virtual;
    if (made !== 0) setBits(bytes, at, width, (getBits(bytes, at, width) & ~made) | (value & made));
    const real = writable & ~virtual;
    if (real !== 0) this.#hardware.write(at, width, ((this.#hardware.read(at, width) & ~real) | (value & real)) >>> 0);
  }

  #writeHeader(piece: Piece, permissions: Permissions, value: number): void {
    const { at } = piece;
    const { view } = this.#map;
    if (at === COMMAND) {
      if ((value & COMMAND_MEMORY) === 0) this.#open.dmaBufs.move(true);
      if (this.#wasResetBehindUs(value)) this.#restoreBars();
    }
    this.#writeBits(piece, permissions, value);
    if (at === COMMAND) {
      const decode = COMMAND_MEMORY | COMMAND_IO;
      view.setUint16(COMMAND, (view.getUint16(COMMAND, true) & ~decode) | (value & decode), true);
      if (this.memoryEnabled) this.#open.dmaBufs.move(false);
    }
    if (at === COMMAND || at === COMMAND + 1) {
      this.#open.interrupts.disableIntx((view.getUint16(COMMAND, true) & COMMAND_INTX_DISABLE) !== 0);
    }
    if (isAddress(at)) this.#barsDirty = true;
  }
  /** The program turns on what it takes to be on, and it is off; or BARs are not what they were. */
  #wasResetBehindUs(value: number): boolean {
    const real = this.#hardware.read(COMMAND, 2);
    const made = this.#map.view.getUint16(COMMAND, true);
    const lost = value & made & ~real & (COMMAND_MEMORY | COMMAND_IO);
    return lost !== 0 || this.#bars.some((bar, i) => bar !== 0 && this.#hardware.read(BAR0 + i * 4, 4) !== bar);
  }
  #restoreBars(): void {
    this.#bars.forEach((bar, i) => {
      this.#hardware.write(BAR0 + i * 4, 4, bar);
    });
  }
  /** The bits below a BAR's size are its kind: so a program learns the size. There is no ROM. */
  #tidyBars(): void {
    if (!this.#barsDirty) return;
    this.#barsDirty = false;
    const { view } = this.#map;
    const { bars } = this.#hardware.fn;
    view.setUint32(ROM_ADDRESS, 0, true);
    for (let i = 0; i < 6; i++) {
      const bar = bars.find(({ index }) => index === i);
      const upper = bars.find(({ index, kind }) => index === i - 1 && kind === 'memory64');
      const at = BAR0 + i * 4;
      const value = view.getUint32(at, true);
      if (bar !== undefined) {
        const kind = bar.kind === 'io' ? 1 : (bar.kind === 'memory64' ? 4 : 0) | (bar.prefetchable ? 8 : 0);
        const low = Number(BigInt.asUintN(32, -BigInt(bar.size)));
        view.setUint32(at, ((value & low) | kind) >>> 0, true);
      } else if (upper !== undefined) {
        const high = Number(BigInt.asUintN(64, -BigInt(upper.size)) >> 32n);
        view.setUint32(at, (value & high) >>> 0, true);
      } else view.setUint32(at, 0, true);
    }
  }

  #powerWritten({ offset }: Piece, value: number): void {
    if (offset !== PM.control) return;
    const state = value & PM_STATE;
    if (state === D3HOT) this.#open.dmaBufs.move(true);
    this.#hardware.setPower(state);
    if (this.memoryEnabled) this.#open.dmaBufs.move(false);
  }
  /** MSI is turned on by VFIO_DEVICE_SET_IRQS alone, and not more vectors than that asked for. */
  #msiWritten({ at, offset, width }: Piece): void {
    if (offset > MSI.flags || offset + width < MSI.flags) return;
    const flagsAt = at - offset + MSI.flags;
    const { view } = this.#map;
    let flags = view.getUint16(flagsAt, true);
    const { interrupts } = this.#open;
    if (interrupts.kind !== 'msi') flags &= ~MSI_ENABLE;
    if ((flags & MSI_CONFIGURED) >> 4 > interrupts.msiOrder) {
      flags = (flags & ~MSI_CONFIGURED) | (interrupts.msiOrder << 4);
    }
    view.setUint16(flagsAt, flags, true);
    this.#hardware.write(flagsAt, 2, flags);
  }

  #readRequest({ at, offset }: Piece): number {
    return this.#map.view.getUint16(at - offset + EXPRESS.deviceControl, true) & EXPRESS_READ_REQUEST;
  }
  #expressWritten(piece: Piece, oldReadRequest: number): void {
    const start = piece.at - piece.offset;
    const controlAt = start + EXPRESS.deviceControl;
    const { view } = this.#map;
    const control = view.getUint16(controlAt, true);
    if ((control & EXPRESS_RESET) !== 0) {
      view.setUint16(controlAt, control & ~EXPRESS_RESET, true);
      const capabilities = this.#hardware.read(start + EXPRESS.deviceCapabilities, 4);
      if ((capabilities & EXPRESS_RESETS) !== 0) this.#open.resetFunction();
    }
    const readRequest = this.#readRequest(piece);
    if (readRequest !== oldReadRequest) this.#setReadRequest(controlAt, readRequest);
  }
  /** Requests are at least as large as the largest packet of the function. */
  #setReadRequest(controlAt: number, bits: number): void {
    const real = this.#hardware.read(controlAt, 2);
    const size = Math.max(bits >> 12, (real & EXPRESS_PAYLOAD) >> 5);
    this.#hardware.write(controlAt, 2, (real & ~EXPRESS_READ_REQUEST) | (size << 12));
  }
  #afWritten({ at, offset }: Piece): void {
    const start = at - offset;
    const { bytes } = this.#map;
    const control = bytes[start + AF.control] ?? 0;
    if ((control & AF_RESET) === 0) return;
    bytes[start + AF.control] = control & ~AF_RESET;
    const needed = AF_RESETS | AF_TRANSACTIONS;
    if ((this.#hardware.read(start + AF.capabilities, 1) & needed) === needed) this.#open.resetFunction();
  }
}
