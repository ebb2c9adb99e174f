// Info structs that the kernel hangs a chain of capabilities on: asking until all of it fits, and walking it. What the
// kernel filled in is walked within what was read, whatever it says.
import { UsageError } from '../host/errors.js';
import { type Port, refusal } from '../objects/call.js';
import type { Fields, Input, Ioctl, Layout, Values } from '../uapi/layout.js';
import { vfio_info_cap_header as HEADER, type vfio_device_info, type vfio_region_info } from '../uapi/vfio.js';
import { tryTailCall } from './tail-call.js';

/** The structs that have such a chain. */
type InfoFields = typeof vfio_device_info.fields | typeof vfio_region_info.fields;

/** Bytes behind the struct that are offered at first: enough for every capability that Linux 7.3 has, but sparse maps. */
const FIRST_ROOM = 256;
/** More than any driver fills; what asks for more than this is not believed. */
const MOST_ROOM = 16384;

/** One capability: its number, and the bytes from its header to the end of what was read; its own length is not told. */
export interface Capability {
  readonly id: number;
  readonly version: number;
  readonly bytes: Uint8Array;
}

export interface Info<F extends InfoFields> {
  readonly out: Values<F>;
  readonly capabilities: readonly Capability[];
}

/** The kernel's answer cannot be: it is not used, and not guessed at. */
export function senseless(op: { readonly name: string }, what: string): UsageError {
  return new UsageError('ERR_IOMMUFD_UNAVAILABLE', `${op.name}: the kernel's answer makes no sense: ${what}`);
}

/**
 * Asks for an info struct and its capabilities, with more room until all of it fits: the kernel says in argsz how much it
 * needs, and leaves cap_offset at 0 where it was not given (vfio_info_cap_add in drivers/vfio/vfio_main.c). A refusal is
 * an answer.
 */
export function tryReadInfo<F extends InfoFields>(
  port: Port,
  op: Ioctl<F>,
  input: Input<F>,
  hasCapabilities: (flags: number) => boolean,
): Info<F> | number {
  for (let room = FIRST_ROOM; ; ) {
    const tail = new Uint8Array(room);
    const { result, out } = tryTailCall(port, op, input, tail);
    if (result < 0) return result;
    const { argsz, cap_offset: first, flags } = out as Values<typeof vfio_device_info.fields>;
    const needed = argsz - op.layout.size;
    if (needed > MOST_ROOM) throw senseless(op, `it has ${needed} bytes of capabilities`);
    if (needed > room) {
      room = needed;
      continue;
    }
    const capabilities = hasCapabilities(flags) ? walk(op, first, tail) : [];
    return { out, capabilities };
  }
}

/** As `tryReadInfo`; throws IommufdError on a refusal. */
export function readInfo<F extends InfoFields>(
  port: Port,
  op: Ioctl<F>,
  input: Input<F>,
  hasCapabilities: (flags: number) => boolean,
  extra?: string,
): Info<F> {
  const info = tryReadInfo(port, op, input, hasCapabilities);
  if (typeof info === 'number') throw refusal(port, op, info, input, extra);
  return info;
}

/** The chain in `tail`, the bytes behind the struct. Offsets in it count from the start of the struct; 0 is its end. */
export function walk(
  op: { readonly name: string; readonly layout: { readonly size: number } },
  first: number,
  tail: Uint8Array,
): Capability[] {
  const view = new DataView(tail.buffer, tail.byteOffset, tail.byteLength);
  const found: Capability[] = [];
  const seen = new Set<number>();
  for (let offset = first; offset !== 0; ) {
    const at = offset - op.layout.size;
    if (at < 0 || at + HEADER.size > tail.length) throw senseless(op, `a capability lies at ${offset}`);
    if (seen.has(offset)) throw senseless(op, `its capabilities go in a circle through ${offset}`);
    seen.add(offset);
    const { id, version, next } = HEADER.decode(view, at);
    found.push({ id, version, bytes: tail.subarray(at) });
    offset = next;
  }
  return found;
}

/** The first capability of a kind, as its struct, and the bytes behind that; undefined where there is none. */
export function capability<F extends Fields>(
  op: { readonly name: string },
  capabilities: readonly Capability[],
  id: number,
  layout: Layout<F>,
): { readonly fields: Values<F>; readonly rest: Uint8Array } | undefined {
  const found = capabilities.find((one) => one.id === id);
  if (found === undefined) return undefined;
  const { bytes } = found;
  if (bytes.length < layout.size) throw senseless(op, `capability ${id} has ${bytes.length} bytes`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return { fields: layout.decode(view, 0), rest: bytes.subarray(layout.size) };
}
