// A device of the VFIO cdev interface: its place under an iommufd, and the way to everything else about it.
import { checkOptions, toU32 } from '../host/arguments.js';
import { invalidType, UsageError } from '../host/errors.js';
import type { ReadEventsOptions } from '../host/event-reader.js';
import { checkMade } from '../host/made.js';
import { type Outcome, refusal, tryCall } from '../objects/call.js';
import { type Attached, type AttachOptions, type AttachResult, Device, type PageTable } from '../objects/device.js';
import { Iommufd, iommufdContext } from '../objects/iommufd.js';
import * as uapi from '../uapi/vfio.js';
import { checkBound, coreOfFd, type DeviceFdOptions, type FdOwnership } from './adopt.js';
import { vfioAttacher } from './attacher.js';
import { PciConfig } from './config.js';
import type { DeviceCore } from './core.js';
import { DmaLogging } from './dma-logging.js';
import { type DeviceEvent, DeviceEvents } from './events.js';
import { DeviceFeatures } from './features.js';
import { Graphics } from './graphics.js';
import { type DeviceInfo, readDeviceInfo } from './info.js';
import { type InterruptName, interruptIndex, VfioInterrupts } from './interrupts.js';
import { LowPower } from './low-power.js';
import { Migration } from './migration.js';
import type { VfioRegion } from './region.js';
import type { RegionName } from './region-info.js';
import { DeviceRegions } from './regions.js';
import { type HotResetInfo, hotReset, readHotResetInfo, rememberCore, resetDevice, resetDeviceAsync } from './reset.js';
import { toVfToken } from './vf-token.js';

export interface BindOptions {
  /**
   * The token that the driver of the physical function set (`features.setVfToken`), a UUID or its 16 bytes in the order
   * its text has: a virtual function of a physical function that vfio-pci drives wants it, and so does that physical
   * function once it has virtual ones (Linux 6.18).
   */
  readonly vfToken?: Uint8Array | string;
}

export interface AdoptDeviceOptions {
  /** What the device is bound to. */
  readonly iommufd: Iommufd;
  /** The id it has there: what `bind` answered. */
  readonly id: number;
  /** What to call it; 'fd 7' if left out. */
  readonly name?: string;
  /** `owned` (default): the fd is closed with the object. `borrowed`: whoever gave it closes it. */
  readonly ownership?: FdOwnership;
}

let coreOf: (device: VfioDevice) => DeviceCore;

/** A device that a VFIO driver drives: made by `host.openDevice`. */
export class VfioDevice {
  /** What it was opened by: a PCI address, a UUID, the path of its node, or its fd. */
  readonly name: string;
  readonly #core: DeviceCore;
  #device: Device | undefined;
  #info: DeviceInfo | undefined;
  readonly #regions: DeviceRegions;
  readonly #interrupts = new Map<number, VfioInterrupts>();
  #events: DeviceEvents | undefined;

  static {
    coreOf = (device) => device.#core;
  }

  /** Not for callers: use `host.openDevice`, or `VfioDevice.fromFd`. */
  constructor(core: DeviceCore) {
    this.#core = core;
    this.#regions = new DeviceRegions(core, () => this.info);
    this.name = core.name;
  }

  /**
   * A device whose node somebody else opened: a launcher with the privilege to. Nothing is changed by it.
   * @throws IommufdError EBADF (not open), ENOTTY (not the file of a VFIO device), EEXIST (an object of this thread owns it
   * already: `borrowed` takes it)
   */
  static fromFd(fd: number, options: DeviceFdOptions = {}): VfioDevice {
    return new VfioDevice(coreOfFd(fd, options));
  }

  /**
   * A device that somebody else opened and bound, on an iommufd that was taken over too: after a live update. What it is
   * attached to is not known here until it is attached anew.
   * @throws IommufdError EBADF, ENOTTY as `fromFd`; EINVAL (it is not bound: take `fromFd`)
   */
  static adopt(fd: number, options: AdoptDeviceOptions): VfioDevice {
    if (options === undefined) throw invalidType('options', 'an object', options);
    checkOptions(options, ['iommufd', 'id', 'name', 'ownership']);
    const { iommufd, id, name, ...rest } = { ...options };
    if (name !== undefined && typeof name !== 'string') throw invalidType('name', 'text', name);
    checkMade(iommufd, Iommufd, 'iommufd', 'an Iommufd');
    const number = toU32(id, 'id');
    iommufdContext(iommufd).check();
    const core = coreOfFd(fd, { ...rest, host: iommufd.host }, name);
    try {
      checkBound(core);
      // A listener to traces may have closed it meanwhile; and `host` is a property, which a program may change.
      const context = iommufdContext(iommufd);
      context.check();
      if (context.seam !== core.seam) throw foreignHost(core.name);
    } catch (error) {
      core.abandon();
      throw error;
    }
    core.markBound();
    const device = new VfioDevice(core);
    device.#become(iommufd, number);
    return device;
  }

