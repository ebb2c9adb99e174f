// A device bound to an iommufd: what its IOMMU is, and which page tables it uses.
import { checkOptions, toU32 } from '../host/arguments.js';
import { destroyed, type IommufdError, invalidType, outOfRange, UsageError } from '../host/errors.js';
import { isMade } from '../host/made.js';
import { IOMMU_GET_HW_INFO, iommufd_hw_info_flags } from '../uapi/iommufd.js';
import { call } from './call.js';
import type { Context } from './context.js';
import { decodeHwInfo, type HwInfo, type HwInfoTypeName, hwInfoType } from './hw-info.js';
import { HwptNested } from './hwpt-nested.js';
import { autoHwpt, HwptPaging } from './hwpt-paging.js';
import { Ioas } from './ioas.js';
import type { Iommufd } from './iommufd.js';
import {
  addHolder,
  checkAlive,
  checkSame,
  gone,
  type Holder,
  idOf,
  KernelObject,
  removeHolder,
  whileUsed,
} from './kernel-object.js';

/** What a device can be attached to: an address space (the kernel makes a page table), or a page table. */
export type PageTable = Ioas | HwptPaging | HwptNested;

export interface AttachOptions {
  /**
   * Attach this PASID (1 to 2^20 - 1) instead of the device's plain DMA (Linux 6.15): to a page table that was allocated
   * with `pasid: true`, never to an address space, whose page table is not for PASIDs; and the same holds then for what its
   * plain DMA is attached to.
   */
  readonly pasid?: number;
}

/**
 * What a device uses once it is attached to this: the page table itself; for an address space the page table that the
 * kernel made, or the address space where the device has no IOMMU (a mediated device).
 */
export type Attached<T extends PageTable> = T extends Ioas ? HwptPaging | Ioas : T;

/** `attached`, or the refusal: for those who try one page table after another. */
export type AttachResult<T extends PageTable = PageTable> =
  | { readonly attached: Attached<T>; readonly refusal?: undefined }
  | { readonly attached?: undefined; readonly refusal: IommufdError };

/** How whoever bound the device changes its page tables: VFIO does it with ioctls on the device's own fd. */
export interface Attacher {
  /**
   * Attaches, or replaces what was attached; answers the id of what is in use now (the page table that was made for an IOAS,
   * or the IOAS itself where the device has no IOMMU), or the refusal.
   */
  attach(pageTable: number, pasid: number | undefined): number | IommufdError;
  attachAsync(pageTable: number, pasid: number | undefined): Promise<number | IommufdError>;
  detach(pasid: number | undefined): IommufdError | undefined;
  /** Undoes the bind; the device's page tables are let go with it, unless another process has the file too. */
  unbind(): void;
  /** The file that the device is bound by, where there is one: another process can go on with that. */
  readonly file?: { readonly fd: number; readonly name: string; readonly owned: boolean };
}

/** PASIDs have 20 bits (PCI Express). */
const MAX_PASID = 0xf_ffff;
/** Room for the longest info struct there is, and for some growth. */
const HW_INFO_ROOM = 256;

/** An attachment, as what holds the page table. */
class Attachment implements Holder {
  constructor(
    readonly device: Device,
    readonly pageTable: PageTable,
    readonly pasid: number | undefined,
  ) {}
  describe(): string {
    return `attached ${this.device.describe()}${this.pasid === undefined ? '' : ` PASID ${this.pasid}`}`;
  }
  release(): void {
    this.device.detach(this.pasid === undefined ? {} : { pasid: this.pasid });
  }
}

/** What only this package's own files see of a device. */
interface DeviceInside {
  readonly bound: 'here' | 'elsewhere';
  readonly file: Attacher['file'];
  readonly attachments: readonly { readonly pageTable: PageTable; readonly pasid: number | undefined }[];
}

let insideOf: (device: Device) => DeviceInside;
let note: (device: Device, pageTable: PageTable, pasid: number | undefined) => void;

/** A device bound to an iommufd. `VfioDevice.bind` makes it. */
export class Device extends KernelObject {
  readonly type = 'device';
  readonly #context: Context;
  readonly #attacher: Attacher | undefined;
  readonly #attachments = new Map<number | undefined, Attachment>();

