// The configuration space of the serial device: a PCI function with a port or two, and no capabilities
// (samples/vfio-mdev/mtty.c).

/** One byte short of what PCI has. */
export const CONFIG_SIZE = 0xff;
export const PORT_BAR_SIZE = 8;

const BAR0 = 0x10;
const BAR1 = 0x14;
const BAR4 = 0x20;
const INTERRUPT_LINE = 0x3c;
const IO_BAR = 1;
const ALL_ONES = 0xffff_ffff;

export class SerialConfig {
  readonly #bytes = new Uint8Array(256);
  readonly #view = new DataView(this.#bytes.buffer);
  readonly #ports: number;

  constructor(ports: number) {
    this.#ports = ports;
    const view = this.#view;
    // Vendor and device, as the subsystem below; I/O on; medium DEVSEL timing.
    view.setUint32(0x00, 0x3253_4348, true);
    view.setUint16(0x04, 0x0001, true);
    view.setUint16(0x06, 0x0200, true);
    // Revision, and the class of a 16550.
    view.setUint32(0x08, 0x0700_0210, true);
    for (let i = 0; i < ports; i++) view.setUint32(BAR0 + 4 * i, IO_BAR, true);
    view.setUint32(0x2c, 0x3253_4348, true);
    // INTA.
    view.setUint8(0x3d, 1);
    // What the vendor put behind the header.
    view.setUint32(0x40, 0x8000_0023, true);
    for (const at of [0x44, 0x48, 0x4c]) view.setUint8(at, 0x23);
    this.#bytes.set(new TextEncoder().encode('PCI Serial/UART'), 0x60);
  }

  /** Behind its end is nothing, though Linux reads what lies there. */
  read(offset: number, into: Uint8Array): void {
    into.set(this.#bytes.subarray(Math.min(offset, CONFIG_SIZE), CONFIG_SIZE).subarray(0, into.length));
  }

  /** Only the interrupt line and base addresses can be written, where they start: that sizes BARs as well. */
  write(offset: number, from: Uint8Array): void {
    if (offset === INTERRUPT_LINE) this.#bytes[INTERRUPT_LINE] = from[0] ?? 0;
    else if (offset >= BAR0 && offset <= BAR4 && offset % 4 === 0) this.#writeBar(offset, from);
  }
  #writeBar(offset: number, from: Uint8Array): void {
    const hasBar = offset === BAR0 || (offset === BAR1 && this.#ports === 2);
    if (!hasBar) {
      this.#view.setUint32(offset, 0, true);
      return;
    }
    const value = new DataView(new ArrayBuffer(4));
    new Uint8Array(value.buffer).set(from);
    let address = value.getUint32(0, true);
    if (address === ALL_ONES) address = (address & -PORT_BAR_SIZE) >>> 0;
    this.#view.setUint32(offset, address | (this.#view.getUint8(offset) & 3), true);
  }
}
