// The kernel's own users of an IOAS: drivers that pin or copy its memory without DMA, and HW queues (struct iommufd_access;
// iommufd/device.c). They have ids, though no caller learns of them.
import { ERRNO } from '../../uapi/errno.js';
import { PAGE_SIZE } from '../memory/backing.js';
import { READ, WRITE } from './areas.js';
import type { PinnedPage } from './driver.js';
import { Ioas } from './ioas.js';
import type { IommufdContext } from './iommufd-file.js';
import { U64_MAX } from './iova-ranges.js';
import { IommufdObject } from './object-table.js';

const PAGE = BigInt(PAGE_SIZE);

/** What a driver does for its access. */
export interface AccessOps {
  readonly needsPinPages: boolean;
  /** IOVAs are about to be unmapped: pages pinned of them must be given back. */
  unmap(iova: bigint, length: bigint): void;
}

/** Which pages of an area an access uses. */
interface Use {
  readonly slot: number;
  readonly first: number;
  readonly last: number;
}

export class Access extends IommufdObject {
  readonly kind = 'access';
  /** What IOVAs must be a multiple of for it. */
  readonly alignment: number;
  readonly #context: IommufdContext;
  /** Undefined for one that the kernel has for its own objects. */
  readonly #ops: AccessOps | undefined;
  #ioas: Ioas | undefined;
  /** Pages may be given back here still. */
  #unpinFrom: Ioas | undefined;

  constructor(context: IommufdContext, ops: AccessOps | undefined) {
    super();
    this.#context = context;
    this.#ops = ops;
    this.alignment = ops === undefined || ops.needsPinPages ? PAGE_SIZE : 1;
  }

