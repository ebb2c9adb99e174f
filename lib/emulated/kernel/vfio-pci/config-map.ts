// Which byte of configuration space belongs to which capability, and the copy of it that programs see part of: found when a
// device is opened (vfio_config_init and what it calls, in vfio_pci_config.c). Capabilities that Linux does not show, or that
// no emulated function has (VPD, PCI-X, HyperTransport, SATA, virtual channels), are left out of the chain.
import type { PciHardware } from './hardware.js';
import { msiSize } from './permissions.js';
import {
  AF,
  CAP,
  CAP_NEXT,
  CAPABILITY_LIST,
  CONFIG_SIZE,
  EXPRESS,
  EXPRESS_VERSION,
  EXT_CAP,
  HEADER_SIZE,
  INTERRUPT_PIN,
  MSI,
  MSIX,
  PM,
  PM_EVENT_ENABLE,
  PM_EVENT_STATUS,
  PM_EVENTS,
  STATUS,
  STATUS_CAPABILITIES,
} from './registers.js';

/** Bytes that belong to the header, and to nothing. */
export const IN_HEADER = 0;
export const UNASSIGNED = 0xff;

/** Types of PCIe functions without a link. */
const ROOT_COMPLEX_ENDPOINT = 9;

const EXT_SIZES: { readonly [id: number]: number } = {
  [EXT_CAP.error]: 0x2c,
  [EXT_CAP.serial]: 12,
  [EXT_CAP.power]: 16,
  [EXT_CAP.acs]: 8,
  [EXT_CAP.ari]: 8,
  [EXT_CAP.ats]: 8,
  [EXT_CAP.sriov]: 0x40,
  [EXT_CAP.multicast]: 40,
  [EXT_CAP.pri]: 16,
  [EXT_CAP.ltr]: 8,
};
/** The highest id that Linux knows, at all and of extended ones. */
const LAST_CAP = 0x14;
const LAST_EXT_CAP = 0x31;

export class ConfigMap {
  readonly size: number;
  /** A capability's id for every byte. */
  readonly owner: Uint8Array;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly #hardware: PciHardware;

  constructor(hardware: PciHardware) {
    this.#hardware = hardware;
    this.size = hardware.fn.configSize;
    this.owner = new Uint8Array(this.size).fill(UNASSIGNED);
    this.owner.fill(IN_HEADER, 0, HEADER_SIZE);
    this.bytes = new Uint8Array(this.size);
    this.view = new DataView(this.bytes.buffer);
    this.#fill(0, HEADER_SIZE);
    if (hardware.fn.vectors.intx === 0) this.bytes[INTERRUPT_PIN] = 0;
    this.#addCapabilities();
    if (hardware.expressAt !== 0 && this.size > CONFIG_SIZE) this.#addExtended();
  }

  /** Where the capability that a byte belongs to starts. */
  startOf(at: number): number {
    const id = this.owner[at];
    const least = at >= CONFIG_SIZE ? CONFIG_SIZE : HEADER_SIZE;
    if (id === IN_HEADER) return 0;
    let start = at;
    while (start > least && this.owner[start - 1] === id) start--;
    return start;
  }

  #fill(at: number, length: number): void {
    for (let i = at; i < at + length; i++) this.bytes[i] = this.#hardware.read(i, 1);
  }
  #claim(id: number, at: number, length: number): void {
    const end = Math.min(at + length, at < CONFIG_SIZE ? CONFIG_SIZE : this.size);
    this.owner.fill(id, at, end);
    this.#fill(at, end - at);
  }

  #addCapabilities(): void {
    const hardware = this.#hardware;
    if ((hardware.read(STATUS, 2) & STATUS_CAPABILITIES) === 0) return;
    let previous = CAPABILITY_LIST;
    let count = 0;
    let at = hardware.read(CAPABILITY_LIST, 1);
    for (let left = (CONFIG_SIZE - HEADER_SIZE) / 4; at >= HEADER_SIZE && left > 0; left--) {
      const id = hardware.read(at, 1);
      const next = hardware.read(at + CAP_NEXT, 1);
      const length = id <= LAST_CAP ? this.#sizeOf(id, at) : 0;
      if (length === 0) this.bytes[previous] = next;
      else {
        this.#claim(id, at, length);
        if (id === CAP.pm) this.#hidePowerEvents(at);
        previous = at + CAP_NEXT;
        count++;
      }
      at = next;
    }
    if (count === 0) this.bytes[STATUS] = (this.bytes[STATUS] ?? 0) & ~STATUS_CAPABILITIES;
  }
  #sizeOf(id: number, at: number): number {
    const hardware = this.#hardware;
    if (id === CAP.pm) return PM.size;
    if (id === CAP.msi) return msiSize(hardware.read(at + MSI.flags, 2));
    if (id === CAP.msix) return MSIX.size;
    if (id === CAP.af) return AF.size;
    if (id === CAP.vendor) return hardware.read(at + 2, 1);
    if (id !== CAP.express) return 0;
    const flags = hardware.read(at + EXPRESS.flags, 2);
    const linkless = ((flags >> 4) & 0xf) === ROOT_COMPLEX_ENDPOINT;
    if ((flags & EXPRESS_VERSION) === 1) return linkless ? 0x0c : 0x14;
    return linkless ? 0x2c : 0x34;
  }
  /** Nobody but the host handles power management events. */
  #hidePowerEvents(at: number): void {
    const { view } = this;
    view.setUint16(at + PM.capabilities, view.getUint16(at + PM.capabilities, true) & ~PM_EVENTS, true);
    const events = PM_EVENT_ENABLE | PM_EVENT_STATUS;
    view.setUint16(at + PM.control, view.getUint16(at + PM.control, true) & ~events, true);
  }

  #addExtended(): void {
    const hardware = this.#hardware;
    if (hardware.read(CONFIG_SIZE, 4) === 0) return;
    let previous = 0;
    let count = 0;
    let at = CONFIG_SIZE;
    for (let left = (this.size - CONFIG_SIZE) / 4; at >= CONFIG_SIZE && left > 0; left--) {
      const header = hardware.read(at, 4);
      const id = header & 0xffff;
      const next = (header >>> 20) & 0xffc;
      const length = id <= LAST_EXT_CAP ? this.#extendedSizeOf(id, at) : 0;
      if (length === 0 && previous !== 0) this.#setExtendedNext(previous, next);
      else {
        // The first one cannot be left out: it keeps its place, and the next one's, but not its id.
        this.#claim(id & 0xff, at, length === 0 ? 4 : length);
        if (length === 0) this.view.setUint32(at, (this.view.getUint32(at, true) & 0xffc0_0000) >>> 0, true);
        else count++;
        previous = at;
      }
      at = next;
    }
    if (count === 0) this.view.setUint32(CONFIG_SIZE, 0, true);
  }
  #setExtendedNext(at: number, next: number): void {
    this.view.setUint32(at, ((this.view.getUint32(at, true) & 0x003f_ffff) | (next << 20)) >>> 0, true);
  }
  #extendedSizeOf(id: number, at: number): number {
    const varies = id === EXT_CAP.vendor || id === EXT_CAP.dvsec;
    return varies ? this.#hardware.read(at + 4, 4) >>> 20 : (EXT_SIZES[id] ?? 0);
  }
}
