// One ioctl as text: its struct by field, what lies behind its pointers, and what came back; and the other way round, an
// answer put where the kernel would have written it.
import { jsonSafe } from '../host/errors.js';
import type { Fields, Ioctl, Layout } from '../uapi/layout.js';
import { isPadding } from '../uapi/layout.js';
import { bytesText, type NameAt, textBytes } from './bytes.js';
import {
  answersFile,
  givesFd,
  givesPhysical,
  ioctlOf,
  type Numbers,
  pointedLength,
  tailAnswersFd,
  tailFds,
  tailPointer,
  takesFd,
} from './ioctls.js';
import type { Names } from './names.js';
import { hexText, type Json, type Line, notATranscript, resultNumber, resultText } from './transcript.js';

/** What a pointer leads to. */
interface Pointed {
  readonly name: string;
  readonly address: bigint;
  readonly bytes: Uint8Array;
  readonly direction: 'in' | 'out' | 'inout';
  readonly before: Uint8Array;
}

interface Request {
  readonly fd: number;
  readonly request: number;
  readonly at: number;
}

const NONE = new Uint8Array(0);

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;
const SIZE_BYTES = 4;
const POINTER_BYTES = 8;
/** Bytes that are told of a call whose struct is not known. */
const MOST_UNKNOWN = 4096;

const isZero = (value: unknown): boolean => (Array.isArray(value) ? value.every(isZero) : value === 0 || value === 0n);

export class IoctlCall {
  /** What was asked: for the line of the call. */
  readonly asked: Line;
  /** The struct's fields as they were, where it is known. */
  readonly values: Numbers;
  readonly #names: Names;
  readonly #op: Ioctl | undefined;
  /** The caller's bytes: of the struct, and of what follows it. */
  readonly #struct: Uint8Array;
  readonly #tail: Uint8Array;
  readonly #tailBefore: Uint8Array;
  readonly #structBefore: Uint8Array;
  readonly #pointed: readonly Pointed[];

  constructor(names: Names, space: Uint8Array, { fd, request, at }: Request) {
    this.#names = names;
    const op = ioctlOf(names.kindOf(fd), request);
    this.#op = op;
    // A call that is not known may start with anything.
    const room = Math.max(0, Math.min(space.length - at, op === undefined ? MOST_UNKNOWN : space.length));
    const told = room < SIZE_BYTES ? 0 : viewOf(space).getUint32(at, true);
    const sized = op === undefined || 'size' in op.layout.fields || 'argsz' in op.layout.fields;
    const length = Math.min(room, sized ? told : op.layout.size);
    const size = op === undefined ? length : Math.min(length, op.layout.size);
    this.#struct = space.subarray(at, at + size);
    this.#tail = space.subarray(at + size, at + length);
    this.#structBefore = this.#struct.slice();
    this.#tailBefore = this.#tail.slice();
    this.values = op === undefined ? {} : this.#decode(op.layout, this.#struct);
    this.#pointed = op === undefined ? [] : this.#follow(op);
    this.asked = this.#ask(fd, request);
  }

