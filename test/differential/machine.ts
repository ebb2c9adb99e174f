// A kernel to ask, real or emulated, with memory to map, and a record of every answer in a form that is the same on both.
import { createHash } from 'node:crypto';
import { setImmediate as turn } from 'node:timers/promises';

import * as mock from '../../lib/emulated/hardware/selftest/uapi.js';
import { errnoName, type Fields, type Input, type Ioctl, type Layout, type Values } from '../../lib/uapi/index.js';
import type { Region, Seam, Watch } from '../../lib/unsafe.js';
import { Recorder } from '../rig/recorder.js';

/** Bytes of memory that consists of ordinary pages, and of memory that is a huge page. */
const ORDINARY = 0x4_0000;
const HUGE = 0x20_0000;
const SCRATCH = 0x8_0000;
/** Behind its last byte there is nothing. */
const EDGE = 4096;
/** What lies behind every buffer: a kernel that reads too far finds something. */
const BEHIND = 0xa5;
const STRUCT = 256;
/** The longest struct that is asked with, and that much behind it. */
const LONGEST = 4608;
const O_RDWR = 2;
/** Whose values no two kernels share: whether they were written is told. */
const OUT_FD = /^out_\w*fd$/;

export interface Answer<F extends Fields> {
  /** 0 or more, or -errno. */
  readonly result: number;
  readonly out: Values<F>;
  /** What the buffers hold now. */
  readonly buffers: readonly Uint8Array[];
}

/** How the struct's length is told, if not as it is, and what every byte behind it holds. */
export interface Sizing {
  readonly size?: number;
  readonly behind?: number;
}

function required<T>(value: T | number): T {
  if (typeof value === 'number') throw new Error(`setting up answered ${errnoName(value)}`);
  return value;
}

/**
 * Memory that lies at a multiple of so many bytes, so that the IOVAs that a kernel chooses to suit an address are the same
 * everywhere.
 */
function aligned(seam: Seam, allocate: () => Region | number): Region {
  for (let tries = 0; tries < 1000; tries++) {
    const region = required(allocate());
    if (region.address % BigInt(ORDINARY) === 0n) return region;
    region.free();
    // Shifts what comes next by a page.
    required(seam.allocateMemory({ backing: 'memfd', hugePageSize: 0, size: seam.pageSize }));
  }
  throw new Error('no aligned memory was found');
}

export class Machine {
  readonly seam: Seam;
  /** What is mapped by address, and what by file. */
  memory: Region;
  file: Region;
  readonly #ordinary: { readonly memory: Region; readonly file: Region };
  readonly #huge: Region;
  readonly #contents: readonly Uint8Array[];
  /** Somebody may have written to memory. */
  #written = false;
  /** A file that has no memory. */
  readonly eventfd: number;
  readonly #recorder = new Recorder({ chosenIovas: 'told' });
  readonly #scratch: Region;
  readonly #scratchBytes: Uint8Array;
  readonly #edge: Region;
  readonly #edgeBytes: Uint8Array;
  /** System calls so far. */
  calls = 0;
  #buffers: { readonly at: number; readonly before: Uint8Array; readonly length: number }[] = [];
  #free = 0;
  #lines: string[] = [];

  constructor(seam: Seam) {
    this.seam = seam;
    const ordinary = { backing: 'memfd', hugePageSize: 0, size: ORDINARY } as const;
    const memory = aligned(seam, () => seam.allocateMemory(ordinary));
    const file = required(seam.allocateMemory(ordinary));
    this.#ordinary = { memory, file };
    this.memory = memory;
    this.file = file;
    this.#huge = required(seam.allocateMemory({ backing: 'memfd', hugePageSize: HUGE, size: HUGE }));
    // Windows are made once: on the kernel each is a buffer of its own.
    this.#contents = [memory, file, this.#huge].map((one) => one.window(0, one.length));
    this.#scratch = aligned(seam, () => seam.allocateBlock(SCRATCH));
    this.#scratchBytes = this.#scratch.window(0, SCRATCH);
    this.#edge = required(seam.allocateBlock(EDGE));
    this.#edgeBytes = this.#edge.window(0, EDGE);
    this.eventfd = seam.createEventfd(0);
    this.#recorder.listen(seam);
  }

