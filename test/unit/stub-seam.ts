// A seam that plays back what a test tells it, for units that a real kernel cannot be brought to exercise. It is no
// emulator: an ioctl is answered by the function a test gave for it, and one that has none is a defect of the test.
import { Arena } from '../../lib/host/arena.js';
import type { FileStatus, MemoryRequest, Region, Seam, Watch } from '../../lib/host/seam.js';
import type { Fields, Input, Ioctl, Values } from '../../lib/uapi/layout.js';
import { StubRegion, StubWatch } from './stub-parts.js';

const PAGE = 4096;
const EINVAL = -22;
const EBADF = -9;
const ENOENT = -2;

/** What an answer can do besides returning 0 or -errno. */
export interface Reply<F extends Fields> {
  readonly fd: number;
  /** Changes fields of the struct, as the kernel does. */
  set(fields: Input<F>): void;
  /** The bytes behind the struct. */
  tail(length: number): Uint8Array;
  /** What a pointer field points at; an address outside of the arena and all live regions throws. */
  memory(address: bigint, length: number): Uint8Array;
}

export type Answer<F extends Fields> = number | ((input: Values<F>, reply: Reply<F>) => number);

/** A call as it was made. */
export interface Made {
  readonly syscall: string;
  readonly fd: number;
  readonly input: Readonly<Record<string, unknown>>;
  readonly result: number;
}

type Handler = (fd: number, view: DataView, at: number) => number;

/** Calls that can be told to fail. */
export type Step =
  | 'own'
  | 'disown'
  | 'close'
  | 'watch'
  | 'mapMmio'
  | 'allocateBlock'
  | 'allocateMemory'
  | 'createEventfd'
  | 'free'
  | 'prefault'
  | 'write';

/** What discovery finds at a path. */
export interface Entry {
  readonly status?: FileStatus;
  readonly text?: string;
  readonly link?: string;
  readonly list?: string[];
}

export class StubSeam implements Seam {
  readonly kind = 'replay';
  release = '';
  readonly pageSize = PAGE;
  readonly arena: Arena;
  /** Every ioctl made, in order. */
  readonly calls: Made[] = [];
  readonly files = new Map<number, { owned: boolean; pending: (Uint8Array | number)[] }>();
  readonly regions = new Set<StubRegion>();
  readonly watches = new Set<StubWatch>();
  readonly paths = new Map<string, Entry>();
  readonly prefaults: { offset: number; length: number }[] = [];
  readonly writes: { fd: number; bytes: Uint8Array }[] = [];
  /** Answers pread and pwrite: how many bytes, or -errno. */
  onPread: ((position: number, into: Uint8Array) => number) | undefined;
  onPwrite: ((position: number, from: Uint8Array) => number) | undefined;
  /** Closes of what was not open, or not owned. */
  badCloses = 0;
  /** While true, results of the thread pool wait for `deliver`. */
  holdPool = false;
  readonly #held: (() => void)[] = [];
  readonly #handlers = new Map<number, { name: string; run: Handler }>();
  readonly #failures = new Map<Step, number[]>();
  #nextFd = 100;
  #top = 0x7000_0000_0000n;

  constructor(arenaSize = 256 * 1024) {
    this.arena = new Arena(new ArrayBuffer(arenaSize), 0x6000_0000_0000n);
  }

  /** Answers an ioctl. A number is the result; a function may look at the struct and change it. */
  on<F extends Fields>(op: Ioctl<F>, answer: Answer<F>): this {
    const run: Handler = (fd, view, at) => {
      const input = op.layout.decode(view, at);
      let result = 0;
      if (typeof answer === 'number') result = answer;
      else {
        result = answer(input, {
          fd,
          set: (fields) => op.layout.encode(view, at, { ...op.layout.decode(view, at), ...fields }),
          tail: (length) => new Uint8Array(view.buffer, view.byteOffset + at + op.layout.size, length),
          memory: (address, length) => this.memory(address, length),
        });
      }
      this.calls.push({ syscall: op.name, fd, input, result });
      return result;
    };
    this.#handlers.set(op.request, { name: op.name, run });
    return this;
  }

  /** The next call of this step fails with this errno. */
  fail(step: Step, errno: number): void {
    this.#failures.set(step, [...(this.#failures.get(step) ?? []), errno]);
  }
  failure(step: Step): number | undefined {
    return this.#failures.get(step)?.shift();
  }

  /** An fd as an ioctl makes one: open, and nobody's. */
  makeFd(owned = false): number {
    const fd = this.#nextFd++;
    this.files.set(fd, { owned, pending: [] });
    return fd;
  }
  /** What the next read of the fd gives: bytes, or -errno. */
  feed(fd: number, ...reads: (Uint8Array | number)[]): void {
    this.files.get(fd)?.pending.push(...reads);
    for (const watch of [...this.watches]) if (watch.fd === fd) watch.tell();
  }
  readable(fd: number): boolean {
    return (this.files.get(fd)?.pending.length ?? 0) > 0;
  }
  nextAddress(length: number): bigint {
    const address = this.#top;
    this.#top += BigInt(Math.ceil(length / PAGE) * PAGE + PAGE);
    return address;
  }
  /** Calls made with this name. */
  made(syscall: string): Made[] {
    return this.calls.filter((call) => call.syscall === syscall);
  }
  memory(address: bigint, length: number): Uint8Array {
    const within = (start: bigint, size: number) =>
      address >= start && address + BigInt(length) <= start + BigInt(size);
    if (within(this.arena.address, this.arena.size)) {
      return this.arena.bytes.subarray(Number(address - this.arena.address)).subarray(0, length);
    }
    for (const region of this.regions) {
      if (within(region.address, region.length)) {
        return new Uint8Array(region.bytes, Number(address - region.address), length);
      }
    }
    throw new Error(`nothing lies at 0x${address.toString(16)}`);
  }

