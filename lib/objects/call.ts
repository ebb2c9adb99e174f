// The way of one ioctl: encode into the arena (or, on the thread pool, into a block of its own), ask, decode, tell
// whoever traces, and turn a refusal into an IommufdError. Hot paths (map, unmap, invalidate) write the struct
// themselves, by the same table's offsets.
import { channel } from 'node:diagnostics_channel';
import { IommufdError } from '../host/errors.js';
import type { Region, Seam } from '../host/seam.js';
import { type Fields, type Input, type Ioctl, isPadding, type Values } from '../uapi/layout.js';

/** Where calls go: an iommufd, or a device. */
export interface Port {
  readonly seam: Seam;
  readonly fd: number;
  /** Throws where the fd is closed: its number may be another file's by now. */
  check?(): void;
}

/** Bytes behind pointer fields; those the kernel writes are written back into the same array. */
export type Attachments = Readonly<Record<string, Uint8Array>>;

export interface Outcome<F extends Fields> {
  /** What the call answered, or -errno. */
  readonly result: number;
  /** The struct as the kernel left it. */
  readonly out: Values<F>;
}

/** One message a call, for tracing: `diagnostics_channel.subscribe('iommufd:call', ...)`. */
export interface CallTrace {
  readonly host: string;
  readonly fd: number;
  readonly syscall: string;
  readonly input: Readonly<Record<string, unknown>>;
  readonly result: number;
  readonly output: Readonly<Record<string, unknown>>;
}

const traces = channel('iommufd:call');

/** Whether anybody listens to traces: hot paths ask before they build one. */
export function tracing(): boolean {
  return traces.hasSubscribers;
}

export function publish(trace: CallTrace): void {
  traces.publish(trace);
}

const NONE: Attachments = {};
const NOWHERE: ReadonlyMap<string, number> = new Map();

interface Space {
  readonly view: DataView;
  readonly bytes: Uint8Array;
  readonly address: bigint;
}

/** Writes the struct at `at` and the attachments behind it; answers where each attachment lies. */
function encode<F extends Fields>(
  space: Space,
  at: number,
  op: Ioctl<F>,
  input: Input<F>,
  attachments: Attachments,
): ReadonlyMap<string, number> {
  op.layout.encode(space.view, at, input);
  const sizeField = op.layout.at.argsz ?? op.layout.at.size;
  if (sizeField !== undefined) space.view.setUint32(at + sizeField, op.layout.size, true);
  if (attachments === NONE) return NOWHERE;
  const places = new Map<string, number>();
  let next = at + align8(op.layout.size);
  for (const [name, bytes] of Object.entries(attachments)) {
    const field = op.layout.at[name];
    if (field === undefined) throw new Error(`${op.layout.name} has no field ${name}`);
    space.bytes.set(bytes, next);
    space.view.setBigUint64(at + field, space.address + BigInt(next), true);
    places.set(name, next);
    next += align8(bytes.length);
  }
  return places;
}

function writeBack<F extends Fields>(
  space: Space,
  op: Ioctl<F>,
  attachments: Attachments,
  places: ReadonlyMap<string, number>,
): void {
  for (const [name, place] of places) {
    const bytes = attachments[name];
    if (bytes === undefined || op.layout.fields[name]?.direction === 'in') continue;
    bytes.set(space.bytes.subarray(place, place + bytes.length));
  }
}

function align8(length: number): number {
  return (length + 7) & ~7;
}

function sizeOf<F extends Fields>(op: Ioctl<F>, attachments: Attachments): number {
  let size = align8(op.layout.size);
  if (attachments === NONE) return size;
  for (const bytes of Object.values(attachments)) size += align8(bytes.length);
  return size;
}

/** One ioctl; a refusal is an answer, not an exception. */
export function tryCall<F extends Fields>(
  port: Port,
  op: Ioctl<F>,
  input: Input<F>,
  attachments: Attachments = NONE,
): Outcome<F> {
  port.check?.();
  const { seam, fd } = port;
  const { arena } = seam;
  const size = sizeOf(op, attachments);
  if (!arena.fits(size)) return callInBlock(port, op, input, attachments, size);
  const mark = arena.mark();
  const at = arena.take(size);
  let outcome: Outcome<F>;
  try {
    const places = encode(arena, at, op, input, attachments);
    const result = seam.ioctl(fd, op.request, at);
    outcome = { result, out: op.layout.decode(arena.view, at) };
    writeBack(arena, op, attachments, places);
  } finally {
    arena.release(mark);
  }
  if (tracing()) publish(traceOf(port, op, input, outcome));
  return outcome;
}

