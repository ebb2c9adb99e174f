// Devices of VFIO, real or emulated, and a record of every call on their files in a form that is the same on both: what was
// asked with which values, what was answered, and every byte of the caller's memory that changed.
import { setTimeout as pause, setImmediate as turn } from 'node:timers/promises';
import { errnoName, type Fields, type Ioctl, type Layout } from '../../../lib/uapi/index.js';
import { type Host, hostSeam, type Region, type Seam } from '../../../lib/unsafe.js';
import { findDevice } from '../../rig/kernel-devices.js';
import { EMULATED, type Role } from '../../rig/vfio-rig.js';

const O_RDWR = 2;
/** Milliseconds in which an interrupt arrives, also in a machine whose processors others use as well. */
const SETTLING = 6;
/** What lies behind every struct: a kernel that reads or writes too far is found out. */
const BEHIND = 0xa5;
/** Bytes around a struct, and where those begin that its pointers point at. */
const ROOM = 0x2000;
const POINTED = 0x1000;
const POINTED_STRIDE = 0x400;

/** A file: its number differs between kernels, its name does not. */
export interface Handle {
  readonly fd: number;
  readonly name: string;
}
/** Bytes that a field of a struct points at. */
export interface Pointed {
  readonly pointed: Uint8Array;
}
export type Value = number | bigint | readonly number[] | Handle | Pointed;

/** A struct as it is given to the kernel: its fields, what follows them, and how long it says to be. */
export interface Struct<F extends Fields> {
  readonly values?: { readonly [K in keyof F]?: Value };
  /** Bytes or fds behind the fields. */
  readonly tail?: Uint8Array | readonly (number | Handle)[];
  readonly argsz?: number | undefined;
  /** What follows all of it: zeros, as an older program's newer struct would, or something. */
  readonly behind?: number | undefined;
  /** The result is a file's number. */
  readonly answersFd?: boolean | undefined;
  /** Where a file's number is answered, in bytes of the struct. */
  readonly fdAt?: number | undefined;
  /** Words of the answer, by their offsets, that no two machines share. */
  readonly hidden?: readonly number[] | undefined;
  /** A field that holds an address: it is not told. */
  readonly address?: { readonly field: keyof F & string; readonly value: bigint };
}

const isHandle = (value: unknown): value is Handle => typeof value === 'object' && value !== null && 'fd' in value;
const isPointed = (value: unknown): value is Pointed =>
  typeof value === 'object' && value !== null && 'pointed' in value;

export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

/** Where bytes that hold nothing but a filler begin. */
export function endOf(bytes: Uint8Array, filler: number): number {
  let end = bytes.length;
  while (end > 0 && bytes[end - 1] === filler) end--;
  return end;
}

/** 0 or more, or an errno's name. */
export function answerOf(result: number): string {
  return result < 0 ? errnoName(result) : String(result);
}

function tell(value: Value): string {
  if (isHandle(value)) return value.name;
  if (isPointed(value)) return `&${hex(value.pointed)}`;
  return typeof value === 'object' ? value.join('.') : `0x${value.toString(16)}`;
}

export class VfioMachine {
  readonly seam: Seam;
  readonly #host: Host;
  /** System calls so far. */
  calls = 0;
  readonly #paths = new Map<Role, string>();
  #lines: string[] = [];

