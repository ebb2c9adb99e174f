// Reading and writing a region through the file of its device, by pread(2) and pwrite(2) between the file and the arena.
import { IommufdError } from '../host/errors.js';
import type { DeviceCore } from './core.js';

/** Bytes a call: the arena has room for more. A multiple of 8, the widest access. */
const CHUNK = 16384;
const EIO = -5;

/** What a refusal tells of the access. */
interface Access {
  readonly region: string;
  readonly offset: number;
  readonly length: number;
}

/** A region's place in the file. Offsets are bytes from its start; whoever asks has checked them. */
export class RegionFile {
  readonly #core: DeviceCore;
  readonly #name: string;
  readonly #start: number;

  constructor(core: DeviceCore, name: string, start: number) {
    this.#core = core;
    this.#name = name;
    this.#start = start;
  }

  /** One access of `width` bytes, as a number. */
  readNumber(offset: number, width: 1 | 2 | 4): number {
    return this.#inArena(width, (at, view) => {
      this.#read(at, offset, width);
      if (width === 4) return view.getUint32(at, true);
      return width === 2 ? view.getUint16(at, true) : view.getUint8(at);
    });
  }
  readBigint(offset: number): bigint {
    return this.#inArena(8, (at, view) => {
      this.#read(at, offset, 8);
      return view.getBigUint64(at, true);
    });
  }
  writeNumber(offset: number, width: 1 | 2 | 4, value: number): void {
    this.#inArena(width, (at, view) => {
      if (width === 4) view.setUint32(at, value, true);
      else if (width === 2) view.setUint16(at, value, true);
      else view.setUint8(at, value);
      this.#write(at, offset, width);
    });
  }
  writeBigint(offset: number, value: bigint): void {
    this.#inArena(8, (at, view) => {
      view.setBigUint64(at, value, true);
      this.#write(at, offset, 8);
    });
  }

  /** As many calls as it takes. */
  read(offset: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    for (let done = 0; done < length; ) {
      const step = chunk(offset + done, length - done);
      this.#inArena(step, (at) => {
        this.#read(at, offset + done, step);
        bytes.set(this.#core.seam.arena.bytes.subarray(at, at + step), done);
      });
      done += step;
    }
    return bytes;
  }
  /** As many calls as it takes; one that is refused leaves those before it done. */
  write(offset: number, bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length; ) {
      const step = chunk(offset + done, bytes.length - done);
      this.#inArena(step, (at) => {
        this.#core.seam.arena.bytes.set(bytes.subarray(done, done + step), at);
        this.#write(at, offset + done, step);
      });
      done += step;
    }
  }

  #inArena<T>(length: number, work: (at: number, view: DataView) => T): T {
    const { arena } = this.#core.seam;
    const mark = arena.mark();
    try {
      return work(arena.take(length), arena.view);
    } finally {
      arena.release(mark);
    }
  }

  #read(at: number, offset: number, length: number): void {
    const { seam, fd } = this.#core;
    this.#check('pread', seam.pread(fd, at, length, this.#start + offset), { region: this.#name, offset, length });
  }
  #write(at: number, offset: number, length: number): void {
    const { seam, fd } = this.#core;
    this.#check('pwrite', seam.pwrite(fd, at, length, this.#start + offset), { region: this.#name, offset, length });
  }

  /** Drivers do all that is asked, or refuse; what is left of a part was not given, and is no answer. */
  #check(syscall: 'pread' | 'pwrite', result: number, access: Access): void {
    if (result === access.length) return;
    const { name } = this.#core;
    if (result < 0) throw new IommufdError(syscall, result, { ...access }, name);
    throw new IommufdError(syscall, EIO, { ...access }, `${name} did ${result} bytes of it`);
  }
}

/** How much the next call does: it ends at a multiple of 8, so that no access is cut in two. */
function chunk(offset: number, left: number): number {
  return Math.min(left, CHUNK - (offset % 8));
}
