// A PCI function for tests of the emulated vfio-pci: 4 KiB of configuration space with capabilities, a BAR of registers that
// notes how it was accessed, one with the MSI-X table, one of ports, and one of less than a page.

import { NoiommuDevice } from '../../lib/emulated/hardware/noiommu.js';
import { EventFile } from '../../lib/emulated/kernel/event-file.js';
import { IommufdFile } from '../../lib/emulated/kernel/iommufd-file.js';
import { Kernel } from '../../lib/emulated/kernel/kernel.js';
import { Process } from '../../lib/emulated/kernel/process.js';
import type { UserBuffer, VfioBinding } from '../../lib/emulated/kernel/vfio/driver.js';
import type {
  DmaLoggingHardware,
  InterruptKind,
  MigrationHardware,
  PciBus,
  PciFunction,
} from '../../lib/emulated/kernel/vfio-pci/function.js';
import { VfioPci } from '../../lib/emulated/kernel/vfio-pci/vfio-pci.js';
import { LocalAddressSpace } from '../../lib/emulated/memory/address-space.js';
import { PhysicalMemory } from '../../lib/emulated/memory/physical.js';
import { FdTable } from '../../lib/emulated/process/fd-table.js';

type Width = 1 | 2 | 4;

/** Where its capabilities lie. */
export const AT = { pm: 0x40, unknown: 0x48, msi: 0x50, vendor: 0x60, express: 0x70, msix: 0xb0, af: 0xc0, gap: 0xd0 };
export const EXT_AT = { pasid: 0x100, error: 0x120, serial: 0x160 };

export interface FakeOptions {
  readonly resettable?: boolean;
  readonly intx?: boolean;
  readonly migration?: MigrationHardware;
  readonly dmaLogging?: DmaLoggingHardware;
  /** D3hot makes it forget its registers. */
  readonly softReset?: boolean;
}

export class FakeFunction implements PciFunction {
  readonly dev: NoiommuDevice;
  readonly bars = [
    { index: 0, size: 0x4000, kind: 'memory64', prefetchable: true },
    { index: 2, size: 0x2000, kind: 'memory32', prefetchable: false },
    { index: 4, size: 0x100, kind: 'io', prefetchable: false },
    { index: 5, size: 0x800, kind: 'memory32', prefetchable: false },
  ] as const;
  readonly configSize = 4096;
  readonly functionReset: (() => void) | undefined;
  readonly vectors: { readonly intx: 0 | 1; readonly msi: number; readonly msix: number };
  readonly migration: MigrationHardware | undefined;
  readonly dmaLogging: DmaLoggingHardware | undefined;
  onInterrupt: ((kind: InterruptKind, vector: number, level: boolean) => void) | undefined;
  /** BAR accesses: 'r4 0:10', 'w8 0:0=1'. */
  readonly accesses: string[] = [];
  readonly registers = new Map<string, number>();
  /** What `setVectors` was told last. */
  vectorsOn: readonly [kind: string, count: number] | undefined;
  resets = 0;
  readonly #config = new DataView(new ArrayBuffer(4096));
  readonly #writable = new Uint8Array(4096);
  readonly #initial: Uint8Array;
  #line = false;

  constructor(
    readonly address: string,
    readonly bus: PciBus & { readonly functions: PciFunction[] },
    readonly options: FakeOptions = {},
  ) {
    this.dev = new NoiommuDevice(address);
    bus.functions.push(this);
    this.migration = options.migration;
    this.dmaLogging = options.dmaLogging;
    this.vectors = { intx: options.intx === false ? 0 : 1, msi: 4, msix: 8 };
    this.functionReset = options.resettable === false ? undefined : () => this.busReset();
    this.#fill();
    this.#initial = new Uint8Array(this.#config.buffer.slice(0));
    this.#placeBars();
  }

