// Memory that devices may reach. The kernel remembers addresses and pins pages only when a page table meets the
// mapping, so the address range stays reserved until the last mapping of it is gone, whatever the caller frees first.
import { checkCallback, checkOptions, checkSignal, lengthOfBytes, oneOf, toSize, type U64 } from './arguments.js';
import { destroyed, IommufdError, invalidType, outOfRange } from './errors.js';
import { noteMade } from './made.js';
import type { Backing, Region, Seam } from './seam.js';

/** Windows are cut from segments of this size: a typed array over more is refused by V8. */
const SEGMENT = 2 ** 30;

export interface MemoryOptions {
  /** `memfd` (default): can be mapped by file, shared, and survive a live update. `anonymous`: this process only. */
  readonly backing?: Backing;
  /** Bytes of a huge page (2 MiB: 2097152); ordinary pages if left out. The system must have some reserved. */
  readonly hugePageSize?: number;
}

export interface PrefaultOptions {
  /** Bytes from the start; 0 if left out. */
  readonly offset?: U64;
  /** Bytes; to the end if left out. */
  readonly length?: U64;
  /** Bytes made present per step (64 MiB if left out): between steps progress is told and `signal` is heeded. */
  readonly chunk?: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void;
}

/** What outlives the DmaMemory object while mappings need it. */
class MemoryState {
  holds = 0;
  /** 'in-use' by its owner, 'freed' by it, or 'dropped': the owner was collected. */
  ownership: 'in-use' | 'freed' | 'dropped' = 'in-use';
  constructor(readonly region: Region) {}

  /** Gives the range back once nothing needs it. */
  settle(): void {
    if (this.holds > 0 || this.ownership === 'in-use') return;
    if (this.ownership === 'dropped') {
      this.region.drop();
      return;
    }
    const rc = this.region.free();
    if (rc < 0) throw new IommufdError('munmap', rc, { address: this.region.address, length: this.region.length });
  }
}

/** Where a segment's bytes are, as long as anybody looks at them. */
interface Segment {
  readonly buffer: WeakRef<ArrayBuffer>;
  readonly byteOffset: number;
}

/** A mapping's share in memory: the range stays reserved until it is released. */
export interface MemoryHold {
  /** Whether the kernel may take the pages out of page tables while the range stays mapped: memory of a device. */
  readonly revocable?: boolean;
  release(): void;
  /** Another share in the same memory. */
  share(): MemoryHold;
}

let behindHold: (hold: MemoryHold) => Region | undefined;

