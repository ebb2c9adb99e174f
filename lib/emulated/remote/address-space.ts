// The memory of a process outside of the machine, as the emulated kernel reaches it: by its addresses, with the rights that its
// mappings give, and by pages that can be pinned.

import type { AddressSpace } from '../memory/address-space.js';
import { PAGE_SIZE } from '../memory/backing.js';
import type { Mapping, Mappings } from './mappings.js';
import { ProcessFiles } from './process-files.js';
import { ProcessPages } from './process-pages.js';
import type { Mapper, RemoteMemory } from './remote-memory.js';

/** What may be written can be read on every processor that Node runs on. */
function canRead({ readable, writable }: Mapping): boolean {
  return readable || writable;
}
function canWrite({ writable }: Mapping): boolean {
  return writable;
}

export class RemoteAddressSpace implements AddressSpace, Mapper {
  readonly foreign: ProcessPages;
  readonly #memory: RemoteMemory;
  readonly #files: ProcessFiles;
  #mappings: Mappings | undefined;
  #epoch = -1;
  #exited = false;
  /** It is to be closed once nothing is pinned. */
  #closing = false;
  #closed = false;

  /**
   * The memory that a process has now: if it starts another program, that one's memory is another.
   * Throws an Error with the system's code where it cannot be reached. `folder` is where /proc tells of a thread of it, where
   * that is not its first one.
   */
  constructor(
    memory: RemoteMemory,
    readonly pid: number,
    folder = `/proc/${pid}`,
  ) {
    this.#memory = memory;
    this.#files = new ProcessFiles(pid, folder);
    this.foreign = new ProcessPages(memory, this, () => this.#settle());
    memory.mappers.add(this);
  }

  /** A call of the program begins: what is mapped may have changed since the last one. */
  enter(): void {
    this.#memory.epoch++;
  }

  /** What is mapped now. */
  mappings(): Mappings {
    const { epoch } = this.#memory;
    let mappings = this.#mappings;
    if (mappings === undefined || this.#epoch !== epoch) {
      mappings = this.#files.mappings();
      this.#mappings = mappings;
      this.#epoch = epoch;
    }
    return mappings;
  }
  /** Whether the process has its memory still. */
  get alive(): boolean {
    return !this.#exited && !this.mappings().isEmpty;
  }

  /** Its pages are not the machine's: they are asked for at `foreign`. */
  find(): undefined {
    return undefined;
  }
  read(address: number, into: Uint8Array): boolean {
    // What was there once and is no more cannot be read; so old knowledge does.
    let length = this.#mappings?.reach(address, into.length, canRead) ?? 0;
    if (length < into.length) length = this.mappings().reach(address, into.length, canRead);
    return this.readRaw(address, into.subarray(0, length)) === into.length;
  }
  write(address: number, from: Uint8Array): boolean {
    const length = this.mappings().reach(address, from.length, canWrite);
    return this.writeRaw(address, from.subarray(0, length)) === from.length;
  }
  /** Whether all of it can be written. */
  canWrite(address: number, length: number): boolean {
    return this.mappings().reach(address, length, canWrite) === length;
  }
  /** Whatever the protection is; answers how many bytes. */
  readRaw(address: number, into: Uint8Array): number {
    return this.#exited || into.length === 0 ? 0 : this.#files.read(address, into);
  }
  writeRaw(address: number, from: Uint8Array): number {
    return this.#exited || from.length === 0 ? 0 : this.#files.write(address, from);
  }

  /** Whether something is pinned that the process must not unmap unnoticed. */
  get watchesUnmap(): boolean {
    return this.foreign.isPinned || this.#memory.needsMappings;
  }
  /** The process is about to unmap this, or to have other memory there: pinned pages are taken over, as devices keep them. */
  aboutToUnmap(address: number, length: number): void {
    this.aboutToDiscard(address, length);
    const first = Math.floor(address / PAGE_SIZE);
    const end = Math.ceil((address + length) / PAGE_SIZE);
    for (const mapping of this.mappings().between(first * PAGE_SIZE, end * PAGE_SIZE)) {
      if (!mapping.shared || mapping.file === undefined) continue;
      const start = Math.max(mapping.start, first * PAGE_SIZE);
      const stop = Math.min(mapping.end, end * PAGE_SIZE);
      this.#memory.knownFile(mapping.file)?.aboutToUnmap(this, mapping, start, stop);
    }
    this.#memory.epoch++;
  }
  /** The process is about to have other contents there: its own pinned pages are taken over, what it shares stays. */
  aboutToDiscard(address: number, length: number): void {
    this.foreign.takeOver(Math.floor(address / PAGE_SIZE), Math.ceil((address + length) / PAGE_SIZE));
  }
  /** The process moved this: it lies elsewhere now, and what is pinned is the same pages still. */
  moved(from: number, to: number, length: number): void {
    this.foreign.move(from / PAGE_SIZE, Math.ceil((from + length) / PAGE_SIZE), to / PAGE_SIZE);
    this.#memory.epoch++;
  }
  /** The process is about to end, or to become another program. */
  aboutToExit(): void {
    this.aboutToUnmap(0, Number.POSITIVE_INFINITY);
  }
  /** It ended, or became another program: what was not taken over reads as zeros. */
  exited(): void {
    this.#exited = true;
    this.#memory.mappers.delete(this);
    this.#memory.epoch++;
  }

  /** Nobody asks any more; what is pinned stays reachable. */
  close(): void {
    this.#closing = true;
    this.#settle();
  }
  #settle(): void {
    if (!this.#closing || this.#closed || this.foreign.isPinned) return;
    this.#closed = true;
    this.exited();
    this.foreign.clear();
    this.#files.close();
  }
}
