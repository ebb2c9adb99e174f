// A device for tests of what no simple device has: it migrates, notes its DMA, has memory in a BAR, MSI-X, PASIDs and a reset
// of its own. docs/emulated.md has its registers.
import type { DeviceBus, DeviceModel } from '../pci/model.js';

type Width = 1 | 2 | 4 | 8;

const REGISTERS_BAR = 0;
const MEMORY_BAR = 2;
const MEMORY_SIZE = 65536;
const VECTORS = 8;

const AT = {
  identification: 0x00,
  scratch: 0x04,
  status: 0x08,
  cause: 0x0c,
  iova: 0x10,
  offset: 0x18,
  length: 0x1c,
  pasid: 0x20,
  command: 0x24,
  vector: 0x28,
  raise: 0x2c,
} as const;
const REGISTERS_SIZE = 0x30;
/** Registers that keep what is written to them. */
const PLAIN: readonly number[] = [AT.scratch, AT.iova, AT.iova + 4, AT.offset, AT.length, AT.pasid, AT.vector];

/** 'TEST', the first letter first. */
const IDENTIFICATION = 0x5453_4554;
const BUSY = 1;
const REFUSED = 2;
const COMMAND = { toMemory: 1, fromMemory: 2, requestPage: 3 } as const;

/** A saved state: this word, the registers, the memory. */
const STATE_MAGIC = 0x3153_5444;
const STATE_SIZE = 4 + REGISTERS_SIZE + MEMORY_SIZE;

function readBytes(view: DataView, offset: number, width: Width): number | bigint {
  if (width === 8) return view.getBigUint64(offset, true);
  if (width === 4) return view.getUint32(offset, true);
  return width === 2 ? view.getUint16(offset, true) : view.getUint8(offset);
}
function writeBytes(view: DataView, offset: number, width: Width, value: number | bigint): void {
  if (width === 8) view.setBigUint64(offset, BigInt(value), true);
  else if (width === 4) view.setUint32(offset, Number(value), true);
  else if (width === 2) view.setUint16(offset, Number(value), true);
  else view.setUint8(offset, Number(value));
}

export class TestDevice implements DeviceModel {
  readonly identity = { vendorId: 0x1234, deviceId: 0x7e57, revision: 1, classCode: 0xff0000 };
  readonly bars = [
    { index: REGISTERS_BAR, size: 4096 },
    { index: MEMORY_BAR, size: MEMORY_SIZE, kind: 'memory64', prefetchable: true },
  ] as const;
  readonly interrupts = { intx: true, msi: 4, msix: VECTORS };
  readonly pcie = true;
  readonly resettable = true;
  readonly dmaLogging = true;
  readonly migration = {
    p2p: true,
    preCopy: true,
    save: () => this.#save(),
    load: (state: Uint8Array) => this.#load(state),
  };
  readonly #registers = new DataView(new ArrayBuffer(REGISTERS_SIZE));
  readonly #memory = new Uint8Array(MEMORY_SIZE);
  readonly #memoryView = new DataView(this.#memory.buffer);
  #bus: DeviceBus | undefined;

  connect(bus: DeviceBus): void {
    this.#bus = bus;
    this.reset();
  }
  reset(): void {
    this.#memory.fill(0);
    for (let at = 0; at < REGISTERS_SIZE; at += 4) this.#set(at, 0);
    this.#set(AT.identification, IDENTIFICATION);
    this.#set(AT.vector, 0xffff_ffff);
  }

  #get(at: number): number {
    return this.#registers.getUint32(at, true);
  }
  #set(at: number, value: number): void {
    this.#registers.setUint32(at, value, true);
  }

  read(bar: number, offset: number, width: Width): number | bigint {
    if (bar === MEMORY_BAR) return readBytes(this.#memoryView, offset, width);
    if (width === 4 && offset < REGISTERS_SIZE) return this.#get(offset);
    return width === 8 ? 0xffff_ffff_ffff_ffffn : 0xffff_ffff;
  }
  write(bar: number, offset: number, width: Width, value: number | bigint): void {
    if (bar === MEMORY_BAR) writeBytes(this.#memoryView, offset, width, value);
    else if (width === 4) this.#writeRegister(offset, Number(value));
  }
  #writeRegister(at: number, value: number): void {
    if (PLAIN.includes(at)) this.#set(at, value);
    else if (at === AT.command) this.#command(value);
    else if (at === AT.raise) this.#interrupt(value);
    else if (at === AT.cause) this.#acknowledge(value);
  }

  #interrupt(vector: number): void {
    if (vector >= VECTORS || this.#bus?.interrupt(vector) !== false) return;
    this.#set(AT.cause, this.#get(AT.cause) | (1 << vector));
    this.#bus.setIntx(true);
  }
  #acknowledge(bits: number): void {
    const left = this.#get(AT.cause) & ~bits;
    this.#set(AT.cause, left);
    if (left === 0) this.#bus?.setIntx(false);
  }

  /** Carried out later, with the registers as they are then. */
  #command(command: number): void {
    if ((this.#get(AT.status) & BUSY) !== 0) return;
    this.#set(AT.command, command);
    this.#set(AT.status, BUSY);
    this.#bus?.later(() => this.#carryOut());
  }
  #carryOut(): void {
    const done = this.#transfer(this.#get(AT.command));
    this.#set(AT.status, done ? 0 : REFUSED);
    this.#interrupt(this.#get(AT.vector));
  }
  #transfer(command: number): boolean {
    const bus = this.#bus;
    const iova = this.#registers.getBigUint64(AT.iova, true);
    const pasid = this.#get(AT.pasid);
    const [offset, length] = [this.#get(AT.offset), this.#get(AT.length)];
    if (bus === undefined || offset + length > MEMORY_SIZE) return false;
    switch (command) {
      case COMMAND.toMemory:
        return bus.dmaWrite(iova, this.#memory.slice(offset, offset + length), { pasid });
      case COMMAND.fromMemory: {
        const bytes = bus.dmaRead(iova, length, { pasid });
        if (bytes !== undefined) this.#memory.set(bytes, offset);
        return bytes !== undefined;
      }
      case COMMAND.requestPage:
        bus.requestPage({ address: iova, pasid });
        return true;
      default:
        return false;
    }
  }

  #save(): Uint8Array {
    const state = new Uint8Array(STATE_SIZE);
    new DataView(state.buffer).setUint32(0, STATE_MAGIC, true);
    state.set(new Uint8Array(this.#registers.buffer), 4);
    state.set(this.#memory, 4 + REGISTERS_SIZE);
    return state;
  }
  #load(state: Uint8Array): boolean {
    if (state.length !== STATE_SIZE) return false;
    if (new DataView(state.buffer, state.byteOffset).getUint32(0, true) !== STATE_MAGIC) return false;
    new Uint8Array(this.#registers.buffer).set(state.subarray(4, 4 + REGISTERS_SIZE));
    this.#set(AT.identification, IDENTIFICATION);
    this.#memory.set(state.subarray(4 + REGISTERS_SIZE));
    this.#bus?.setIntx(this.#get(AT.cause) !== 0);
    if ((this.#get(AT.status) & BUSY) !== 0) this.#bus?.later(() => this.#carryOut());
    return true;
  }
}
