// A device of the VFIO cdev interface: its place under an iommufd, and the way to everything else about it.
import { checkOptions, toBytes } from '../host/arguments.js';
import { invalidType, outOfRange, UsageError } from '../host/errors.js';
import { type Outcome, refusal, tryCall, tryCallAsync } from '../objects/call.js';
import { type Attacher, type AttachOptions, type AttachResult, Device, type PageTable } from '../objects/device.js';
import type { HwptNested } from '../objects/hwpt-nested.js';
import type { HwptPaging } from '../objects/hwpt-paging.js';
import { Iommufd, iommufdContext } from '../objects/iommufd.js';
import * as uapi from '../uapi/vfio.js';
import { PciConfig } from './config.js';
import type { DeviceCore } from './core.js';
import { DmaLogging } from './dma-logging.js';
import { DeviceFeatures } from './features.js';
import { Graphics } from './graphics.js';
import { type DeviceInfo, readDeviceInfo } from './info.js';
import { type InterruptName, interruptIndex, VfioInterrupts } from './interrupts.js';
import { LowPower } from './low-power.js';
import { Migration } from './migration.js';
import { type RegionName, regionIndex, VfioRegion } from './region.js';
import { type HotResetInfo, hotReset, readHotResetInfo, resetDevice } from './reset.js';

export interface BindOptions {
  /**
   * The token that the driver of the physical function set, 16 bytes in the order a UUID's text has: a virtual function
   * of a physical function that vfio-pci drives wants it, and so does that physical function once it has virtual ones
   * (Linux 6.18).
   */
  readonly vfToken?: Uint8Array;
}

let coreOf: (device: VfioDevice) => DeviceCore;

/** A device that a VFIO driver drives: made by `host.openDevice`. */
export class VfioDevice {
  /** What it was opened by: a PCI address, or the path of its node. */
  readonly name: string;
  readonly #core: DeviceCore;
  #device: Device | undefined;
  #info: DeviceInfo | undefined;
  readonly #regions = new Map<number, VfioRegion>();
  readonly #interrupts = new Map<number, VfioInterrupts>();

  static {
    coreOf = (device) => device.#core;
  }

  /** Not for callers: use `host.openDevice`, or `VfioDevice.fromFd`. */
  constructor(core: DeviceCore) {
    this.#core = core;
    this.name = core.name;
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
   * Puts the device under an iommufd, for as long as it is open (VFIO_DEVICE_BIND_IOMMUFD, Linux 6.6).
   * @throws IommufdError EINVAL (bound already; a token that is wrong, or not wanted), EACCES (a token is wanted), EPERM
   * (interrupts are not isolated on this platform)
   */
  bind(iommufd: Iommufd, options: BindOptions = {}): Device {
    checkOptions(options, ['vfToken']);
    const token = options.vfToken === undefined ? undefined : toToken(options.vfToken);
    this.#core.checkOpen();
    const context = this.#contextOf(iommufd);
    const { result, out, input } = this.#tryBind(context.fd, token);
    if (result < 0) throw refusal(uapi.VFIO_DEVICE_BIND_IOMMUFD, result, input, this.name);
    this.#core.markBound();
    // A listener to traces may have closed either meanwhile.
    this.#core.checkOpen();
    context.check();
    return this.#become(iommufd, out.out_devid);
  }

  #tryBind(iommufd: number, token: Uint8Array | undefined): BindOutcome {
    const port = { seam: this.#core.seam, fd: this.#core.fd };
    const input = token === undefined ? { iommufd } : { iommufd, flags: BIND_TOKEN };
    const attachments = token === undefined ? undefined : { token_uuid_ptr: token };
    return { input, ...tryCall(port, uapi.VFIO_DEVICE_BIND_IOMMUFD, input, attachments) };
  }

  #contextOf(iommufd: Iommufd) {
    if (!(iommufd instanceof Iommufd)) throw invalidType('iommufd', 'an Iommufd', iommufd);
    const context = iommufdContext(iommufd);
    context.check();
    if (context.seam === this.#core.seam) return context;
    throw new UsageError('ERR_IOMMUFD_FOREIGN_HOST', `${this.name} and the iommufd belong to different hosts`);
  }

  #become(iommufd: Iommufd, id: number): Device {
    this.#device = new Device(iommufd, iommufdContext(iommufd), id, this.#attacher());
    return this.#device;
  }

