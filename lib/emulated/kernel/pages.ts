// Stretches of memory that are mapped (struct iopt_pages; iommufd/pages.c): where they are, who pays, and which of their pages
// are pinned. Mappings that were copied share one. A page is pinned and charged once, however many page tables and accesses
// use it through the same stretch.
import { ERRNO } from '../../uapi/errno.js';
import { type Backing, PAGE_SIZE } from '../memory/backing.js';
import { type ForeignMemory, ForeignPages } from '../memory/foreign.js';
import type { DmaBufFile } from './dma-buf.js';
import { DmaBufPages } from './dma-buf-pages.js';
import type { PinnedPage } from './driver.js';
import type { OpenFile } from './file.js';
import { ForeignFile } from './foreign-file.js';
import { MemoryFile } from './memory-file.js';
import { PageCharges } from './page-charges.js';
import type { Process } from './process.js';
import { RunCounts } from './run-counts.js';
import { grown, Slots } from './slots.js';

export class PageStore {
  readonly #process: Process;
  readonly #charges: PageCharges;
  readonly #slots = new Slots();
  /** The page of the address, or of the file, that it starts with. */
  #start = new Float64Array(0);
  /** How many pages. */
  #count = new Float64Array(0);
  #references = new Int32Array(0);
  #writable = new Uint8Array(0);
  /** How often all of its pages together are pinned, as long as no part is pinned alone. */
  #whole = new Int32Array(0);
  /** The page of the backing that its first one is, while any is pinned. */
  #base = new Float64Array(0);
  readonly #backings: (Backing | undefined)[] = [];
  readonly #files: (OpenFile | undefined)[] = [];
  /** Pins of parts, by slot. */
  readonly #parts = new Map<number, RunCounts>();
  /** Slots that are dma-bufs. */
  readonly #dmaBufs = new DmaBufPages();
  /** Slots whose memory is not the machine's own. */
  readonly #foreign = new Map<number, ForeignPages>();
  /** Whether there ever was one: where not, nothing is looked up. */
  #hasForeign = false;

  constructor(process: Process) {
    this.#process = process;
    this.#charges = new PageCharges(process);
  }