  #fill(): void {
    const put = (at: number, width: Width, value: number, writable = 0): void => {
      if (width === 4) this.#config.setUint32(at, value, true);
      else if (width === 2) this.#config.setUint16(at, value, true);
      else this.#config.setUint8(at, value);
      for (let i = 0; i < width; i++) this.#writable[at + i] = writable >>> (8 * i);
    };
    put(0x00, 4, 0x11e8_1234);
    put(0x04, 2, 0, 0x0547);
    put(0x06, 2, 0x10);
    put(0x0c, 1, 0, 0xff);
    put(0x10, 4, 0xc, 0xffff_c000);
    put(0x14, 4, 0, 0xffff_ffff);
    put(0x18, 4, 0, 0xffff_e000);
    put(0x20, 4, 1, 0xffff_ff00);
    put(0x24, 4, 0, 0xffff_f800);
    put(0x34, 1, AT.pm);
    put(0x3c, 1, 0, 0xff);
    put(0x3d, 1, this.vectors.intx);
    put(AT.pm, 4, 0xfe03_0001 | (AT.unknown << 8));
    put(AT.pm + 4, 2, this.options.softReset === true ? 0 : 8, 0x8103);
    // Hyper-transport: not shown.
    put(AT.unknown, 4, 0x08 | (AT.msi << 8));
    put(AT.msi, 4, 0x0084_0005 | (AT.vendor << 8), 0x0071_0000);
    put(AT.msi + 4, 4, 0, 0xffff_ffff);
    put(AT.vendor, 4, 0x000c_0009 | (AT.express << 8));
    put(AT.vendor + 4, 4, 0, 0xffff_ffff);
    put(AT.express, 4, 0x0002_0010 | (AT.msix << 8));
    put(AT.express + 4, 4, 0x1000_0000);
    put(AT.express + 8, 2, 0x2830, 0x7fff);
    put(AT.msix, 4, 0x0007_0011 | (AT.af << 8), 0xc000_0000);
    put(AT.msix + 4, 4, 0x1002);
    put(AT.af, 4, 0x0306_0013);
    put(AT.gap, 4, 0, 0xffff_ffff);
    put(EXT_AT.pasid, 4, 0x0001_001b | (EXT_AT.error << 20));
    put(EXT_AT.error, 4, 0x0002_0001 | (EXT_AT.serial << 20));
    put(EXT_AT.error + 8, 4, 0, 0xffff_ffff);
    put(EXT_AT.serial, 4, 0x0001_0003);
    put(EXT_AT.serial + 4, 4, 0x1234_5678);
  }
  /** As firmware does. */
  #placeBars(): void {
    this.writeConfig(0x10, 4, 0x8000_0000);
    this.writeConfig(0x14, 4, 0x38);
    this.writeConfig(0x18, 4, 0xfeb0_0000);
    this.writeConfig(0x20, 4, 0xc000);
    this.writeConfig(0x24, 4, 0xfeb0_2000);
  }

  readConfig(offset: number, width: Width): number {
    if (width === 4) return this.#config.getUint32(offset, true);
    return width === 2 ? this.#config.getUint16(offset, true) : this.#config.getUint8(offset);
  }
  writeConfig(offset: number, width: Width, value: number): void {
    for (let i = 0; i < width; i++) {
      const writable = this.#writable[offset + i] ?? 0;
      const old = this.#config.getUint8(offset + i);
      this.#config.setUint8(offset + i, (old & ~writable) | ((value >>> (8 * i)) & writable));
    }
    if (offset === 4) this.#refresh();
  }

  readBar(index: number, offset: number, width: Width): number {
    this.accesses.push(`r${width} ${index}:${offset.toString(16)}`);
    return (this.registers.get(`${index}:${offset}`) ?? 0) & (0xffff_ffff >>> (32 - width * 8));
  }
  readBar64(index: number, offset: number): bigint {
    this.accesses.push(`r8 ${index}:${offset.toString(16)}`);
    return 0x0807_0605_0403_0201n;
  }
  writeBar(index: number, offset: number, width: Width, value: number): void {
    this.accesses.push(`w${width} ${index}:${offset.toString(16)}=${value.toString(16)}`);
    this.registers.set(`${index}:${offset}`, value);
    this.onWrite?.(index, offset, value);
  }
  writeBar64(index: number, offset: number, value: bigint): void {
    this.accesses.push(`w8 ${index}:${offset.toString(16)}=${value.toString(16)}`);
  }
  onWrite: ((index: number, offset: number, value: number) => void) | undefined;

  /** Everything goes: registers of configuration space, interrupts, BARs. */
  busReset(): void {
    this.resets++;
    new Uint8Array(this.#config.buffer).set(this.#initial);
    this.vectorsOn = undefined;
    this.#line = false;
    this.#refresh();
  }
  setVectors(kind: 'msi' | 'msix', count: number): void {
    this.vectorsOn = count === 0 ? undefined : [kind, count];
  }

  /** The line, from the device's side: the status register shows it, and the bus, unless the command register hides it. */
  setLine(level: boolean): void {
    this.#line = level;
    this.#refresh();
  }
  #seen = false;
  #refresh(): void {
    const status = this.#config.getUint16(6, true) & ~8;
    this.#config.setUint16(6, status | (this.#line ? 8 : 0), true);
    const seen = this.#line && (this.readConfig(4, 2) & 0x400) === 0;
    if (seen === this.#seen) return;
    this.#seen = seen;
    this.onInterrupt?.('intx', 0, seen);
  }
}