  destroy(): void {
    if (this.#ioas !== undefined) this.#change(undefined);
    if (this.#ops !== undefined) this.#context.file.release();
  }
  /** The driver gives its access up. */
  destroyUser(): void {
    this.users--;
    this.#context.objects.remove(this);
  }

  attach(ioasId: number): number {
    return this.#ioas === undefined ? this.#changeTo(ioasId) : -ERRNO.EINVAL;
  }
  attachInternal(ioas: Ioas): number {
    return this.#ioas === undefined ? this.#change(ioas) : -ERRNO.EINVAL;
  }
  replace(ioasId: number): number {
    return this.#ioas === undefined ? -ERRNO.ENOENT : this.#changeTo(ioasId);
  }
  detach(): void {
    if (this.#ioas !== undefined) this.#change(undefined);
  }

  #changeTo(ioasId: number): number {
    const ioas = this.#context.objects.get(ioasId, Ioas);
    return ioas === undefined ? -ERRNO.ENOENT : this.#change(ioas);
  }
  #change(ioas: Ioas | undefined): number {
    const current = this.#ioas;
    // A detach is under way.
    if (current !== this.#unpinFrom) return -ERRNO.EBUSY;
    if (current === ioas) return 0;
    this.#ioas = undefined;
    if (ioas !== undefined) {
      const rc = ioas.iopt.addAccess(this);
      if (rc < 0) {
        this.#ioas = current;
        return rc;
      }
      ioas.users++;
    }
    if (current !== undefined) {
      this.#ops?.unmap(0n, U64_MAX);
      current.iopt.removeAccess(this);
      current.users--;
    }
    this.#ioas = ioas;
    this.#unpinFrom = ioas;
    return 0;
  }

  /** IOVAs are about to be unmapped. */
  notifyUnmap(iova: bigint, length: bigint): void {
    this.#ops?.unmap(iova, length);
  }

  /** Pins the pages behind a range of IOVAs, which cannot be unmapped while a HW queue does so; -errno, with none pinned. */
  pinPages(iova: bigint, length: bigint, write: boolean): PinnedPage[] | number {
    if (this.alignment !== PAGE_SIZE || length === 0n) return -ERRNO.EINVAL;
    const end = iova + length - 1n;
    if (end > U64_MAX) return -ERRNO.EOVERFLOW;
    const ioas = this.#ioas;
    if (ioas === undefined) return -ERRNO.ENOENT;
    const uses: Use[] = [];
    const pinned: PinnedPage[] = [];
    const answer = ioas.iopt.eachArea(iova, end, (slot, start, last) => {
      const use = this.#pinArea(ioas, slot, start, last, { isLast: last === end, write });
      if (typeof use === 'number') return use;
      uses.push(use);
      this.#list(ioas, use, pinned);
      return undefined;
    });
    if (answer === 'done') return pinned;
    for (const use of uses) this.#unpinArea(ioas, use);
    return answer === 'gap' ? -ERRNO.ENOENT : answer;
  }
  #pinArea(
    { iopt }: Ioas,
    slot: number,
    start: bigint,
    last: bigint,
    how: { isLast: boolean; write: boolean },
  ): Use | number {
    const { areaTable } = iopt;
    const firstByte = areaTable.byteOf(slot, start);
    const lastByte = areaTable.byteOf(slot, last);
    const isAligned = firstByte % PAGE === 0n && (how.isLast || lastByte % PAGE === PAGE - 1n);
    if (areaTable.refusing[slot] !== 0 || !isAligned) return -ERRNO.EINVAL;
    if (((areaTable.rights[slot] ?? 0) & (how.write ? WRITE : READ)) === 0) return -ERRNO.EPERM;
    const pages = areaTable.pages[slot] ?? 0;
    if (how.write && !iopt.pages.isWritable(pages)) return -ERRNO.EPERM;
    if (iopt.pages.isDmaBuf(pages)) return -ERRNO.EINVAL;
    if (!this.#context.kernel.allocates()) return -ERRNO.ENOMEM;
    const use = { slot, first: Number(firstByte / PAGE), last: Number(lastByte / PAGE) };
    const rc = iopt.pages.pin(pages, use.first, use.last);
    if (rc < 0) return rc;
    areaTable.accesses[slot] = (areaTable.accesses[slot] ?? 0) + 1;
    if (this.#locks) areaTable.locks[slot] = (areaTable.locks[slot] ?? 0) + 1;
    return use;
  }
  #list({ iopt }: Ioas, { slot, first, last }: Use, into: PinnedPage[]): void {
    const pages = iopt.areaTable.pages[slot] ?? 0;
    for (let i = first; i <= last; i++) into.push(iopt.pages.pinned(pages, i));
  }
  #unpinArea({ iopt }: Ioas, { slot, first, last }: Use): void {
    const { areaTable } = iopt;
    areaTable.accesses[slot] = (areaTable.accesses[slot] ?? 0) - 1;
    if (this.#locks) areaTable.locks[slot] = (areaTable.locks[slot] ?? 0) - 1;
    iopt.pages.unpin(areaTable.pages[slot] ?? 0, first, last);
  }
  /** What a HW queue pins stays mapped. The patches before Linux's asked to unmap, and nobody answered. */
  get #locks(): boolean {
    return this.#ops === undefined && this.#context.kernel.dialect === 'linux';
  }

  /** Gives back what one `pinPages` of the same range pinned. */
  unpinPages(iova: bigint, length: bigint): void {
    const ioas = this.#unpinFrom;
    if (ioas === undefined || length === 0n) return;
    const { areaTable } = ioas.iopt;
    ioas.iopt.eachArea(iova, iova + length - 1n, (slot, start, last) => {
      const first = Number(areaTable.byteOf(slot, start) / PAGE);
      this.#unpinArea(ioas, { slot, first, last: Number(areaTable.byteOf(slot, last) / PAGE) });
      return undefined;
    });
  }

  /** Copies bytes out of memory, or into it. `slowPath`: what devices see, not what the process does. */
  rw(iova: bigint, data: Uint8Array, options: { readonly write: boolean; readonly slowPath?: boolean }): number {
    if (data.length === 0) return -ERRNO.EINVAL;
    const end = iova + BigInt(data.length) - 1n;
    if (end > U64_MAX) return -ERRNO.EOVERFLOW;
    const ioas = this.#ioas;
    if (ioas === undefined) return -ERRNO.ENOENT;
    const { areaTable, pages } = ioas.iopt;
    const { write, slowPath = false } = options;
    const answer = ioas.iopt.eachArea(iova, end, (slot, start, last) => {
      if (areaTable.refusing[slot] !== 0) return -ERRNO.EINVAL;
      if (((areaTable.rights[slot] ?? 0) & (write ? WRITE : READ)) === 0) return -ERRNO.EPERM;
      const part = data.subarray(Number(start - iova), Number(last - iova) + 1);
      const rc = pages.copy(areaTable.pages[slot] ?? 0, Number(areaTable.byteOf(slot, start)), part, write, slowPath);
      return rc < 0 ? rc : undefined;
    });
    if (answer === 'done') return 0;
    return answer === 'gap' ? -ERRNO.ENOENT : answer;
  }
}

function make(context: IommufdContext, ops: AccessOps | undefined): Access | number {
  if (!context.kernel.allocates()) return -ERRNO.ENOMEM;
  const access = new Access(context, ops);
  // The driver is a user until `destroyUser`.
  access.users++;
  context.objects.reserve(access);
  context.objects.publish(access);
  return access;
}

/** An access of a driver: it keeps the iommufd open. */
export function createAccess(context: IommufdContext, ops: AccessOps): Access | number {
  const access = make(context, ops);
  if (typeof access !== 'number') context.file.hold();
  return access;
}

/** An access of the kernel's own: it has an id all the same. */
export function createInternalAccess(context: IommufdContext): Access | number {
  return make(context, undefined);
}
