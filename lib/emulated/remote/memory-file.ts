// A real memfd of a program, for the emulated kernel: its pages are the file's, as those of its mappings are
// (memfd_pin_folios in mm/gup.c), and stay after the program ended.
import { closeSync, fstatSync } from 'node:fs';
import { ERRNO } from '../../uapi/errno.js';
import { ForeignFile } from '../kernel/foreign-file.js';
import { PAGE_SIZE } from '../memory/backing.js';
import type { ForeignMemory } from '../memory/foreign.js';
import type { FramePage, Frames } from '../memory/frames.js';
import { fileKey, memoryFileKind } from './filesystems.js';
import type { RemoteMemory } from './remote-memory.js';
import type { SharedFile } from './shared-file.js';

class FilePages implements ForeignMemory {
  readonly alive = true;
  readonly #memory: RemoteMemory;
  readonly #fd: number;
  readonly #file: SharedFile;
  readonly #kind: ReturnType<typeof memoryFileKind>;

  constructor(memory: RemoteMemory, fd: number, file: SharedFile, kind: ReturnType<typeof memoryFileKind>) {
    this.#memory = memory;
    this.#fd = fd;
    this.#file = file;
    this.#kind = kind;
  }

  /** Who asked for rights that the file does not give gets them all the same: nobody looks. */
  pages(first: number, count: number, _write: boolean, found: (index: number, frame: number) => void): number {
    if (this.#kind === undefined || !this.#holds(first + count)) return -ERRNO.EINVAL;
    for (let i = 0; i < count; i++) {
      const { backing, page } = this.#page(first + i);
      found(i, backing.frame(page));
    }
    return 0;
  }
  pageAt(page: number): FramePage | undefined {
    return this.#holds(page + 1) ? this.#page(page) : undefined;
  }
  #holds(pages: number): boolean {
    return pages * PAGE_SIZE <= fstatSync(this.#fd).size;
  }
  #page(page: number): FramePage {
    return this.#file.pageAt(page, this.#kind === 'hugetlbfs');
  }
  memoryOf(frame: number): Frames {
    return this.#memory.memoryOf(frame);
  }
}

export class RemoteMemoryFile extends ForeignFile {
  readonly memory: ForeignMemory;
  readonly #fd: number;
  readonly #file: SharedFile;
  readonly #isMemory: boolean;

  /** Takes over an fd of this process, of any file: one that is no memfd is found out when it is pinned. */
  constructor(memory: RemoteMemory, fd: number) {
    super();
    const path = `/proc/self/fd/${fd}`;
    const status = fstatSync(fd, { bigint: true });
    const key = fileKey(status);
    const kind = memoryFileKind(path);
    if (kind === 'hugetlbfs') memory.addHugeDevice(key.slice(0, key.lastIndexOf(':')));
    this.#fd = fd;
    this.#file = memory.file(key);
    this.#isMemory = kind !== undefined;
    if (this.#isMemory) this.#file.keep(path);
    this.memory = new FilePages(memory, fd, this.#file, kind);
  }

  protected override closed(): void {
    if (this.#isMemory) this.#file.drop();
    closeSync(this.#fd);
  }
}