  /** `isKernel`: what the host, or the one behind it, is. */
  constructor(
    host: Host,
    readonly isKernel: boolean,
  ) {
    this.#host = host;
    this.seam = hostSeam(host);
  }
  #find(role: Role): string | undefined {
    return this.isKernel ? findDevice(role) : EMULATED[role];
  }

  note(line: string): void {
    this.#lines.push(line);
  }
  /** What was asked and answered since this was asked last. */
  take(): string[] {
    const lines = this.#lines;
    this.#lines = [];
    return lines;
  }

  /** Lets interrupts arrive, and work that is under way come to its end. */
  async settle(): Promise<void> {
    if (this.isKernel) await pause(SETTLING);
    else for (let i = 0; i < 3; i++) await turn();
  }
  /** Waits until something is so; not for ever. */
  async until(done: () => boolean): Promise<void> {
    for (let tries = 0; tries < 400 && !done(); tries++) await (this.isKernel ? pause(2) : turn());
  }
  /** Waits until a device that may sleep does so. */
  async asleep(role: Role): Promise<void> {
    const path = `/sys/bus/pci/devices/${this.#find(role)}/power/runtime_status`;
    if (!this.isKernel) return this.settle();
    await this.until(() => this.seam.readText(path) === 'suspended\n');
  }

  open(role: Role): number {
    const name = this.#find(role);
    if (name === undefined) throw new Error(`this machine has no ${role}`);
    let path = this.#paths.get(role);
    if (path === undefined) {
      path = this.#host.findDevice(name).node ?? '';
      this.#paths.set(role, path);
    }
    const fd = this.seam.open(path, O_RDWR);
    if (fd < 0) throw new Error(`${path} answered ${errnoName(fd)}`);
    return fd;
  }
  openIommufd(): number {
    const fd = this.seam.open('/dev/iommu', O_RDWR);
    if (fd < 0) throw new Error(`/dev/iommu answered ${errnoName(fd)}`);
    return fd;
  }

  /** Takes over a file that a call answered. */
  own(fd: number): number {
    this.seam.own(fd);
    return fd;
  }

  /** One ioctl; answers its result, and the struct as it is then. */
  ioctl<F extends Fields>(file: Handle, op: Ioctl<F>, struct: Struct<F>): { result: number; view: DataView } {
    const { arena } = this.seam;
    const mark = arena.mark();
    const at = arena.take(ROOM);
    const what = this.#place(op.layout, at, struct);
    const before = arena.bytes.slice(at, at + ROOM);
    this.calls++;
    const result = this.seam.ioctl(file.fd, op.request, at);
    const after = arena.bytes.slice(at, at + ROOM);
    arena.release(mark);
    const changes = describeChanges(before, after, struct);
    const answer = struct.answersFd === true && result >= 0 ? 'fd' : answerOf(result);
    this.note(`${file.name} ${op.name}(${what}) ${answer}${changes}`);
    return { result, view: new DataView(after.buffer) };
  }
  /** Writes a struct to the arena; answers how it is told. */
  #place<F extends Fields>(
    layout: Layout<F>,
    at: number,
    { values = {}, tail, argsz, behind, address }: Struct<F>,
  ): string {
    const { arena } = this.seam;
    arena.bytes.fill(BEHIND, at, at + ROOM);
    const told: string[] = [];
    const plain: Record<string, unknown> = {};
    let pointers = 0;
    for (const [name, value] of Object.entries(values) as [string, Value][]) {
      told.push(`${name}=${tell(value)}`);
      if (isHandle(value)) plain[name] = value.fd;
      else if (isPointed(value)) {
        const to = at + POINTED + POINTED_STRIDE * pointers++;
        arena.bytes.set(value.pointed, to);
        plain[name] = arena.addressOf(to);
      } else plain[name] = value;
    }
    if (address !== undefined) plain[address.field] = address.value;
    layout.encode(arena.view, at, plain as Parameters<Layout<F>['encode']>[2]);
    const bytes = tail instanceof Uint8Array ? tail : encodeFds(tail ?? []);
    arena.bytes.set(bytes, at + layout.size);
    if (behind !== undefined) arena.bytes.fill(behind, at + layout.size + bytes.length, at + POINTED);
    const size = argsz ?? layout.size + bytes.length;
    if (layout.size >= 4) arena.view.setUint32(at, size, true);
    if (tail !== undefined) told.push(tail instanceof Uint8Array ? hex(tail) : `[${tail.map(tell)}]`);
    return [`${size}`, ...told].join(' ');
  }
  /** An ioctl whose argument is a number, or points nowhere. */
  ioctlValue(file: Handle, name: string, request: number, value: number): number {
    this.calls++;
    const result = this.seam.ioctlValue(file.fd, request, value);
    this.note(`${file.name} ${name}(${value}) ${answerOf(result)}`);
    return result;
  }

  /** Notes nothing: for what is only got ready. */
  quietly(work: () => void): void {
    const lines = this.#lines;
    this.#lines = [];
    work();
    this.#lines = lines;
  }

  pread(file: Handle, where: string, position: number, length: number): number {
    const { arena } = this.seam;
    const mark = arena.mark();
    const at = arena.take(length + 64);
    arena.bytes.fill(BEHIND, at, at + length + 64);
    this.calls++;
    const result = this.seam.pread(file.fd, at, length, position);
    // All of it: also a read that is refused in the end may have brought something.
    const bytes = arena.bytes.slice(at, at + length + 64);
    arena.release(mark);
    const end = endOf(bytes, BEHIND);
    this.note(
      `${file.name} pread ${where}+${length} ${answerOf(result)} ${hex(bytes.subarray(0, Math.max(result, end)))}`,
    );
    return result;
  }
  /** A register's lowest 32 bits, noted nowhere; 0 where it cannot be read. */
  peek({ fd }: Handle, position: number): number {
    const { arena } = this.seam;
    const mark = arena.mark();
    const at = arena.take(4);
    const value = this.seam.pread(fd, at, 4, position) === 4 ? arena.view.getUint32(at, true) : 0;
    arena.release(mark);
    return value;
  }
  pwrite(file: Handle, where: string, position: number, bytes: Uint8Array): number {
    const result = this.#withBytes(bytes, (at) => this.seam.pwrite(file.fd, at, bytes.length, position));
    this.note(`${file.name} pwrite ${where} ${hex(bytes)} ${answerOf(result)}`);
    return result;
  }
  read(file: Handle, length: number): Uint8Array {
    const { arena } = this.seam;
    const mark = arena.mark();
    const at = arena.take(length);
    this.calls++;
    const result = this.seam.read(file.fd, at, length);
    const bytes = arena.bytes.slice(at, at + Math.max(result, 0));
    arena.release(mark);
    this.note(`${file.name} read ${length} ${answerOf(result)} ${hex(bytes)}`);
    return bytes;
  }
  write(file: Handle, bytes: Uint8Array): number {
    const result = this.#withBytes(bytes, (at) => this.seam.write(file.fd, at, bytes.length));
    this.note(`${file.name} write ${hex(bytes)} ${answerOf(result)}`);
    return result;
  }
  #withBytes(bytes: Uint8Array, work: (at: number) => number): number {
    this.calls++;
    const { arena } = this.seam;
    const mark = arena.mark();
    const at = arena.take(bytes.length);
    arena.bytes.set(bytes, at);
    const result = work(at);
    arena.release(mark);
    return result;
  }

  /** The count of an eventfd, taken from it; 0 without any. */
  drain({ fd }: Handle): bigint {
    const { arena } = this.seam;
    const mark = arena.mark();
    const at = arena.take(8);
    const count = this.seam.read(fd, at, 8) === 8 ? arena.view.getBigUint64(at, true) : 0n;
    arena.release(mark);
    return count;
  }

  map(file: Handle, where: string, offset: number, length: number): Region | undefined {
    this.calls++;
    const region = this.seam.mapMmio(file.fd, offset, length);
    this.note(`${file.name} mmap ${where}+${length} ${typeof region === 'number' ? errnoName(region) : 'ok'}`);
    return typeof region === 'number' ? undefined : region;
  }
  close(file: Handle): void {
    this.calls++;
    this.note(`${file.name} close ${answerOf(this.seam.close(file.fd))}`);
  }
}

function encodeFds(fds: readonly (number | Handle)[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(4 * fds.length));
  fds.forEach((one, i) => {
    view.setInt32(4 * i, isHandle(one) ? one.fd : one, true);
  });
  return new Uint8Array(view.buffer);
}

/** Which words changed, and to what: ` +8:01020304`. A file's number is told as `fd`. */
function describeChanges(before: Uint8Array, after: Uint8Array, { fdAt, hidden = [] }: Struct<Fields>): string {
  const view = new DataView(after.buffer);
  let told = '';
  let last = Number.NEGATIVE_INFINITY;
  for (let at = 0; at < after.length; at += 4) {
    const word = after.subarray(at, at + 4);
    if (Buffer.compare(word, before.subarray(at, at + 4)) === 0) continue;
    if (at !== last + 4) told += ` +${at}:`;
    const isFd = at === fdAt && view.getInt32(at, true) >= 0;
    told += isFd ? 'fd' : hidden.includes(at) ? 'hidden' : hex(word);
    last = at;
  }
  return told;
}
