// A port of the serial device: the registers of a 16550 whose output comes back as its input, as far as Linux's sample has
// them (samples/vfio-mdev/mtty.c), with what it does otherwise than a real one.

/** Registers by their offset; some are another one to write than to read. */
const DATA = 0;
const INTERRUPT_ENABLE = 1;
const INTERRUPT_IDENT = 2;
const FIFO_CONTROL = 2;
const LINE_CONTROL = 3;
const MODEM_CONTROL = 4;
const LINE_STATUS = 5;
const MODEM_STATUS = 6;
const SCRATCH = 7;

/** Bits of the registers, by the 16550's manual. */
const ENABLE = { received: 1, empty: 2, line: 4, modem: 8 } as const;
const IDENT = { none: 1, empty: 2, received: 4, line: 6, fifos: 0xc0 } as const;
const FIFO = { enable: 1, clear: 6 } as const;
const DIVISOR_LATCH = 0x80;
const MODEM = { ready: 1, request: 2, out2: 8, autoFlow: 0x20 } as const;
const LINE = { received: 1, overrun: 2, empty: 0x60 } as const;
const STATUS = { clear: 0x11, always: 0xa2 } as const;

const FIFO_SIZE = 16;

/** Where what makes up a port lies in the driver's record of it, which is also the form it migrates in. */
const AT = {
  registers: 0,
  fifo: 8,
  head: 24,
  tail: 25,
  count: 26,
  latch: 27,
  overrun: 28,
  divisor: 30,
  fifoControl: 32,
  fifoSize: 33,
  trigger: 34,
} as const;
export const PORT_SIZE = 36;

export class Uart {
  readonly #bytes = new Uint8Array(PORT_SIZE);
  readonly #view = new DataView(this.#bytes.buffer);
  readonly #interrupt: () => void;

  constructor(interrupt: () => void) {
    this.#interrupt = interrupt;
    this.#set(AT.fifoSize, FIFO_SIZE);
  }

  save(): Uint8Array {
    return this.#bytes.slice();
  }
  /** Takes what it is given: nothing of it is checked. */
  load(bytes: Uint8Array): void {
    this.#bytes.set(bytes.subarray(0, PORT_SIZE));
  }

