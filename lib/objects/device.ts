// A device bound to an iommufd: what its IOMMU is, and which page tables it uses.
import { checkOptions, toU32 } from '../host/arguments.js';
import { type IommufdError, invalidType, outOfRange, UsageError } from '../host/errors.js';
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
  type Holder,
  idOf,
  KernelObject,
  removeHolder,
  whileUsed,
} from './kernel-object.js';

/** What a device can be attached to: an address space (the kernel makes a page table), or a page table. */
export type PageTable = Ioas | HwptPaging | HwptNested;

export interface AttachOptions {
  /** Attach this PASID (1 to 2^20 - 1) instead of the device's plain DMA (Linux 6.15). */
  readonly pasid?: number;
}

/** `hwpt`, or the refusal: for those who try one page table after another. */
export type AttachResult =
  | { readonly hwpt: HwptPaging | HwptNested; readonly refusal?: undefined }
  | { readonly hwpt?: undefined; readonly refusal: IommufdError };

/** How whoever bound the device changes its page tables: VFIO does it with ioctls on the device's own fd. */
export interface Attacher {
  /** Attaches, or replaces what was attached; answers the id of the page table in use, or the refusal. */
  attach(pageTable: number, pasid: number | undefined): number | IommufdError;
  attachAsync(pageTable: number, pasid: number | undefined): Promise<number | IommufdError>;
  detach(pasid: number | undefined): IommufdError | undefined;
  /** Undoes the bind; the device's page tables are let go with it. */
  unbind(): void;
}

/** PASIDs have 20 bits (PCI Express). */
const MAX_PASID = 0xf_ffff;
/** Room for the longest info struct there is, and for some growth. */
const HW_INFO_ROOM = 256;

/** An attachment, as what holds the page table. */
class Attachment implements Holder {
  constructor(
    readonly device: Device,
    readonly hwpt: HwptPaging | HwptNested,
    readonly pasid: number | undefined,
  ) {}
  describe(): string {
    return `attached ${this.device.describe()}${this.pasid === undefined ? '' : ` PASID ${this.pasid}`}`;
  }
  release(): void {
    this.device.detach(this.pasid === undefined ? {} : { pasid: this.pasid });
  }
}

/** A device bound to an iommufd. `VfioDevice.bind` makes it. */
export class Device extends KernelObject {
  readonly type = 'device';
  readonly #context: Context;
  readonly #attacher: Attacher | undefined;
  readonly #attachments = new Map<number | undefined, Attachment>();

  /** Not for callers: use `VfioDevice.bind`, or `iommufd.adoptDevice` for a device that somebody else bound. */
  constructor(iommufd: Iommufd, ctx: Context, id: number, attacher: Attacher | undefined) {
    super(iommufd, ctx, id, [], {
      check: () => this.#checkUnbind(),
      inKernel: () => {
        attacher?.unbind();
        return 0;
      },
      after: () => {
        for (const attachment of [...this.#attachments.values()]) this.#forget(attachment);
      },
    });
    this.#context = ctx;
    this.#attacher = attacher;
  }

  /** The page table in use, as far as this process knows: undefined if not attached. */
  attachedTo(options: AttachOptions = {}): HwptPaging | HwptNested | undefined {
    return this.#attachments.get(checkPasid(options))?.hwpt;
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
   * Attaches the device to a page table, or to an address space (the kernel then makes a page table, which is answered
   * and cannot be destroyed by hand). Attaching again replaces, atomically.
   * @throws IommufdError EINVAL (the page table belongs to another physical IOMMU, and half a dozen other causes: see the
   * hint), ENOMEM (pinning; usually RLIMIT_MEMLOCK)
   */
  attach(pageTable: PageTable, options?: AttachOptions): HwptPaging | HwptNested {
    const { hwpt, refusal } = this.tryAttach(pageTable, options);
    if (refusal !== undefined) throw refusal;
    return hwpt;
  }

  /** As `attach`, but a refusal is answered, not thrown. */
  tryAttach(pageTable: PageTable, options: AttachOptions = {}): AttachResult {
    const { attacher, pasid } = this.#checkAttach(pageTable, options);
    return this.#attached(pageTable, pasid, attacher.attach(idOf(pageTable), pasid));
  }

  /** As `attach`, on the thread pool: attaching to an address space pins all its memory. */
  async attachAsync(pageTable: PageTable, options: AttachOptions = {}): Promise<HwptPaging | HwptNested> {
    const { attacher, pasid } = this.#checkAttach(pageTable, options);
    const work = async () => {
      const answer = await attacher.attachAsync(idOf(pageTable), pasid);
      // Unbound meanwhile: the kernel detached it.
      checkAlive(this);
      // Before anybody who waits for the thread pool goes on: closeAsync detaches what it knows of.
      return this.#attached(pageTable, pasid, answer);
    };
    const { hwpt, refusal } = await this.#context.track(() => whileUsed([pageTable], work));
    if (refusal !== undefined) throw refusal;
    return hwpt;
  }

  /** Detaches the device (or one of its PASIDs). Not attached is fine. */
  detach(options: AttachOptions = {}): void {
    const pasid = checkPasid(options);
    checkAlive(this);
    const attachment = this.#attachments.get(pasid);
    if (attachment === undefined) return;
    const refusal = this.#requireAttacher().detach(pasid);
    if (refusal !== undefined) throw refusal;
    this.#forget(attachment);
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
    if (!(pageTable instanceof Ioas || pageTable instanceof HwptPaging || pageTable instanceof HwptNested)) {
      throw invalidType('pageTable', 'an Ioas, HwptPaging or HwptNested', pageTable);
    }
    checkSame(this, pageTable, 'pageTable');
    return { attacher: this.#requireAttacher(), pasid };
  }

  #attached(pageTable: PageTable, pasid: number | undefined, answer: number | IommufdError): AttachResult {
    if (typeof answer !== 'number') return { refusal: answer };
    const hwpt = pageTable instanceof Ioas ? autoHwpt(pageTable, this.#context, answer) : pageTable;
    const before = this.#attachments.get(pasid);
    const attachment = new Attachment(this, hwpt, pasid);
    addHolder(hwpt, attachment);
    this.#attachments.set(pasid, attachment);
    if (before !== undefined) this.#release(before);
    return { hwpt };
  }

  #forget(attachment: Attachment): void {
    this.#attachments.delete(attachment.pasid);
    this.#release(attachment);
  }

  #release(attachment: Attachment): void {
    removeHolder(attachment.hwpt, attachment);
    if (attachment.hwpt instanceof HwptPaging) attachment.hwpt.settle();
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