  /** What was asked and answered since this was asked last. */
  take(): string[] {
    this.#collect();
    const lines = this.#lines;
    this.#lines = [];
    return lines;
  }
  #collect(): void {
    this.#lines.push(...this.#recorder.take());
  }
  note(line: string): void {
    this.#collect();
    this.#lines.push(line);
  }

  /** Which memory is used from now on; it is as it was at first. A huge page is one stretch physically everywhere. */
  useMemory(kind: 'ordinary' | 'huge'): void {
    this.memory = kind === 'huge' ? this.#huge : this.#ordinary.memory;
    this.file = kind === 'huge' ? this.#huge : this.#ordinary.file;
    if (!this.#written) return;
    this.#written = false;
    for (const bytes of this.#contents) bytes.fill(0);
    this.#scratchBytes.fill(0);
  }
  /** Whether what follows what physically is the same everywhere. */
  get isContiguous(): boolean {
    return this.memory === this.#huge;
  }
  /** Bytes of either memory. */
  get size(): number {
    return this.memory.length;
  }

  open(): number {
    this.calls++;
    const fd = this.seam.open('/dev/iommu', O_RDWR);
    if (fd < 0) throw new Error(`/dev/iommu answered ${errnoName(fd)}`);
    return fd;
  }

  /** Puts bytes where the next call can point at; answers their address. */
  buffer(bytes: Uint8Array): bigint {
    const at = this.#free;
    this.#free = (at + bytes.length + STRUCT + 7) & ~7;
    if (this.#free > SCRATCH) throw new Error('the buffers are too long');
    const before = new Uint8Array(bytes.length + STRUCT).fill(BEHIND);
    before.set(bytes);
    return this.#put(at, before, bytes.length);
  }
  /** Bytes with nothing behind them. */
  bufferAtEdge(bytes: Uint8Array): bigint {
    return this.#put(SCRATCH - bytes.length, bytes, bytes.length);
  }
  #put(at: number, before: Uint8Array, length: number): bigint {
    this.#scratchBytes.set(before, at);
    this.#buffers.push({ at, before, length });
    return this.#scratch.address + BigInt(at);
  }
  /** The last pages of memory that ends where nothing follows. */
  lastPages(count: number): bigint {
    return this.#scratch.address + BigInt(SCRATCH - 4096 * count);
  }

  /** One ioctl. */
  ioctl<F extends Fields>(fd: number, op: Ioctl<F>, input: Input<F>, { size, behind = 0 }: Sizing = {}): Answer<F> {
    const { arena } = this.seam;
    const { layout } = op;
    const length = layout.size + Math.max(STRUCT, Math.min(size ?? 0, LONGEST));
    const mark = arena.mark();
    const at = arena.take(length);
    layout.encode(arena.view, at, input);
    arena.bytes.fill(behind, at + layout.size, at + length);
    arena.view.setUint32(at, size ?? layout.size, true);
    const known = layout as unknown as Layout<Fields>;
    const before = fdsIn(known, arena.view, at);
    this.calls++;
    const result = this.seam.ioctl(fd, op.request, at);
    const out = layout.decode(arena.view, at);
    if (fdsIn(known, arena.view, at) !== before) this.note('  wrote a file');
    const tail = arena.bytes.subarray(at + layout.size, at + length);
    if (Buffer.compare(tail, filled(behind).subarray(0, tail.length)) !== 0) this.note(`  wrote behind ${brief(tail)}`);
    arena.release(mark);
    return { result, out, buffers: this.#takeBuffers() };
  }

  /** An ioctl whose argument is a number: an address where nothing is, or hardly anything. */
  ioctlAt(fd: number, request: number, address: number): void {
    this.calls++;
    this.note(
      `ioctl 0x${request.toString(16)} at 0x${address.toString(16)} ${told(this.seam.ioctlValue(fd, request, address))}`,
    );
  }
  /** An ioctl whose struct is followed by nothing; only its first bytes are there. Answers them and the result. */
  ioctlAtEdge(fd: number, request: number, struct: Uint8Array): { result: number; bytes: Uint8Array } {
    const window = this.#edgeBytes.subarray(EDGE - struct.length);
    window.set(struct);
    this.calls++;
    const result = this.seam.ioctlValue(fd, request, Number(this.#edge.address) + EDGE - struct.length);
    const bytes = window.slice();
    this.note(`ioctl 0x${request.toString(16)} before nothing ${brief(struct)} ${told(result)} ${brief(bytes)}`);
    return { result, bytes };
  }

  /** A sub-operation of the mock's IOMMU_TEST_CMD. */
  test<F extends Fields>(
    fd: number,
    op: keyof typeof mock.iommu_test_op.values | number,
    layout: Layout<F>,
    input: Input<F>,
    sizing?: Sizing,
  ): Answer<F> {
    if (op === 'IOMMU_TEST_OP_ACCESS_RW') this.#written = true;
    const command = { ...mock.IOMMU_TEST_CMD, layout } as unknown as Ioctl<F>;
    return this.ioctl(
      fd,
      command,
      { ...input, op: typeof op === 'number' ? op : mock.iommu_test_op.values[op] } as unknown as Input<F>,
      sizing,
    );
  }

  /** Notes how a call changed the buffers, and what lies behind them. */
  #takeBuffers(): Uint8Array[] {
    const now = this.#buffers.map(({ at, before, length }) => {
      const bytes = this.#scratchBytes.slice(at, at + before.length);
      if (Buffer.compare(bytes, before) !== 0) this.note(`  bytes ${brief(bytes)}`);
      return bytes.subarray(0, length);
    });
    this.#buffers = [];
    this.#free = 0;
    return now;
  }

  read(fd: number, length: number): Uint8Array | number {
    const { arena } = this.seam;
    const mark = arena.mark();
    const at = arena.take(length);
    this.calls++;
    const result = this.seam.read(fd, at, length);
    const bytes = result > 0 ? arena.bytes.slice(at, at + result) : result;
    arena.release(mark);
    if (result === 0) this.note('read 0');
    return bytes;
  }

  write(fd: number, bytes: Uint8Array): number {
    const { arena } = this.seam;
    const mark = arena.mark();
    const at = arena.take(bytes.length);
    arena.bytes.set(bytes, at);
    this.calls++;
    const result = this.seam.write(fd, at, bytes.length);
    arena.release(mark);
    return result;
  }

  close(fd: number): void {
    this.calls++;
    this.note(`close ${told(this.seam.close(fd))}`);
  }

  /** Maps registers, and notes what they hold. */
  map(fd: number, offset: number, length: number): Region | undefined {
    this.calls++;
    const region = this.seam.mapMmio(fd, offset, length);
    if (typeof region === 'number') return undefined;
    this.note(`  registers ${region.read32(0)} ${region.read32(4)} ${region.read32(length - 4)}`);
    return region;
  }

  /** Notes which of these files can be read now: those are told in one turn of the event loop with a file that can. */
  async poll(fds: readonly number[]): Promise<void> {
    const { seam } = this;
    const answers = fds.map(() => 'no');
    const watches: Watch[] = [];
    const arm = (fd: number, onReadable: () => void): number => {
      const watch = seam.watch(fd, onReadable);
      if (typeof watch === 'number') return watch;
      watch.arm();
      watches.push(watch);
      return 0;
    };
    for (const [i, fd] of fds.entries()) {
      const refusal = arm(fd, () => {
        answers[i] = 'yes';
      });
      if (refusal < 0) answers[i] = errnoName(refusal);
    }
    const marker = seam.createEventfd(1);
    await new Promise<void>((resolve) => {
      arm(marker, resolve);
    });
    await turn();
    for (const watch of watches) watch.close();
    seam.close(marker);
    this.calls += fds.length;
    this.note(`poll ${answers.join(' ')}`);
  }
}

function told(result: number): string {
  return result < 0 ? errnoName(result) : String(result);
}

const FILLED = new Map<number, Uint8Array>();

/** As many of a byte as can lie behind a struct. */
function filled(byte: number): Uint8Array {
  const bytes = FILLED.get(byte) ?? new Uint8Array(LONGEST).fill(byte);
  FILLED.set(byte, bytes);
  return bytes;
}

const FDS = new Map<unknown, readonly number[]>();

/** What a struct's fields hold that the kernel answers files in. */
function fdsIn(layout: Layout<Fields>, view: DataView, at: number): string {
  let places = FDS.get(layout);
  if (places === undefined) {
    places = Object.keys(layout.fields).flatMap((name) => (OUT_FD.test(name) ? [layout.at[name] ?? 0] : []));
    FDS.set(layout, places);
  }
  return places.map((place) => view.getUint32(at + place, true)).join();
}

/** Bytes as hexadecimal digits; many of the same are counted, and if they are still too many, a digest says the rest. */
function brief(bytes: Uint8Array): string {
  const runs: string[] = [];
  for (let at = 0; at < bytes.length; ) {
    const byte = bytes[at] ?? 0;
    let end = at + 1;
    while (bytes[end] === byte) end++;
    const digits = byte.toString(16).padStart(2, '0');
    runs.push(end - at < 8 ? digits.repeat(end - at) : ` ${digits}*${end - at} `);
    at = end;
  }
  const text = runs.join('');
  return text.length < 500 ? text : `${text.slice(0, 400)}... ${createHash('sha256').update(bytes).digest('hex')}`;
}