  /** The fields that the caller's struct is long enough for. */
  #fields(layout: Layout<Fields>): string[] {
    return Object.keys(layout.fields).filter(
      (name) => layout.fields[name]?.kind !== 'flex' && layout.end(name) <= this.#struct.length,
    );
  }
  #decode(layout: Layout<Fields>, bytes: Uint8Array): Record<string, unknown> {
    const whole = new Uint8Array(layout.size);
    whole.set(bytes);
    return layout.decode(viewOf(whole), 0);
  }

  #follow(op: Ioctl): Pointed[] {
    const found: Pointed[] = [];
    const add = (name: string, address: bigint, length: number, direction: Pointed['direction']) => {
      const bytes = length > 0 ? this.#names.bytes(address, length) : undefined;
      if (bytes !== undefined) found.push({ name, address, bytes, direction, before: bytes.slice() });
    };
    const length = pointedLength(op, this.values);
    for (const name of this.#fields(op.layout)) {
      const field = op.layout.fields[name];
      if (field?.kind === 'ptr') add(name, this.values[name] as bigint, length, field.direction ?? 'inout');
    }
    const behind = tailPointer(op, this.values, viewOf(this.#tail), 0);
    if (behind !== undefined && behind.at + POINTER_BYTES <= this.#tail.length) {
      add('tail', viewOf(this.#tail).getBigUint64(behind.at, true), behind.length, behind.direction);
    }
    return found;
  }

  #ask(fd: number, request: number): Line {
    const names = this.#names;
    const handle = names.fd(fd);
    if (this.#op === undefined) {
      return { fd: handle, request: hexText(request), raw: this.#bytes(this.#struct, []) };
    }
    const op = this.#op;
    const fields: Record<string, Json> = {};
    for (const name of this.#fields(op.layout)) {
      const field = op.layout.fields[name];
      const value = this.values[name];
      const isNothing = isPadding(name) && isZero(value);
      if (isNothing || field?.overlays !== undefined) continue;
      fields[name] = this.#input(name, field?.kind === 'ptr', value);
    }
    const data: Record<string, Json> = {};
    for (const { name, direction, before } of this.#pointed) if (direction !== 'out') data[name] = bytesText(before);
    return {
      ...{ fd: handle, name: op.name, in: fields },
      ...(Object.keys(data).length === 0 ? {} : { behind: data }),
      ...(this.#tail.length === 0 ? {} : { tail: this.#tailText(op) }),
    };
  }
  #input(name: string, isPointer: boolean, value: unknown): Json {
    if (isPointer) return value === 0n ? '0x0' : this.#names.address(value as bigint);
    if (takesFd(name)) return this.#names.fd(value as number);
    return jsonSafe(value) as Json;
  }

  #tailText(op: Ioctl): string {
    return this.#bytes(this.#tail, tailFds(op, this.values, this.#tail.length));
  }
  /** Bytes with the handles of addresses in them, and of fds at these offsets. */
  #bytes(bytes: Uint8Array, fds: readonly number[]): string {
    const names = this.#names;
    const view = viewOf(bytes);
    const nameAt: NameAt = (_, offset) => {
      if (fds.includes(offset) && offset + 4 <= bytes.length) {
        const fd = view.getInt32(offset, true);
        return fd < 0 ? undefined : { handle: String(names.fd(fd)), width: 4 };
      }
      if (offset % 8 !== 0 || offset + 8 > bytes.length) return undefined;
      const address = view.getBigUint64(offset, true);
      return names.isPlace(address) ? { handle: names.address(address), width: 8 } : undefined;
    };
    return bytesText(bytes, nameAt);
  }

  /** What came back. */
  tell(result: number): Line {
    const out = this.#op === undefined ? undefined : this.#outFields(this.#op.layout);
    const filled: Record<string, Json> = {};
    for (const { name, bytes, before, direction } of this.#pointed) {
      if (direction !== 'in' && !same(bytes, before)) filled[name] = bytesText(bytes);
    }
    const raw = this.#op === undefined && !same(this.#struct, this.#structBefore);
    return {
      result: this.#result(result),
      ...(out === undefined || Object.keys(out).length === 0 ? {} : { out }),
      ...(raw ? { out: this.#bytes(this.#struct, []) } : {}),
      ...(Object.keys(filled).length === 0 ? {} : { filled }),
      ...(same(this.#tail, this.#tailBefore) ? {} : { tailOut: this.#bytes(this.#tail, this.#newTailFd(result)) }),
    };
  }
  #result(result: number): Json {
    const file = this.#op === undefined || result < 0 ? undefined : answersFile(this.#op, this.values);
    return file === undefined ? resultText(result) : this.#names.made(result, file);
  }
  /** The offset of an fd that the kernel made, which has its handle from here on. */
  #newTailFd(result: number): number[] {
    const at = this.#op === undefined || result < 0 ? undefined : tailAnswersFd(this.#op, this.values);
    if (at === undefined || at + 4 > this.#tail.length) return [];
    const fd = viewOf(this.#tail).getInt32(at, true);
    if (fd < 0) return [];
    this.#names.made(fd, 'migration');
    return [at];
  }
  #outFields(layout: Layout<Fields>): Record<string, Json> {
    const after = this.#decode(layout, this.#struct);
    const out: Record<string, Json> = {};
    const fields = this.#fields(layout);
    const hidden = new Set(fields.map((name) => layout.fields[name]?.overlays));
    for (const name of fields) {
      const value = after[name];
      const isSame = JSON.stringify(jsonSafe(value)) === JSON.stringify(jsonSafe(this.values[name]));
      if (isSame || hidden.has(name)) continue;
      if (givesFd(name)) out[name] = this.#names.made(value as number, 'other');
      else if (givesPhysical(name)) out[name] = this.#names.physical(value as bigint);
      else out[name] = jsonSafe(value) as Json;
    }
    return out;
  }

  /** Puts an answer where the kernel would have: the result. */
  apply(answer: Line): number {
    const names = this.#names;
    const { out, filled, tailOut } = answer;
    if (typeof out === 'string') this.#put(this.#struct, out);
    else if (out !== undefined && this.#op !== undefined) this.#putFields(this.#op.layout, out);
    for (const { name, address, before } of this.#pointed) {
      const text = typeof filled === 'object' && filled !== null ? (filled as Line)[name] : undefined;
      if (typeof text === 'string') this.#put(names.bytes(address, before.length) ?? NONE, text);
    }
    const result = this.#op === undefined ? undefined : this.#applyResult(this.#op, answer);
    if (typeof tailOut === 'string') this.#put(this.#tail, tailOut);
    return result ?? resultNumber(answer.result);
  }
  #applyResult(op: Ioctl, { result }: Line): number | undefined {
    const file = answersFile(op, this.values);
    return file !== undefined && typeof result === 'string' && result.startsWith('fd:')
      ? this.#names.make(result, file)
      : undefined;
  }
  #put(into: Uint8Array, text: string): void {
    const bytes = textBytes(text, (handle) =>
      handle.startsWith('fd:') ? this.#names.make(handle, 'migration') : this.#names.at(handle),
    );
    if (bytes.length !== into.length)
      throw notATranscript(`${bytes.length} bytes came back where there are ${into.length}`);
    into.set(bytes);
  }
  #putFields(layout: Layout<Fields>, out: Json): void {
    const values: Record<string, unknown> = { ...this.values };
    for (const [name, text] of Object.entries(out as Line)) {
      if (!(name in layout.fields)) throw notATranscript(`${layout.name} has no field ${name}`);
      values[name] = this.#output(name, text);
    }
    const whole = new Uint8Array(layout.size);
    layout.encode(viewOf(whole), 0, values as never);
    this.#struct.set(whole.subarray(0, this.#struct.length));
  }
  #output(name: string, text: Json | undefined): unknown {
    if (givesFd(name)) return this.#names.make(text, 'other');
    if (givesPhysical(name)) return this.#names.physicalAt(String(text));
    return revive(text);
  }
}

/** A field's value from its text: hex stands for 64 bits. */
function revive(text: Json | undefined): unknown {
  if (typeof text === 'string') return BigInt(text);
  if (Array.isArray(text)) return text.map(revive);
  if (typeof text === 'object' && text !== null) {
    return Object.fromEntries(Object.entries(text).map(([key, value]) => [key, revive(value)]));
  }
  return text;
}