/** A program's memory behind an argument: what was written into it is in `bytes`. */
export class Argument implements UserBuffer {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  constructor(
    readonly process: Process,
    size: number,
    words: readonly number[] = [],
  ) {
    this.bytes = new Uint8Array(size);
    this.view = new DataView(this.bytes.buffer);
    words.forEach((word, i) => {
      if (word < 0) this.view.setInt32(i * 4, word, true);
      else this.view.setUint32(i * 4, word, true);
    });
  }
  copyIn(offset: number, into: Uint8Array): boolean {
    const part = this.bytes.subarray(offset, offset + into.length);
    into.set(part);
    return part.length === into.length;
  }
  copyOut(offset: number, from: Uint8Array): boolean {
    const part = this.bytes.subarray(offset, offset + from.length);
    part.set(from.subarray(0, part.length));
    return part.length === from.length;
  }
  word(index: number): number {
    return this.view.getUint32(index * 4, true);
  }
}

/** A machine with functions, each with its driver, and one program. */
export class PciBench {
  readonly physical = new PhysicalMemory({ size: 2 ** 26, scatter: false });
  readonly kernel = new Kernel(this.physical, 'linux');
  readonly files = new FdTable(64);
  readonly process = new Process(new LocalAddressSpace(), this.files, {
    ipcLock: true,
    sysResource: true,
    sysRawio: true,
    lockedPages: 0,
  });
  readonly functions = new Map<PciFunction, VfioPci>();
  readonly iommufd = new IommufdFile(this.kernel, this.process, () => {});
  readonly rootBus = { functions: [] as PciFunction[], resettable: false };
  readonly secondBus = { functions: [] as PciFunction[], resettable: true };
  #nextId = 1;

  plug(address: string, options: FakeOptions = {}): { fn: FakeFunction; driver: VfioPci } {
    const fn = new FakeFunction(address, address.startsWith('0000:00') ? this.rootBus : this.secondBus, options);
    const driver = new VfioPci(this.kernel, fn, this.functions);
    this.functions.set(fn, driver);
    return { fn, driver };
  }
  binding(context = this.iommufd.context): VfioBinding {
    return { context, id: this.#nextId++, device: undefined, access: undefined };
  }
  /** A function that is open. */
  open(options: FakeOptions = {}, address = '0000:00:05.0'): { fn: FakeFunction; driver: VfioPci } {
    const plugged = this.plug(address, options);
    plugged.driver.openDevice(this.binding());
    return plugged;
  }
  argument(size: number, words: readonly number[] = []): Argument {
    return new Argument(this.process, size, words);
  }
  eventfd(): { fd: number; file: EventFile } {
    const file = new EventFile(0n);
    return { fd: this.files.installOwned(file), file };
  }
}

const REGION = 2 ** 40;
export const CONFIG = 7 * REGION;
export function at(region: number, offset = 0): number {
  return region * REGION + offset;
}
/** pread of a region as a number. */
export function peek(driver: VfioPci, position: number, width: Width): number {
  const bytes = new Uint8Array(4);
  const done = driver.read(bytes.subarray(0, width), position);
  return done < 0 ? done : new DataView(bytes.buffer).getUint32(0, true);
}
/** pwrite of one. */
export function poke(driver: VfioPci, position: number, width: Width, value: number): number {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return driver.write(bytes.subarray(0, width), position);
}