  /** Work of the thread pool: done at once, told later. */
  onPool(work: () => number): Promise<number> {
    const result = work();
    return new Promise((resolve) => {
      if (this.holdPool) this.#held.push(() => resolve(result));
      else setImmediate(() => resolve(result));
    });
  }
  /** Tells what was held back. */
  deliver(): void {
    for (const tell of this.#held.splice(0)) tell();
  }
  get held(): number {
    return this.#held.length;
  }

  open(path: string): number {
    return this.paths.has(path) ? this.makeFd(true) : ENOENT;
  }
  own(fd: number): number {
    const failure = this.failure('own');
    if (failure !== undefined) return failure;
    const file = this.files.get(fd);
    if (file === undefined) return EBADF;
    if (file.owned) return -17;
    file.owned = true;
    return 0;
  }
  disown(fd: number): number {
    const file = this.files.get(fd);
    if (file === undefined || !file.owned) return EBADF;
    file.owned = false;
    return 0;
  }
  duplicate(fd: number): number {
    return this.files.has(fd) ? this.makeFd(true) : EBADF;
  }
  close(fd: number): number {
    if (this.files.get(fd)?.owned !== true) {
      this.badCloses++;
      return EBADF;
    }
    this.files.delete(fd);
    return this.failure('close') ?? 0;
  }

  ioctl(fd: number, request: number, at: number): number {
    return this.#ioctl(fd, request, this.arena.view, at);
  }
  ioctlValue(): number {
    throw new Error('not scripted');
  }
  ioctlAsync(fd: number, request: number, block: Region, at: number): Promise<number> {
    return this.onPool(() => this.#ioctl(fd, request, new DataView(block.window(0, block.length).buffer), at));
  }
  #ioctl(fd: number, request: number, view: DataView, at: number): number {
    if (!this.files.has(fd)) return EBADF;
    const handler = this.#handlers.get(request);
    if (handler === undefined) throw new Error(`ioctl 0x${request.toString(16)} is not scripted`);
    // A struct shorter than any: somebody asks whether the call is there.
    if (view.getUint32(at, true) === 4) return EINVAL;
    return handler.run(fd, view, at);
  }

  read(fd: number, at: number, length: number): number {
    const next = this.files.get(fd)?.pending.shift();
    if (next === undefined) return this.files.has(fd) ? 0 : EBADF;
    if (typeof next === 'number') return next;
    if (next.length > length) throw new Error('the read is too short for what was fed');
    this.arena.bytes.set(next, at);
    return next.length;
  }
  write(fd: number, at: number, length: number): number {
    const failure = this.failure('write');
    if (failure !== undefined) return failure;
    this.writes.push({ fd, bytes: this.arena.bytes.slice(at, at + length) });
    return length;
  }
  pread(fd: number, at: number, length: number, position: number): number {
    if (!this.files.has(fd)) return EBADF;
    if (this.onPread === undefined) throw new Error('pread is not scripted');
    return this.onPread(position, this.arena.bytes.subarray(at, at + length));
  }
  pwrite(fd: number, at: number, length: number, position: number): number {
    if (!this.files.has(fd)) return EBADF;
    if (this.onPwrite === undefined) throw new Error('pwrite is not scripted');
    return this.onPwrite(position, this.arena.bytes.slice(at, at + length));
  }

  allocateMemory({ backing, size }: MemoryRequest): Region | number {
    const fd = backing === 'memfd' ? 9000 + this.regions.size : -1;
    return this.failure('allocateMemory') ?? new StubRegion(this, 'memory', size, fd);
  }
  importMemory(fd: number, size: number): Region | number {
    return this.files.has(fd) ? new StubRegion(this, 'memory', size, fd) : EBADF;
  }
  allocateBlock(size: number): Region | number {
    return this.failure('allocateBlock') ?? new StubRegion(this, 'block', size, -1);
  }
  mapMmio(_fd: number, _offset: number, length: number): Region | number {
    return this.failure('mapMmio') ?? new StubRegion(this, 'mmio', length, -1);
  }
  createEventfd(): number {
    return this.failure('createEventfd') ?? this.makeFd(true);
  }
  watch(fd: number, onReadable: () => void): Watch | number {
    const failure = this.failure('watch');
    if (failure !== undefined) return failure;
    const watch = new StubWatch(this, fd, onReadable);
    this.watches.add(watch);
    return watch;
  }

  status(path: string): FileStatus | number {
    return this.paths.get(path)?.status ?? ENOENT;
  }
  readText(path: string): string | number {
    return this.paths.get(path)?.text ?? ENOENT;
  }
  readLink(path: string): string | number {
    return this.paths.get(path)?.link ?? ENOENT;
  }
  list(path: string): string[] | number {
    return this.paths.get(path)?.list ?? ENOENT;
  }
}
