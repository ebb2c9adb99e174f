// QEMU's educational device (QEMU's docs/specs/edu.rst and hw/misc/edu.c): a factorial, interrupts, and DMA to and from a
// buffer of its own. Where QEMU ends itself (a transfer that leaves the buffer, before version 9), nothing is transferred.
import type { DeviceBus, DeviceModel } from '../pci/model.js';

const IDENTIFICATION = 0x0100_00ed;
const REGISTER = {
  identification: 0x00,
  liveness: 0x04,
  factorial: 0x08,
  status: 0x20,
  interruptStatus: 0x24,
  raise: 0x60,
  acknowledge: 0x64,
  source: 0x80,
  destination: 0x88,
  count: 0x90,
  command: 0x98,
} as const;
/** From here on, registers may be accessed with 8 bytes too. */
const WIDE = 0x80;

const COMPUTING = 0x01;
const INTERRUPT_AFTER_FACTORIAL = 0x80;
const FACTORIAL_DONE = 0x001;
const DMA_DONE = 0x100;

const RUN = 1n;
const TO_MEMORY = 2n;
const INTERRUPT_AFTER_DMA = 4n;

/** Where the buffer lies in addresses of the device. */
const BUFFER = 0x40000n;
const BUFFER_SIZE = 4096n;
const PAGE_SIZE = 4096n;
/** Address lines that it has, unless it is told otherwise: QEMU's `dma_mask`. */
const ADDRESS_BITS = 28;

/** Modulo 2^32: from 34! on there is nothing left. */
function factorial(of: number): number {
  let product = 1;
  for (let factor = of; factor > 0 && product !== 0; factor--) product = Math.imul(product, factor);
  return product >>> 0;
}

function isInBuffer(address: bigint, count: bigint): boolean {
  return address >= BUFFER && count <= BUFFER_SIZE && address - BUFFER <= BUFFER_SIZE - count;
}

/** A transfer goes on behind a page that is refused: as pieces that lie in one page each. */
function pages(start: bigint, count: bigint): { at: number; address: bigint; length: number }[] {
  const pieces = [];
  for (let at = 0n, length = 0n; at < count; at += length) {
    const address = start + at;
    const room = PAGE_SIZE - (address % PAGE_SIZE);
    length = count - at < room ? count - at : room;
    pieces.push({ at: Number(at), address, length: Number(length) });
  }
  return pieces;
}

export class EduDevice implements DeviceModel {
  readonly identity = {
    ...{ vendorId: 0x1234, deviceId: 0x11e8, revision: 0x10, classCode: 0x00ff00 },
    ...{ subsystemVendorId: 0x1af4, subsystemId: 0x1100 },
  };
  readonly bars = [{ index: 0, size: 2 ** 20 }];
  readonly interrupts = { intx: true, msi: 1 };
  /** As with all of QEMU's PCI devices. */
  readonly scratch = true;
  readonly #mask: bigint;
  readonly #buffer = new Uint8Array(Number(BUFFER_SIZE));
  #bus: DeviceBus | undefined;
  #liveness = 0;
  #factorial = 0;
  #status = 0;
  #interrupts = 0;
  readonly #dma = { source: 0n, destination: 0n, count: 0n, command: 0n };

  constructor(addressBits = ADDRESS_BITS) {
    this.#mask = (1n << BigInt(addressBits)) - 1n;
  }

  connect(bus: DeviceBus): void {
    this.#bus = bus;
  }