  /** Attaches the device: see `Device.attach`. */
  attach(pageTable: PageTable, options?: AttachOptions): HwptPaging | HwptNested {
    return this.device.attach(pageTable, options);
  }
  /** As `attach`, but a refusal is answered, not thrown. */
  tryAttach(pageTable: PageTable, options?: AttachOptions): AttachResult {
    return this.device.tryAttach(pageTable, options);
  }
  /** As `attach`, on the thread pool. */
  attachAsync(pageTable: PageTable, options?: AttachOptions): Promise<HwptPaging | HwptNested> {
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
    const index = regionIndex(which);
    this.#core.check();
    const known = this.#regions.get(index);
    if (known !== undefined) return known;
    const region = new VfioRegion(this.#core, index);
    this.#regions.set(index, region);
    return region;
  }
  /** All regions that have a size. */
  get regions(): readonly VfioRegion[] {
    const all = Array.from({ length: this.info.regionCount }, (_, index) => this.region(index));
    return all.filter((region) => region.size > 0);
  }

  /** A PCI device's configuration space: its command register, its capabilities. */
  get config(): PciConfig {
    return new PciConfig(this.#core, this.region('config'));
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
    const interrupts = new VfioInterrupts(this.#core, index);
    this.#interrupts.set(index, interrupts);
    return interrupts;
  }

  /**
   * Resets the device alone (VFIO_DEVICE_RESET, Linux 3.6). What was mapped of its regions before is dead afterwards, as
   * are dma-bufs of them: map anew.
   * @throws IommufdError EINVAL (the device cannot be reset alone: `info.canReset`)
   */
  reset(): void {
    resetDevice(this.#core);
  }
  /** Which devices a reset of the bus or slot would reset, and which of them prevent it. */
  hotResetInfo(): HotResetInfo {
    return readHotResetInfo(this.#core, this.device);
  }
  /**
   * Resets the bus or slot of the device (VFIO_DEVICE_PCI_HOT_RESET, Linux 6.6 for devices of an iommufd).
   * @throws IommufdError, with the devices that block it named
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
    return new Migration(this.#core);
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
   * Closes the device, which unbinds it. Twice is fine.
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

  #attacher(): Attacher {
    const port = { seam: this.#core.seam, fd: this.#core.fd, check: () => this.#core.checkOpen() };
    const told = (op: typeof uapi.VFIO_DEVICE_ATTACH_IOMMUFD_PT, input: object, { result, out }: AttachOutcome) =>
      result < 0 ? refusal(op, result, input, this.name) : out.pt_id;
    return {
      attach: (pageTable, pasid) => {
        const input = attachInput(pageTable, pasid);
        return told(ATTACH, input, tryCall(port, ATTACH, input));
      },
      attachAsync: async (pageTable, pasid) => {
        const input = attachInput(pageTable, pasid);
        return told(ATTACH, input, await tryCallAsync(port, ATTACH, input));
      },
      detach: (pasid) => {
        const input = pasid === undefined ? {} : { flags: DETACH_PASID, pasid };
        const { result } = tryCall(port, uapi.VFIO_DEVICE_DETACH_IOMMUFD_PT, input);
        return result < 0 ? refusal(uapi.VFIO_DEVICE_DETACH_IOMMUFD_PT, result, input, this.name) : undefined;
      },
      // VFIO has no unbind: closing the fd is it.
      unbind: () => this.#core.close(),
    };
  }
}

const { VFIO_DEVICE_ATTACH_IOMMUFD_PT: ATTACH } = uapi;
const { VFIO_DEVICE_ATTACH_PASID: ATTACH_PASID } = uapi.vfio_device_attach_flags.values;
const { VFIO_DEVICE_DETACH_PASID: DETACH_PASID } = uapi.vfio_device_detach_flags.values;
const { VFIO_DEVICE_BIND_FLAG_TOKEN: BIND_TOKEN } = uapi.vfio_device_bind_flags.values;

type AttachOutcome = Outcome<typeof uapi.vfio_device_attach_iommufd_pt.fields>;
type BindOutcome = Outcome<typeof uapi.vfio_device_bind_iommufd.fields> & { readonly input: object };

const TOKEN_LENGTH = 16;

function toToken(value: Uint8Array): Uint8Array {
  const token = toBytes(value, 'vfToken');
  if (token.length !== TOKEN_LENGTH) throw outOfRange('vfToken', `${TOKEN_LENGTH} bytes`, token.length);
  return token;
}

function attachInput(pageTable: number, pasid: number | undefined): { flags?: number; pt_id: number; pasid?: number } {
  return pasid === undefined ? { pt_id: pageTable } : { flags: ATTACH_PASID, pt_id: pageTable, pasid };
}

/** What the parts of a device share: for this package's own files. */
export function deviceCore(device: VfioDevice): DeviceCore {
  return coreOf(device);
}