class Hold implements MemoryHold {
  #held = true;
  readonly #state: MemoryState;
  constructor(state: MemoryState) {
    this.#state = state;
    state.holds++;
  }
  release(): void {
    if (!this.#held) return;
    this.#held = false;
    this.#state.holds--;
    this.#state.settle();
  }
  share(): MemoryHold {
    return new Hold(this.#state);
  }

  static {
    behindHold = (hold) => (hold instanceof Hold ? hold.#state.region : undefined);
  }
}

const collected = new FinalizationRegistry<MemoryState>((state) => {
  if (state.ownership !== 'in-use') return;
  state.ownership = 'dropped';
  if (state.holds === 0) {
    process.emitWarning(`DmaMemory of ${state.region.length} bytes was collected without free()`, {
      code: 'IOMMUFD_COLLECTED',
    });
  }
  state.settle();
});

let hold: (memory: DmaMemory) => MemoryHold;
let seamOf: (memory: DmaMemory) => Seam;
let regionOf: (memory: DmaMemory) => Region;

/** Memory of a host that its devices may reach, made by `host.allocateMemory`. */
export class DmaMemory {
  readonly #seam: Seam;
  readonly #state: MemoryState;
  readonly #segments = new Map<number, Segment>();

  static {
    seamOf = (memory) => memory.#seam;
    hold = (memory) => new Hold(memory.#state);
    regionOf = (memory) => {
      memory.#check();
      return memory.#state.region;
    };
  }

  /** Not for callers: use `host.allocateMemory`. */
  constructor(
    seam: Seam,
    region: Region,
    readonly backing: Backing | 'imported',
  ) {
    this.#seam = seam;
    this.#state = new MemoryState(region);
    collected.register(this, this.#state, this);
    noteMade(this);
  }

  /** Bytes. */
  get size(): number {
    return this.#state.region.length;
  }
  /** Where it lies in this process, for a VMM's memory slots. */
  get address(): bigint {
    this.#check();
    return this.#state.region.address;
  }
  /** The memfd behind it, owned by this object; -1 for anonymous memory. */
  get fd(): number {
    this.#check();
    return this.#state.region.fd;
  }
  /** Whether `free` was called. */
  get freed(): boolean {
    return this.#state.ownership === 'freed';
  }
  /** How many live mappings keep the range reserved. */
  get mappings(): number {
    return this.#state.holds;
  }

  /**
   * The bytes, as a view that goes to length 0 when the memory is freed.
   * @param offset bytes from the start
   * @param length bytes, up to 2^32; to the end of the memory if left out
   */
  window(offset: U64 = 0, length?: U64): Uint8Array {
    this.#check();
    const from = toSize(offset, 'offset');
    const size = this.size;
    if (from > size) throw outOfRange('offset', `at most ${size}`, offset);
    const bytes = length === undefined ? size - from : toSize(length, 'length');
    if (bytes > size - from) throw outOfRange('length', `at most ${size - from}`, length);
    const index = Math.floor(from / SEGMENT);
    const start = index * SEGMENT;
    if (from + bytes > start + SEGMENT) return this.#state.region.window(from, bytes);
    const { buffer, byteOffset } = this.#segment(index);
    return new Uint8Array(buffer, byteOffset + from - start, bytes);
  }

  /** A copy of bytes, from `offset` bytes on. @throws RangeError beyond the end */
  read(offset: U64, length: U64): Uint8Array {
    return this.window(offset, length).slice();
  }

  /** Copies bytes in, from `offset` bytes on. @throws RangeError beyond the end */
  write(offset: U64, data: Uint8Array): void {
    this.window(offset, lengthOfBytes(data, 'data')).set(data);
  }

  /**
   * Makes pages present on the thread pool, so that mapping and pinning them later is quick.
   * @throws IommufdError ENOMEM where there is no memory (or no huge page) for them; the signal's reason when aborted
   */
  async prefault(options: PrefaultOptions = {}): Promise<void> {
    checkOptions(options, ['offset', 'length', 'chunk', 'signal', 'onProgress']);
    const { signal, onProgress, offset = 0, length, chunk: step = 64 * 2 ** 20 } = options;
    checkSignal(signal);
    checkCallback(onProgress, 'onProgress');
    const { size } = this;
    const from = toSize(offset, 'offset');
    if (from > size) throw outOfRange('offset', `at most ${size}`, from);
    const total = length === undefined ? size - from : toSize(length, 'length');
    if (total > size - from) throw outOfRange('length', `at most ${size - from}`, total);
    const chunk = toSize(step, 'chunk');
    if (chunk < this.#seam.pageSize) throw outOfRange('chunk', 'at least a page', chunk);
    // After the options: reading them may run code of the caller's.
    this.#check();
    const share = hold(this);
    try {
      for (let done = 0; done < total; ) {
        const step = Math.min(chunk, total - done);
        const rc = await this.#state.region.prefault(from + done, step);
        if (rc < 0) throw new IommufdError('madvise', rc, { offset: from + done, length: step });
        done += step;
        onProgress?.(done, total);
        signal?.throwIfAborted();
        this.#check();
      }
    } finally {
      share.release();
    }
  }

  /**
   * Frees the memory: views go to length 0 at once. Where mappings are left, the address range stays reserved until
   * the last of them is gone. Twice is fine.
   */
  free(): void {
    const state = this.#state;
    if (state.ownership !== 'in-use') return;
    state.ownership = 'freed';
    collected.unregister(this);
    state.region.detachWindows();
    state.settle();
  }

  [Symbol.dispose](): void {
    this.free();
  }

  toJSON(): Record<string, unknown> {
    const { backing, size, freed, mappings } = this;
    return { type: 'DmaMemory', backing, size, freed, mappings };
  }

  #check(): void {
    if (this.#state.ownership !== 'in-use') throw destroyed('this memory');
  }

  #segment(index: number): { buffer: ArrayBuffer; byteOffset: number } {
    const known = this.#segments.get(index);
    const buffer = known?.buffer.deref();
    // One whose bytes were transferred away has length 0.
    if (known !== undefined && buffer !== undefined && buffer.byteLength > 0)
      return { buffer, byteOffset: known.byteOffset };
    const start = index * SEGMENT;
    const whole = this.#state.region.window(start, Math.min(SEGMENT, this.size - start));
    const { byteOffset } = whole;
    this.#segments.set(index, { buffer: new WeakRef(whole.buffer), byteOffset });
    return { buffer: whole.buffer, byteOffset };
  }
}

/** Takes a share in memory for a mapping. */
export function holdMemory(memory: DmaMemory): MemoryHold {
  return hold(memory);
}

/** The memory that a share is of, as long as the share is held; undefined for a share in something else. */
export function heldRegion(hold: MemoryHold): Region | undefined {
  return behindHold(hold);
}

/** The host memory belongs to; the class itself does not give it away. */
export function memorySeam(memory: DmaMemory): Seam {
  return seamOf(memory);
}

/** Where memory lies: the object's own properties can be shadowed. Throws where it was freed. */
export function memoryRegion(memory: DmaMemory): Region {
  return regionOf(memory);
}

/** Allocates memory of this host. */
export function allocateMemory(seam: Seam, size: U64, options: MemoryOptions = {}): DmaMemory {
  checkOptions(options, ['backing', 'hugePageSize']);
  const bytes = toSize(size, 'size');
  const backing = oneOf(options.backing ?? 'memfd', ['memfd', 'anonymous'], 'backing');
  const hugePageSize = options.hugePageSize ?? 0;
  if (typeof hugePageSize !== 'number') throw invalidType('hugePageSize', 'a number', hugePageSize);
  if (hugePageSize !== 0 && (!Number.isInteger(Math.log2(hugePageSize)) || hugePageSize <= seam.pageSize)) {
    throw outOfRange('hugePageSize', `a power of two above ${seam.pageSize}`, hugePageSize);
  }
  const unit = hugePageSize || seam.pageSize;
  if (bytes === 0 || bytes % unit !== 0) throw outOfRange('size', `a positive multiple of ${unit}`, size);
  const region = seam.allocateMemory({ backing, size: bytes, hugePageSize });
  if (typeof region === 'number') {
    const syscall = backing === 'memfd' ? 'memfd_create' : 'mmap';
    throw new IommufdError(syscall, region, { size: bytes, hugePageSize });
  }
  return new DmaMemory(seam, region, backing);
}

/** Memory of a memfd made elsewhere: see `Host.unsafeImportMemory`. */
export function importMemory(seam: Seam, fd: number, size: U64, backing: 'memfd' | 'imported' = 'imported'): DmaMemory {
  const bytes = toSize(size, 'size');
  if (bytes === 0 || bytes % seam.pageSize !== 0) {
    throw outOfRange('size', `a positive multiple of ${seam.pageSize}`, size);
  }
  const region = seam.importMemory(fd, bytes);
  if (typeof region === 'number') throw new IommufdError('mmap', region, { fd, size: bytes });
  return new DmaMemory(seam, region, backing);
}