  read(_bar: number, offset: number, width: 1 | 2 | 4 | 8): number | bigint {
    // QEMU's bus carries no narrower accesses to it: they read as 0.
    if (width < 4) return 0;
    const nothing = width === 8 ? 0xffff_ffff_ffff_ffffn : 0xffff_ffff;
    if (width === 8 && offset < WIDE) return nothing;
    switch (offset) {
      case REGISTER.identification:
        return IDENTIFICATION;
      case REGISTER.liveness:
        return this.#liveness;
      case REGISTER.factorial:
        return this.#factorial;
      case REGISTER.status:
        return this.#status;
      case REGISTER.interruptStatus:
        return this.#interrupts;
      default:
        return this.#readDma(offset, width) ?? nothing;
    }
  }
  #readDma(offset: number, width: 1 | 2 | 4 | 8): number | bigint | undefined {
    const name = DMA_REGISTERS[offset];
    if (name === undefined) return undefined;
    return width === 8 ? this.#dma[name] : Number(this.#dma[name] & 0xffff_ffffn);
  }

  write(_bar: number, offset: number, width: 1 | 2 | 4 | 8, value: number | bigint): void {
    if (width < 4 || (width === 8 && offset < WIDE)) return;
    if (offset >= WIDE) this.#writeDma(offset, BigInt(value));
    else this.#writeControl(offset, Number(value));
  }
  #writeControl(offset: number, value: number): void {
    switch (offset) {
      case REGISTER.liveness:
        this.#liveness = ~value >>> 0;
        break;
      case REGISTER.factorial:
        this.#compute(value);
        break;
      case REGISTER.status:
        this.#status = (this.#status & COMPUTING) | (value & INTERRUPT_AFTER_FACTORIAL);
        break;
      case REGISTER.raise:
        this.#raise(value);
        break;
      case REGISTER.acknowledge:
        this.#interrupts = (this.#interrupts & ~value) >>> 0;
        if (this.#interrupts === 0) this.#bus?.setIntx(false);
        break;
    }
  }
  /** A transfer that is under way keeps its registers as they are. */
  #writeDma(offset: number, value: bigint): void {
    const name = DMA_REGISTERS[offset];
    const isStart = name === 'command' && (value & RUN) !== 0n;
    if (name === undefined || (name === 'command' && !isStart) || (this.#dma.command & RUN) !== 0n) return;
    this.#dma[name] = value;
    if (isStart) this.#bus?.later(() => this.#transfer());
  }

  #compute(of: number): void {
    if ((this.#status & COMPUTING) !== 0) return;
    this.#factorial = of;
    this.#status |= COMPUTING;
    this.#bus?.later(() => {
      this.#factorial = factorial(this.#factorial);
      this.#status &= ~COMPUTING;
      if ((this.#status & INTERRUPT_AFTER_FACTORIAL) !== 0) this.#raise(FACTORIAL_DONE);
    });
  }

  #transfer(): void {
    const { source, destination, count, command } = this.#dma;
    if ((command & TO_MEMORY) !== 0n) this.#toMemory(source, destination, count);
    else this.#fromMemory(source, destination, count);
    this.#dma.command &= ~RUN;
    if ((command & INTERRUPT_AFTER_DMA) !== 0n) this.#raise(DMA_DONE);
  }
  #toMemory(source: bigint, destination: bigint, count: bigint): void {
    if (!isInBuffer(source, count)) return;
    for (const { at, address, length } of pages(destination & this.#mask, count)) {
      const from = Number(source - BUFFER) + at;
      this.#bus?.dmaWrite(address, this.#buffer.slice(from, from + length));
    }
  }
  #fromMemory(source: bigint, destination: bigint, count: bigint): void {
    if (!isInBuffer(destination, count)) return;
    for (const { at, address, length } of pages(source & this.#mask, count)) {
      // What is refused reads as zeros, on QEMU's bus.
      const bytes = this.#bus?.dmaRead(address, length) ?? new Uint8Array(length);
      this.#buffer.set(bytes, Number(destination - BUFFER) + at);
    }
  }

  #raise(bits: number): void {
    this.#interrupts = (this.#interrupts | bits) >>> 0;
    if (this.#interrupts === 0) return;
    if (this.#bus?.interrupt() === false) this.#bus.setIntx(true);
  }
}

const DMA_REGISTERS: { readonly [offset: number]: 'source' | 'destination' | 'count' | 'command' | undefined } = {
  [REGISTER.source]: 'source',
  [REGISTER.destination]: 'destination',
  [REGISTER.count]: 'count',
  [REGISTER.command]: 'command',
};
