// Memory that is not the machine's own: a program's outside of it, or a file's. Its pages get physical page numbers when
// somebody asks for them, and keep them as long as they are pinned.
import { PAGE_SIZE } from './backing.js';
import type { FramePage, Frames } from './frames.js';

/** Pages that are asked for by their number: of an address, or of a file. */
export interface ForeignMemory {
  /** Whether there is anything to ask for: a process that ended has no memory. */
  readonly alive: boolean;
  /**
   * Finds pages that follow each other, for DMA (pin_user_pages), and tells of each.
   * @returns 0, or -errno: then nothing was told of
   */
  pages(first: number, count: number, write: boolean, found: (index: number, frame: number) => void): number;
  /** One page, for who only looks at it (get_user_pages); undefined where there is none. */
  pageAt(page: number): FramePage | undefined;
  /** What a physical page is that `pages` told of. */
  memoryOf(frame: number): Frames;
}

const PART = 512;
/** No page has this number. */
const NONE = 0;

/** The pages of one stretch of foreign memory that were found: what was found once stays, until it is unpinned. */
export class ForeignPages {
  readonly #memory: ForeignMemory;
  readonly #start: number;
  readonly #write: boolean;
  /** Physical pages by number, in parts that exist only where something was found. */
  readonly #parts = new Map<number, Float64Array>();

  constructor(memory: ForeignMemory, start: number, write: boolean) {
    this.#memory = memory;
    this.#start = start;
    this.#write = write;
  }

  /** Pins pages, none of which is pinned here; 0 or -errno. */
  pin(first: number, count: number): number {
    const rc = this.#find(first, count);
    if (rc < 0) return rc;
    for (let i = first; i < first + count; i++) {
      const { backing, page } = this.at(i);
      backing.pin(page, 1);
    }
    return 0;
  }
  #find(first: number, count: number): number {
    return this.#memory.pages(this.#start + first, count, this.#write, (index, frame) =>
      this.#set(first + index, frame),
    );
  }
  unpin(first: number, count: number): void {
    for (let i = first; i < first + count; i++) {
      const { backing, page } = this.at(i);
      this.#set(i, NONE);
      backing.unpin(page, 1);
    }
  }
  #set(index: number, frame: number): void {
    const number = Math.floor(index / PART);
    let part = this.#parts.get(number);
    if (part === undefined) {
      part = new Float64Array(PART);
      this.#parts.set(number, part);
    }
    part[index % PART] = frame;
  }

  /** Copies bytes out or in, from a byte on: of what is pinned, and where nothing is, of what lies there now. */
  copy(byte: number, data: Uint8Array, write: boolean): number {
    for (let done = 0; done < data.length; ) {
      const index = Math.floor((byte + done) / PAGE_SIZE);
      const within = byte + done - index * PAGE_SIZE;
      const part = data.subarray(done, done + PAGE_SIZE - within);
      const frame = this.#seek(index);
      if (frame < 0) return frame;
      const memory = this.#memory.memoryOf(frame);
      const at = memory.pageOf(frame) * PAGE_SIZE + within;
      if (write) memory.write(at, part);
      else memory.read(at, part);
      done += part.length;
    }
    return 0;
  }
  #seek(index: number): number {
    let frame = this.frame(index);
    if (frame !== NONE) return frame;
    const rc = this.#memory.pages(this.#start + index, 1, this.#write, (_, found) => {
      frame = found;
    });
    return rc < 0 ? rc : frame;
  }

  /** The physical page behind one that is pinned. */
  frame(index: number): number {
    return this.#parts.get(Math.floor(index / PART))?.[index % PART] ?? NONE;
  }
  at(index: number): FramePage {
    const frame = this.frame(index);
    if (frame === NONE) throw new Error('these pages are not pinned');
    const backing = this.#memory.memoryOf(frame);
    return { backing, page: backing.pageOf(frame) };
  }
}