  /** The fd, readable before `bind`: KVM wants it first. Owned by this object unless borrowed. */
  get fd(): number {
    this.#core.checkOpen();
    return this.#core.fd;
  }

  /** The bound device. @throws UsageError ERR_IOMMUFD_UNAVAILABLE before `bind` */
  get device(): Device {
    this.#core.checkOpen();
    if (this.#device !== undefined) return this.#device;
    throw new UsageError('ERR_IOMMUFD_UNAVAILABLE', `${this.name} is not bound to an iommufd yet: bind it first`);
  }

  /**
   * Puts the device under an iommufd, for as long as it is open (VFIO_DEVICE_BIND_IOMMUFD, Linux 6.6). VFIO has no call that
   * undoes it: `close` does. A refusal leaves the device unbound; where the iommufd is closed while it is bound, the device
   * is closed too.
   * @throws IommufdError EINVAL (bound already, here or by another program; a token that is not wanted), EACCES (a token is wanted, or it is wrong),
   * EPERM (interrupts are not isolated on this platform), EBUSY (its group is open through the older container interface)
   */
  bind(iommufd: Iommufd, options: BindOptions = {}): Device {
    checkOptions(options, ['vfToken']);
    const token = options.vfToken === undefined ? undefined : toVfToken(options.vfToken, 'vfToken');
    this.#core.checkOpen();
    const context = this.#contextOf(iommufd);
    const { result, out, input } = this.#tryBind(context.fd, token);
    if (result < 0) throw refusal(this.#core, uapi.VFIO_DEVICE_BIND_IOMMUFD, result, input, this.name);
    // A listener to traces may have closed either meanwhile.
    this.#core.checkOpen();
    try {
      context.check();
    } catch (error) {
      this.#core.close();
      throw error;
    }
    this.#core.markBound();
    return this.#become(iommufd, out.out_devid);
  }

  #tryBind(iommufd: number, token: Uint8Array | undefined): BindOutcome {
    const port = { seam: this.#core.seam, fd: this.#core.fd };
    const input = token === undefined ? { iommufd } : { iommufd, flags: BIND_TOKEN };
    const attachments = token === undefined ? undefined : { token_uuid_ptr: token };
    return { input, ...tryCall(port, uapi.VFIO_DEVICE_BIND_IOMMUFD, input, attachments) };
  }

  #contextOf(iommufd: Iommufd) {
    checkMade(iommufd, Iommufd, 'iommufd', 'an Iommufd');
    const context = iommufdContext(iommufd);
    context.check();
    if (context.seam === this.#core.seam) return context;
    throw foreignHost(this.name);
  }

  #become(iommufd: Iommufd, id: number): Device {
    this.#device = new Device(iommufd, iommufdContext(iommufd), id, vfioAttacher(this.#core));
    rememberCore(this.#device, this.#core);
    return this.#device;
  }

  /** Attaches the device: see `Device.attach`. */
  attach<T extends PageTable>(pageTable: T, options?: AttachOptions): Attached<T> {
    return this.device.attach(pageTable, options);
  }
  /** As `attach`, but a refusal is answered, not thrown. */
  tryAttach<T extends PageTable>(pageTable: T, options?: AttachOptions): AttachResult<T> {
    return this.device.tryAttach(pageTable, options);
  }
  /** As `attach`, on the thread pool. */
  async attachAsync<T extends PageTable>(pageTable: T, options?: AttachOptions): Promise<Attached<T>> {
    return this.device.attachAsync(pageTable, options);
  }
  /** Detaches the device (or one of its PASIDs). Not attached is fine. */
  detach(options?: AttachOptions): void {
    this.device.detach(options);
  }

  /** What the device is and can do (VFIO_DEVICE_GET_INFO, Linux 3.6), as it was when first asked. */
  get info(): DeviceInfo {
    this.#core.check();
    this.#info ??= readDeviceInfo(this.#core);
    return this.#info;
  }

  /**
   * A region: a BAR, configuration space, or one of the device's own, by name or index. One object a region.
   * @throws IommufdError EINVAL (no such index); TypeError, RangeError (no such name)
   */
  region(which: RegionName | number): VfioRegion {
    return this.#regions.get(which);
  }
  /** All regions that have a size. */
  get regions(): readonly VfioRegion[] {
    return this.#regions.all();
  }

  /**
   * A PCI device's configuration space: its command register, its capabilities.
   * @throws UsageError ERR_IOMMUFD_UNAVAILABLE (not a PCI device)
   */
  get config(): PciConfig {
    if (this.info.kind === 'pci') return new PciConfig(this.region('config'));
    throw new UsageError('ERR_IOMMUFD_UNAVAILABLE', `${this.name} is no PCI device: it has no configuration space`);
  }

  /**
   * An interrupt index of the device, by name or number. One object an index.
   * @throws IommufdError EINVAL (no such index); TypeError, RangeError (no such name)
   */
  interrupts(which: InterruptName | number): VfioInterrupts {
    const index = interruptIndex(which);
    this.#core.check();
    const known = this.#interrupts.get(index);
    if (known !== undefined) return known;
    // Drivers of mediated devices may not know of interrupts before they were asked about the device (mtty.c).
    void this.info;
    const interrupts = new VfioInterrupts(this.#core, index);
    this.#interrupts.set(index, interrupts);
    return interrupts;
  }

  /**
   * What happens to the device itself: `for await (const { type } of nic.events({ signal }))`. On 'request' the host wants
   * the device back, to unplug it or for another driver: stop using it and `close` it, the host waits for that. On 'error'
   * its bus reported an uncorrectable error: reset it, or close it. They are listened to from the first call on; one
   * iterator at a time, which ends when the device is closed; leaving it loses nothing.
   * @throws UsageError ERR_IOMMUFD_UNAVAILABLE (the device tells of neither), ERR_IOMMUFD_BUSY (being read already, or the
   * 'error' or 'request' interrupt is on)
   */
  events(options: ReadEventsOptions = {}): AsyncIterableIterator<DeviceEvent> {
    this.#core.check();
    this.#events ??= new DeviceEvents(this.name, (type) => this.interrupts(type));
    return this.#events.iterate(options);
  }

  /**
   * Resets the device alone (VFIO_DEVICE_RESET, Linux 3.6). What was mapped of its regions before is dead afterwards, as
   * are dma-bufs of them: map anew.
   * @throws IommufdError EINVAL (the device cannot be reset alone: `info.canReset`)
   */
  reset(): void {
    resetDevice(this.#core);
  }
  /**
   * As `reset`, on the thread pool: devices may take seconds. What was mapped before is dead from the call on.
   * @throws as `reset`
   */
  async resetAsync(): Promise<void> {
    await resetDeviceAsync(this.#core, this.device);
  }
  /**
   * Which devices a reset of the bus or slot would reset, and which of them prevent it (VFIO_DEVICE_GET_PCI_HOT_RESET_INFO,
   * Linux 6.6 for devices of an iommufd).
   * @throws IommufdError ENODEV (the bus has no bridge above it that could reset it)
   */
  hotResetInfo(): HotResetInfo {
    return readHotResetInfo(this.#core);
  }
  /**
   * Resets the bus or slot of the device, and all devices on it (VFIO_DEVICE_PCI_HOT_RESET, Linux 6.6 for devices of an
   * iommufd). What was mapped before of regions of any of them is dead afterwards.
   * @throws IommufdError EINVAL (a device on it is not owned by the same iommufd: the message names it), ENODEV (as
   * `hotResetInfo`), EBUSY (one of them is in use this very moment: try again)
   */
  hotReset(): void {
    hotReset(this.#core, this.device);
  }

  /** Which optional features the device has, and those that need no object of their own. */
  get features(): DeviceFeatures {
    return new DeviceFeatures(this.#core);
  }
  /** Its migration: states, and the stream of its own state. */
  get migration(): Migration {
    return new Migration(this.#core, this.device);
  }
  /** The device's own notes of which IOVAs it wrote to. */
  get dmaLogging(): DmaLogging {
    return new DmaLogging(this.#core);
  }
  /** The planes of its virtual display. */
  get graphics(): Graphics {
    return new Graphics(this.#core);
  }
  /** Letting the device sleep. */
  get lowPower(): LowPower {
    return new LowPower(this.#core);
  }

  /**
   * Closes the device, which unbinds it; a borrowed fd stays open, and bound until its owner closes it. Twice is fine.
   * @throws UsageError ERR_IOMMUFD_BUSY while a vDEVICE of it is left
   */
  close(): void {
    if (this.#core.closed) return;
    const device = this.#device;
    // Destroying the device closes the fd: see the attacher.
    if (device !== undefined && !device.destroyed) device.destroy();
    this.#core.close();
  }

  [Symbol.dispose](): void {
    if (this.#core.closed) return;
    const device = this.#device;
    if (device !== undefined && !device.destroyed) device[Symbol.dispose]();
    this.#core.close();
  }

  toJSON(): Record<string, unknown> {
    return { type: 'VfioDevice', name: this.name, closed: this.#core.closed, device: this.#device?.describe() };
  }
}

const { VFIO_DEVICE_BIND_FLAG_TOKEN: BIND_TOKEN } = uapi.vfio_device_bind_flags.values;

type BindOutcome = Outcome<typeof uapi.vfio_device_bind_iommufd.fields> & { readonly input: object };

function foreignHost(name: string): UsageError {
  return new UsageError('ERR_IOMMUFD_FOREIGN_HOST', `${name} and the iommufd belong to different hosts`);
}

/** What the parts of a device share: for this package's own files. */
export function deviceCore(device: VfioDevice): DeviceCore {
  return coreOf(device);
}