  static {
    note = (device, pageTable, pasid) => device.#note(pageTable, pasid);
    insideOf = (device) => ({
      bound: device.#attacher === undefined ? 'elsewhere' : 'here',
      file: device.#attacher?.file,
      attachments: [...device.#attachments.values()],
    });
  }

  /** Not for callers: use `VfioDevice.bind`, or `iommufd.adoptDevice` for a device that somebody else bound. */
  constructor(iommufd: Iommufd, ctx: Context, id: number, attacher: Attacher | undefined) {
    let failure: unknown;
    super(iommufd, ctx, id, [], {
      check: () => this.#checkUnbind(),
      inKernel: () => {
        try {
          attacher?.unbind();
        } catch (error) {
          // It is unbound all the same: what failed is something that went with it.
          failure = error;
        }
        return 0;
      },
      abandon: () => attacher?.unbind(),
      after: () => {
        for (const attachment of [...this.#attachments.values()]) this.#forget(attachment);
        if (failure !== undefined) throw failure;
      },
    });
    this.#context = ctx;
    this.#attacher = attacher;
  }

  /**
   * The page table in use, as far as this process knows: the address space itself for a device without an IOMMU; undefined
   * if not attached.
   */
  attachedTo(options: AttachOptions = {}): PageTable | undefined {
    return this.#attachments.get(checkPasid(options))?.pageTable;
  }

  /**
   * What the device's IOMMU can do (IOMMU_GET_HW_INFO, Linux 6.6).
   * @param type asks for another kind of info than the usual one: 'tegra241-cmdqv' beside 'arm-smmuv3' (Linux 6.17)
   * @throws IommufdError EOPNOTSUPP (no info of this kind), ENOENT (a device without an IOMMU)
   */
  hwInfo(type?: HwInfoTypeName | number): HwInfo {
    const room = new Uint8Array(HW_INFO_ROOM);
    const asked =
      type === undefined
        ? {}
        : { flags: iommufd_hw_info_flags.values.IOMMU_HW_INFO_FLAG_INPUT_TYPE, in_data_type: hwInfoType(type) };
    checkAlive(this);
    const input = { dev_id: idOf(this), data_len: room.length, ...asked };
    const out = call(this.#context, IOMMU_GET_HW_INFO, input, { data_uptr: room });
    return decodeHwInfo(out, room);
  }

  /**
   * Attaches the device to a page table, or to an address space: the kernel then makes a page table, which is answered
   * and cannot be destroyed by hand. A device without an IOMMU (a mediated one) is attached to address spaces only, and
   * the answer is the address space. Attaching again replaces, atomically, and for all devices of its IOMMU group: they
   * move together (drivers/iommu/iommufd/device.c), though `attachedTo` of the others goes on telling what they were
   * attached to by themselves. Refused behind an Intel IOMMU, the device keeps what it was attached to in name, and its DMA
   * may be blocked until the next one that works (intel/iommu.c blocks a device first).
   * @throws IommufdError EINVAL (the page table belongs to another physical IOMMU, and half a dozen other causes: see the
   * hint), ENOENT (a page table, for a device without an IOMMU), EOPNOTSUPP (a PASID, for a device that has none), ENOMEM
   * (pinning; usually RLIMIT_MEMLOCK)
   */
  attach<T extends PageTable>(pageTable: T, options?: AttachOptions): Attached<T> {
    const { attached, refusal } = this.tryAttach(pageTable, options);
    if (refusal !== undefined) throw refusal;
    return attached;
  }

  /** As `attach`, but a refusal is answered, not thrown. */
  tryAttach<T extends PageTable>(pageTable: T, options: AttachOptions = {}): AttachResult<T> {
    const { attacher, pasid } = this.#checkAttach(pageTable, options);
    const before = this.#attachments.get(pasid);
    const answer = attacher.attach(idOf(pageTable), pasid);
    // A listener to traces may have attached something else by now, or detached: what is noted then is what is so.
    if (this.#attachments.get(pasid) === before) return this.#attached(pageTable, pasid, answer);
    return this.#overtaken(pageTable, answer);
  }

  /** As `attach`, on the thread pool: attaching to an address space pins all its memory. */
  async attachAsync<T extends PageTable>(pageTable: T, options: AttachOptions = {}): Promise<Attached<T>> {
    const { attacher, pasid } = this.#checkAttach(pageTable, options);
    const work = async () => {
      const answer = await attacher.attachAsync(idOf(pageTable), pasid);
      // Before anybody who waits for the thread pool goes on: closeAsync detaches what it knows of.
      return this.#attached(pageTable, pasid, answer);
    };
    const { attached, refusal } = await this.#context.track(() => whileUsed([pageTable], work));
    if (refusal !== undefined) throw refusal;
    return attached;
  }

  /** Detaches the device (or one of its PASIDs). Not attached is fine. */
  detach(options: AttachOptions = {}): void {
    const pasid = checkPasid(options);
    checkAlive(this);
    const attachment = this.#attachments.get(pasid);
    if (attachment === undefined) return;
    const refusal = this.#requireAttacher().detach(pasid);
    if (refusal !== undefined) throw refusal;
    // Unless a listener to traces attached anew, or unbound it.
    if (this.#attachments.get(pasid) === attachment) this.#forget(attachment);
  }

  #checkUnbind(): void {
    if (this.heldBy.length === 0) return;
    // The kernel would go ahead and leave their ids unusable until the iommufd is closed.
    throw new UsageError(
      'ERR_IOMMUFD_BUSY',
      `${this.describe()} is held by ${this.heldBy.join(', ')}: destroy that first`,
    );
  }

  #checkAttach(pageTable: PageTable, options: AttachOptions): { attacher: Attacher; pasid: number | undefined } {
    const pasid = checkPasid(options);
    checkAlive(this);
    if (!isMade(pageTable, Ioas) && !isMade(pageTable, HwptPaging) && !isMade(pageTable, HwptNested)) {
      throw invalidType('pageTable', 'an Ioas, HwptPaging or HwptNested', pageTable);
    }
    checkSame(this, pageTable, 'pageTable');
    return { attacher: this.#requireAttacher(), pasid };
  }

  #attached<T extends PageTable>(
    pageTable: T,
    pasid: number | undefined,
    answer: number | IommufdError,
  ): AttachResult<T> {
    // Unbound meanwhile: the kernel detached it.
    if (gone(this)) throw destroyed(this.describe());
    if (typeof answer !== 'number') return { refusal: answer };
    const attached = this.#inUse(pageTable, answer);
    this.#note(attached, pasid);
    return { attached: attached as Attached<T> };
  }
  /** As `#attached`, where something else is attached by now. */
  #overtaken<T extends PageTable>(pageTable: T, answer: number | IommufdError): AttachResult<T> {
    if (gone(this)) throw destroyed(this.describe());
    if (typeof answer !== 'number') return { refusal: answer };
    const attached = this.#inUse(pageTable, answer);
    if (attached instanceof HwptPaging) attached.settle();
    return { attached: attached as Attached<T> };
  }

  /** What the id is that the kernel answered: for an IOAS a page table it made, or the IOAS where there is no IOMMU. */
  #inUse(pageTable: PageTable, id: number): PageTable {
    if (!(pageTable instanceof Ioas) || id === idOf(pageTable)) return pageTable;
    return autoHwpt(pageTable, this.#context, id);
  }

  #note(pageTable: PageTable, pasid: number | undefined): void {
    const before = this.#attachments.get(pasid);
    const attachment = new Attachment(this, pageTable, pasid);
    addHolder(pageTable, attachment);
    this.#attachments.set(pasid, attachment);
    if (before !== undefined) this.#release(before);
  }

  #forget(attachment: Attachment): void {
    this.#attachments.delete(attachment.pasid);
    this.#release(attachment);
  }

  #release(attachment: Attachment): void {
    const { pageTable } = attachment;
    removeHolder(pageTable, attachment);
    if (pageTable instanceof HwptPaging) pageTable.settle();
  }

  #requireAttacher(): Attacher {
    if (this.#attacher !== undefined) return this.#attacher;
    throw new UsageError(
      'ERR_IOMMUFD_UNAVAILABLE',
      `${this.describe()} was bound by somebody else, who also attaches it`,
    );
  }
}

function checkPasid(options: AttachOptions): number | undefined {
  checkOptions(options, ['pasid']);
  const { pasid: given } = options;
  if (given === undefined) return undefined;
  const pasid = toU32(given, 'pasid');
  if (pasid < 1 || pasid > MAX_PASID) throw outOfRange('pasid', `between 1 and ${MAX_PASID}`, pasid);
  return pasid;
}

/** How a device is bound, and what it is attached to: for a live update. */
export function deviceBehind(device: Device): DeviceInside {
  return insideOf(device);
}

/** Notes what a device is attached to already, since before it was adopted: for this package's own files. */
export function noteAttached(device: Device, pageTable: PageTable, options: AttachOptions = {}): void {
  note(device, pageTable, checkPasid(options));
}
