// Ioctls whose struct has data behind it, in the same buffer: interrupts, features, infos with capabilities, hot resets.
import { allocateBlock, freeBlock, type Outcome, type Port, publish, refusal, tracing } from '../objects/call.js';
import type { Fields, Input, Ioctl, Values } from '../uapi/layout.js';

/**
 * One ioctl with `tail` behind its struct (argsz counts both); the tail as the kernel left it is written back. A refusal
 * is an answer, not an exception.
 */
export function tryTailCall<F extends Fields>(port: Port, op: Ioctl<F>, input: Input<F>, tail: Uint8Array): Outcome<F> {
  port.check?.();
  const { seam } = port;
  const { arena } = seam;
  const size = op.layout.size + tail.length;
  if (!arena.fits(size)) throw new RangeError(`${op.name}: ${tail.length} bytes of data are too many`);
  const mark = arena.mark();
  const at = arena.take(size);
  let outcome: Outcome<F>;
  try {
    op.layout.encode(arena.view, at, { ...input, argsz: size });
    arena.bytes.set(tail, at + op.layout.size);
    const result = seam.ioctl(port.fd, op.request, at);
    outcome = { result, out: op.layout.decode(arena.view, at) };
    tail.set(arena.bytes.subarray(at + op.layout.size, at + size));
  } finally {
    arena.release(mark);
  }
  trace(port, op, input, outcome);
  return outcome;
}

/** As `tryTailCall`, on the thread pool. */
export async function tryTailCallAsync<F extends Fields>(
  port: Port,
  op: Ioctl<F>,
  input: Input<F>,
  tail: Uint8Array,
): Promise<Outcome<F>> {
  port.check?.();
  const size = op.layout.size + tail.length;
  const block = allocateBlock(port.seam, size);
  try {
    const bytes = block.window(0, block.length);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    op.layout.encode(view, 0, { ...input, argsz: size });
    bytes.set(tail, op.layout.size);
    const result = await port.seam.ioctlAsync(port.fd, op.request, block, 0);
    const outcome = { result, out: op.layout.decode(view, 0) };
    tail.set(bytes.subarray(op.layout.size, size));
    trace(port, op, input, outcome);
    return outcome;
  } finally {
    freeBlock(block);
  }
}

function trace<F extends Fields>(port: Port, op: Ioctl<F>, input: Input<F>, { result, out }: Outcome<F>): void {
  if (!tracing()) return;
  const { seam, fd } = port;
  // Copies: a listener may change what it is given.
  publish({ host: seam.kind, fd, syscall: op.name, input: { ...input }, result, output: { ...out } });
}

/** As `tryTailCall`; throws IommufdError on a refusal. `extra` says more than errno and arguments do. */
export function tailCall<F extends Fields>(
  port: Port,
  op: Ioctl<F>,
  input: Input<F>,
  tail: Uint8Array,
  extra?: string,
): Values<F> {
  const { result, out } = tryTailCall(port, op, input, tail);
  if (result < 0) throw refusal(port, op, result, input, extra);
  return out;
}