/** One ioctl; throws IommufdError on a refusal. `extra` says more than errno and arguments do. */
export function call<F extends Fields>(
  port: Port,
  op: Ioctl<F>,
  input: Input<F>,
  attachments?: Attachments,
): Values<F> {
  const { result, out } = tryCall(port, op, input, attachments);
  if (result < 0) throw refusal(port, op, result, input);
  return out;
}

/** One ioctl on the thread pool; a refusal is an answer. */
export async function tryCallAsync<F extends Fields>(
  port: Port,
  op: Ioctl<F>,
  input: Input<F>,
  attachments: Attachments = NONE,
): Promise<Outcome<F>> {
  port.check?.();
  const block = allocateBlock(port.seam, sizeOf(op, attachments));
  try {
    const space = spaceOf(block);
    const places = encode(space, 0, op, input, attachments);
    const result = await port.seam.ioctlAsync(port.fd, op.request, block, 0);
    const outcome = { result, out: op.layout.decode(space.view, 0) };
    writeBack(space, op, attachments, places);
    if (tracing()) publish(traceOf(port, op, input, outcome));
    return outcome;
  } finally {
    freeBlock(block);
  }
}

/** One ioctl on the thread pool; rejects with IommufdError on a refusal. */
export async function callAsync<F extends Fields>(
  port: Port,
  op: Ioctl<F>,
  input: Input<F>,
  attachments?: Attachments,
): Promise<Values<F>> {
  const { result, out } = await tryCallAsync(port, op, input, attachments);
  if (result < 0) throw refusal(port, op, result, input);
  return out;
}

/** A refused call as an error: its arguments without padding and empty fields. */
export function refusal<F extends Fields>(
  { seam }: Pick<Port, 'seam'>,
  op: Ioctl<F>,
  errno: number,
  input: Input<F>,
  extra?: string,
): IommufdError {
  const args = Object.entries(input).filter(([key, value]) => value !== undefined && !isPadding(key));
  return new IommufdError(op.name, errno, Object.fromEntries(args), extra, seam.release);
}

/** A call with more data than the arena holds. */
function callInBlock<F extends Fields>(
  port: Port,
  op: Ioctl<F>,
  input: Input<F>,
  attachments: Attachments,
  size: number,
): Outcome<F> {
  const { seam, fd } = port;
  // The struct itself stays in the arena, which is what ioctl takes; the data goes into a block.
  const block = allocateBlock(seam, size);
  const { arena } = seam;
  const mark = arena.mark();
  try {
    const at = arena.take(op.layout.size);
    const space = spaceOf(block);
    const places = encode(space, 0, op, input, attachments);
    arena.bytes.set(space.bytes.subarray(0, op.layout.size), at);
    const result = seam.ioctl(fd, op.request, at);
    const outcome = { result, out: op.layout.decode(arena.view, at) };
    writeBack(space, op, attachments, places);
    if (tracing()) publish(traceOf(port, op, input, outcome));
    return outcome;
  } finally {
    arena.release(mark);
    freeBlock(block);
  }
}

/** A zeroed block of at least `size` bytes outside the arena. */
export function allocateBlock(seam: Seam, size: number): Region {
  const bytes = Math.max(1, Math.ceil(size / seam.pageSize)) * seam.pageSize;
  const block = seam.allocateBlock(bytes);
  if (typeof block === 'number') throw new IommufdError('mmap', block, { length: bytes });
  return block;
}

export function freeBlock(block: Region): void {
  const rc = block.free();
  if (rc < 0) throw new IommufdError('munmap', rc, { address: block.address });
}

function spaceOf(block: Region): Space {
  const bytes = block.window(0, block.length);
  return { view: new DataView(bytes.buffer, bytes.byteOffset, bytes.length), bytes, address: block.address };
}

function traceOf<F extends Fields>(port: Port, op: Ioctl<F>, input: Input<F>, outcome: Outcome<F>): CallTrace {
  const { result, out: output } = outcome;
  // Copies: a listener may change what it is given.
  const copies = { input: { ...input }, result, output: { ...output } };
  return { host: port.seam.kind, fd: port.fd, syscall: op.name, ...copies };
}