  #get(at: number): number {
    return this.#bytes[at] ?? 0;
  }
  #set(at: number, value: number): void {
    this.#bytes[at] = value;
  }
  #register(offset: number): number {
    return this.#get(AT.registers + offset);
  }
  #enabled(bit: number): boolean {
    return (this.#register(INTERRUPT_ENABLE) & bit) !== 0;
  }
  /** Also a full one looks so, since its head has come round to its tail. */
  get #isEmpty(): boolean {
    return this.#get(AT.head) === this.#get(AT.tail);
  }
  #advance(at: number): void {
    this.#set(at, (this.#get(at) + 1) % FIFO_SIZE);
  }

  read(offset: number): number {
    switch (offset) {
      case DATA:
        return this.#get(AT.latch) !== 0 ? this.#get(AT.divisor) : this.#receive();
      case INTERRUPT_ENABLE:
        return this.#get(AT.latch) !== 0 ? this.#get(AT.divisor + 1) : this.#register(INTERRUPT_ENABLE) & 0x0f;
      case INTERRUPT_IDENT:
        return this.#identify();
      case LINE_STATUS:
        return this.#lineStatus();
      case MODEM_STATUS:
        return this.#modemStatus();
      case LINE_CONTROL:
      case MODEM_CONTROL:
      case SCRATCH:
        return this.#register(offset);
      default:
        return 0;
    }
  }
  #receive(): number {
    let data = 0;
    if (!this.#isEmpty) {
      // A state that was loaded may point anywhere: Linux reads what lies there, here that is nothing.
      const tail = this.#get(AT.tail);
      data = tail < FIFO_SIZE ? this.#get(AT.fifo + tail) : 0;
      this.#set(AT.count, this.#get(AT.count) - 1);
      this.#advance(AT.tail);
    }
    if (this.#isEmpty && this.#enabled(ENABLE.empty)) this.#interrupt();
    return data;
  }
  /** All reasons at once, where a 16550 names the most urgent one; a change of modem lines has no bits of its own. */
  #identify(): number {
    let reasons = 0;
    if (this.#enabled(ENABLE.line) && this.#get(AT.overrun) !== 0) reasons |= IDENT.line;
    if (this.#enabled(ENABLE.received) && this.#get(AT.count) >= this.#get(AT.trigger)) reasons |= IDENT.received;
    if (this.#enabled(ENABLE.empty) && this.#isEmpty) reasons |= IDENT.empty;
    return (reasons === 0 ? IDENT.none : reasons) | IDENT.fifos;
  }
  #lineStatus(): number {
    const overrun = this.#get(AT.overrun) !== 0 ? LINE.overrun : 0;
    return overrun | (this.#isEmpty ? LINE.empty : LINE.received);
  }
  #modemStatus(): number {
    const autoFlow = (this.#register(MODEM_CONTROL) & MODEM.autoFlow) !== 0;
    const hasRoom = this.#get(AT.count) < this.#get(AT.fifoSize);
    return STATUS.always | (!autoFlow || hasRoom ? STATUS.clear : 0);
  }

  write(offset: number, value: number): void {
    switch (offset) {
      case DATA:
        if (this.#get(AT.latch) !== 0) this.#orDivisor(value);
        else this.#send(value);
        break;
      case INTERRUPT_ENABLE:
        if (this.#get(AT.latch) !== 0) this.#orDivisor(value << 8);
        else this.#enable(value);
        break;
      case FIFO_CONTROL:
        this.#controlFifo(value);
        break;
      case LINE_CONTROL:
        this.#set(AT.latch, (value & DIVISOR_LATCH) !== 0 ? 1 : 0);
        if ((value & DIVISOR_LATCH) !== 0) this.#view.setUint16(AT.divisor, 0, true);
        this.#set(AT.registers + LINE_CONTROL, value);
        break;
      case MODEM_CONTROL:
        this.#controlModem(value);
        break;
      case SCRATCH:
        this.#set(AT.registers + SCRATCH, value);
        break;
    }
  }
  /** Bits are only ever added: opening the latch clears them. */
  #orDivisor(bits: number): void {
    this.#view.setUint16(AT.divisor, this.#view.getUint16(AT.divisor, true) | bits, true);
  }
  #send(value: number): void {
    if (this.#get(AT.count) >= this.#get(AT.fifoSize)) {
      this.#set(AT.overrun, 1);
      if (this.#enabled(ENABLE.line)) this.#interrupt();
      return;
    }
    const head = this.#get(AT.head);
    if (head < FIFO_SIZE) this.#set(AT.fifo + head, value);
    this.#set(AT.count, this.#get(AT.count) + 1);
    this.#advance(AT.head);
    this.#set(AT.overrun, 0);
    if (this.#enabled(ENABLE.received) && this.#get(AT.count) === this.#get(AT.trigger)) this.#interrupt();
  }
  #enable(value: number): void {
    this.#set(AT.registers + INTERRUPT_ENABLE, value);
    if ((value & ENABLE.empty) !== 0 && this.#isEmpty) this.#interrupt();
  }
  /** Whatever level is asked for, the first byte triggers. */
  #controlFifo(value: number): void {
    this.#set(AT.fifoControl, value);
    if ((value & FIFO.clear) !== 0) for (const at of [AT.count, AT.head, AT.tail]) this.#set(at, 0);
    this.#set(AT.trigger, 1);
    this.#set(AT.fifoSize, (value & FIFO.enable) !== 0 ? FIFO_SIZE : 1);
  }
  #controlModem(value: number): void {
    this.#set(AT.registers + MODEM_CONTROL, value);
    if (!this.#enabled(ENABLE.modem)) return;
    if ((value & MODEM.out2) !== 0) this.#interrupt();
    if ((value & (MODEM.ready | MODEM.request)) !== 0) this.#interrupt();
  }
}