  /** Memory at an address of the process. Nothing is looked at until it is pinned. */
  fromAddress(page: number, count: number, writable: boolean, mode: 'user' | 'mm'): number {
    const slot = this.#take(page, count, writable, mode);
    // The list is as long as mappings of files make it.
    if (slot < this.#files.length) this.#files[slot] = undefined;
    const { foreign } = this.#process.memory;
    if (foreign !== undefined) this.#addForeign(slot, foreign);
    return slot;
  }
  #addForeign(slot: number, memory: ForeignMemory): void {
    this.#foreign.set(slot, new ForeignPages(memory, this.startOf(slot), this.isWritable(slot)));
    this.#hasForeign = true;
  }
  /** Memory of a file, which stays open. */
  fromFile(file: OpenFile, page: number, count: number, writable: boolean, mode: 'user' | 'mm'): number {
    const slot = this.#take(page, count, writable, mode);
    this.#files[slot] = file.hold();
    if (file instanceof ForeignFile) this.#addForeign(slot, file.memory);
    return slot;
  }
  /** Memory of a device, through a dma-buf, which stays open; -ENODEV (revoked), -EOPNOTSUPP (in several pieces). */
  fromDmaBuf(file: DmaBufFile, page: number, count: number, writable: boolean): number {
    const memory = this.#dmaBufs.import(file);
    if (typeof memory === 'number') return memory;
    const slot = this.#take(page, count, writable, 'user');
    if (slot < this.#files.length) this.#files[slot] = undefined;
    this.#dmaBufs.add(slot, memory);
    return slot;
  }
  /** Hears of slots whose memory was taken away. */
  set onRevoked(listener: (slot: number) => void) {
    this.#dmaBufs.onRevoked = listener;
  }
  #take(page: number, count: number, writable: boolean, mode: 'user' | 'mm'): number {
    if (this.#slots.isFull) this.#grow(this.#slots.grow());
    const slot = this.#slots.take();
    this.#start[slot] = page;
    this.#count[slot] = count;
    this.#references[slot] = 1;
    this.#writable[slot] = writable ? 1 : 0;
    this.#charges.take(slot, mode);
    this.#whole[slot] = 0;
    return slot;
  }

  hold(slot: number): void {
    this.#references[slot] = (this.#references[slot] ?? 0) + 1;
  }
  drop(slot: number): void {
    const left = (this.#references[slot] ?? 0) - 1;
    this.#references[slot] = left;
    if (left > 0) return;
    const file = this.#files[slot];
    if (file !== undefined) {
      this.#files[slot] = undefined;
      file.release();
    }
    this.#dmaBufs.drop(slot);
    if (this.#hasForeign) this.#foreign.delete(slot);
    this.#charges.drop(slot);
    this.#slots.give(slot);
  }
  isWritable(slot: number): boolean {
    return this.#writable[slot] === 1;
  }
  isFile(slot: number): boolean {
    return this.#files[slot] !== undefined;
  }
  isDmaBuf(slot: number): boolean {
    return this.#dmaBufs.has(slot);
  }
  /** Memory of a device that it took back. */
  isRevoked(slot: number): boolean {
    return this.#dmaBufs.isRevoked(slot);
  }
  /** The page of the address space, or of the file, that it starts with. */
  startOf(slot: number): number {
    return this.#start[slot] ?? 0;
  }

  /** Pins pages from one to another; 0, -EFAULT (nothing lies there), -EINVAL (no memfd), -ENOMEM (over the limit). */
  pin(slot: number, first: number, last: number): number {
    if (this.#dmaBufs.has(slot)) return 0;
    const isWhole = first === 0 && last === (this.#count[slot] ?? 0) - 1;
    if (isWhole && this.#parts.size === 0) return this.#pinWhole(slot);
    const parts = this.#parts.get(slot);
    if (parts === undefined && isWhole) return this.#pinWhole(slot);
    return this.#pinPart(slot, first, last, parts ?? this.#split(slot));
  }
  unpin(slot: number, first: number, last: number): void {
    if (this.#dmaBufs.has(slot)) return;
    const parts = this.#parts.size === 0 ? undefined : this.#parts.get(slot);
    if (parts === undefined) {
      const left = (this.#whole[slot] ?? 0) - 1;
      this.#whole[slot] = left;
      if (left === 0) this.#unpinRun(slot, first, last, true);
      return;
    }
    for (const [from, to] of parts.add(first, last, -1)) this.#unpinRun(slot, from, to, false);
    if (!parts.isEmpty) return;
    this.#parts.delete(slot);
    this.#backings[slot] = undefined;
  }

  #pinWhole(slot: number): number {
    if (this.#whole[slot] === 0) {
      const rc = this.#pinRun(slot, 0, (this.#count[slot] ?? 0) - 1);
      if (rc < 0) {
        this.#backings[slot] = undefined;
        return rc;
      }
    }
    this.#whole[slot] = (this.#whole[slot] ?? 0) + 1;
    return 0;
  }
  /** Pins of parts are counted one by one from now on: they will be given back in other pieces. */
  countParts(slot: number): void {
    if (!this.#parts.has(slot)) this.#split(slot);
  }
  /** From here on, parts are counted. */
  #split(slot: number): RunCounts {
    const parts = new RunCounts();
    const last = (this.#count[slot] ?? 0) - 1;
    for (let i = this.#whole[slot] ?? 0; i > 0; i--) parts.add(0, last, 1);
    this.#whole[slot] = 0;
    this.#parts.set(slot, parts);
    return parts;
  }
  #pinPart(slot: number, first: number, last: number, parts: RunCounts): number {
    const fresh = parts.unused(first, last);
    for (const [i, [from, to]] of fresh.entries()) {
      const rc = this.#pinRun(slot, from, to);
      if (rc === 0) continue;
      for (const [start, end] of fresh.slice(0, i)) this.#unpinRun(slot, start, end, false);
      if (parts.isEmpty) {
        this.#parts.delete(slot);
        this.#backings[slot] = undefined;
      }
      return rc;
    }
    parts.add(first, last, 1);
    return 0;
  }

  /** Stretches become those of the process that calls now, which pays for what is pinned of them; 0 or -ENOMEM. */
  adopt(slots: Iterable<number>): number {
    const pinned = new Map<number, number>();
    for (const slot of slots) pinned.set(slot, this.#pinnedOf(slot));
    return this.#charges.adopt(pinned);
  }
  /** How many pages of it are pinned. */
  #pinnedOf(slot: number): number {
    const count = this.#count[slot] ?? 0;
    if ((this.#whole[slot] ?? 0) > 0) return count;
    const unused = this.#parts.get(slot)?.unused(0, count - 1) ?? [[0, count - 1]];
    return unused.reduce((pinned, [first = 0, last = 0]) => pinned - (last - first + 1), count);
  }

  #pinRun(slot: number, first: number, last: number): number {
    const count = last - first + 1;
    const foreign = this.#foreignOf(slot);
    if (foreign !== undefined) return this.#pinForeign(foreign, slot, first, count);
    const rc = this.#resolve(slot, first, last);
    if (rc < 0) return rc;
    const charged = this.#charges.charge(slot, count);
    if (charged < 0) return charged;
    this.#backings[slot]?.pin((this.#base[slot] ?? 0) + first, count);
    return 0;
  }
  #pinForeign(foreign: ForeignPages, slot: number, first: number, count: number): number {
    const rc = foreign.pin(first, count);
    if (rc < 0) return rc;
    const charged = this.#charges.charge(slot, count);
    if (charged < 0) foreign.unpin(first, count);
    return charged;
  }
  #unpinRun(slot: number, first: number, last: number, isAll: boolean): void {
    const count = last - first + 1;
    if (this.#hasForeign) this.#foreign.get(slot)?.unpin(first, count);
    this.#backings[slot]?.unpin((this.#base[slot] ?? 0) + first, count);
    if (isAll) this.#backings[slot] = undefined;
    this.#charges.uncharge(slot, count);
  }
  #foreignOf(slot: number): ForeignPages | undefined {
    return this.#hasForeign ? this.#foreign.get(slot) : undefined;
  }

  /** Finds the memory behind pages; it is the same for all of them, since addresses are never used again. */
  #resolve(slot: number, first: number, last: number): number {
    const start = this.#start[slot] ?? 0;
    const file = this.#files[slot];
    if (file !== undefined) {
      if (!(file instanceof MemoryFile) || start + last >= file.backing.pages) return -ERRNO.EINVAL;
      this.#backings[slot] = file.backing;
      this.#base[slot] = start;
      return 0;
    }
    const address = (start + first) * PAGE_SIZE;
    const placement = this.#charges.ownerOf(slot).memory.find(address);
    const end = (start + last + 1) * PAGE_SIZE;
    if (placement?.backing === undefined || end > placement.start + placement.length) return -ERRNO.EFAULT;
    this.#backings[slot] = placement.backing;
    this.#base[slot] = (placement.offset + start * PAGE_SIZE - placement.start) / PAGE_SIZE;
    return 0;
  }

  /** The physical page behind one that is pinned. */
  frame(slot: number, index: number): number {
    const backing = this.#backings[slot];
    if (backing !== undefined) return backing.frame((this.#base[slot] ?? 0) + index);
    const foreign = this.#foreignOf(slot);
    if (foreign !== undefined) return foreign.frame(index);
    const first = this.#dmaBufs.frameOf(slot);
    return first === undefined ? -1 : first + this.startOf(slot) + index;
  }
  pinned(slot: number, index: number): PinnedPage {
    const backing = this.#backings[slot];
    const foreign = this.#foreignOf(slot);
    if (foreign !== undefined) return foreign.at(index);
    if (backing === undefined) throw new Error('these pages are not pinned');
    return { backing, page: (this.#base[slot] ?? 0) + index };
  }

  /**
   * Copies bytes out or in, from a byte on; nobody is charged for it. Memory by address is reached as the process does;
   * `asDevice` reaches what is pinned in its place, but for less than a page: so does the kernel's test path.
   */
  copy(slot: number, byte: number, data: Uint8Array, write: boolean, asDevice: boolean): number {
    if (write && !this.isWritable(slot)) return -ERRNO.EPERM;
    if (this.isDmaBuf(slot)) return -ERRNO.EINVAL;
    // The memory of another process is reached as a device reaches it; of one that ended, nothing else can be.
    const isOthers = this.#charges.isOthers(slot);
    const first = Math.floor(byte / PAGE_SIZE);
    const last = Math.floor((byte + data.length - 1) / PAGE_SIZE);
    const { memory } = this.#charges.ownerOf(slot);
    const isDirect = first === last ? !(isOthers && memory.foreign?.alive === false) : !(asDevice || isOthers);
    if (isDirect && !this.isFile(slot)) {
      const address = this.startOf(slot) * PAGE_SIZE + byte;
      const done = write ? memory.write(address, data) : memory.read(address, data);
      return done ? 0 : -ERRNO.EFAULT;
    }
    const foreign = this.#foreignOf(slot);
    if (foreign !== undefined) return foreign.copy(byte, data, write);
    const found = this.#isPinned(slot, first, last) ? 0 : this.#resolve(slot, first, last);
    return this.#copyPages(slot, byte, data, write, found);
  }
  #copyPages(slot: number, byte: number, data: Uint8Array, write: boolean, found: number): number {
    if (found < 0) return found;
    const { backing, page } = this.pinned(slot, 0);
    if (write) backing.write(page * PAGE_SIZE + byte, data);
    else backing.read(page * PAGE_SIZE + byte, data);
    if (this.#whole[slot] === 0 && !this.#parts.has(slot)) this.#backings[slot] = undefined;
    return 0;
  }
  #isPinned(slot: number, first: number, last: number): boolean {
    return (this.#whole[slot] ?? 0) > 0 || this.#parts.get(slot)?.unused(first, last).length === 0;
  }

  #grow(capacity: number): void {
    this.#start = grown(this.#start, capacity);
    this.#count = grown(this.#count, capacity);
    this.#references = grown(this.#references, capacity);
    this.#writable = grown(this.#writable, capacity);
    this.#charges.grow(capacity);
    this.#whole = grown(this.#whole, capacity);
    this.#base = grown(this.#base, capacity);
  }
}
