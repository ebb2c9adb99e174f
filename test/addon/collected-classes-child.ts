// Run by collected-classes.test.ts: the classes over this machine's own seam, dropped and collected at every await.
import type { EventEmitter } from 'node:events';
import type { Eventfd } from '../../lib/host/eventfd.js';
import { kernelSeam } from '../../lib/host/kernel.js';
import { Host } from '../../lib/host-object.js';
import { countLeft, gc, type Left, nextTurn } from './support.js';

export interface Told {
  /** The sum that eventfds counted. */
  readonly counted: number;
  /** The sum of bytes read through windows whose memory was dropped. */
  readonly read: number;
  /** What was warned of, each once. */
  readonly warnings: readonly string[];
  readonly before: Left;
  readonly after: Left;
}

const ROUNDS = 30;
const host = new Host(kernelSeam());
const warnings = new Set<string>();
(process as EventEmitter).on('warning', (warning: Error & { code?: string }) => warnings.add(warning.code ?? ''));

async function collect(): Promise<void> {
  gc();
  await nextTurn();
}

/** Waits for an eventfd that only the wait and a second fd know. */
async function waitForDropped(): Promise<bigint> {
  const { wait, signal } = (() => {
    const eventfd = host.createEventfd();
    const seam = kernelSeam();
    const other = seam.duplicate(eventfd.fd);
    return { wait: waitAndDrop(eventfd), signal: () => signalBy(other) };
  })();
  await collect();
  signal();
  await collect();
  const count = await wait;
  await collect();
  return count;
}

async function waitAndDrop(eventfd: Eventfd): Promise<bigint> {
  const count = await eventfd.wait();
  await collect();
  return count;
}

function signalBy(fd: number): void {
  const seam = kernelSeam();
  const { arena } = seam;
  const mark = arena.mark();
  const at = arena.take(8);
  arena.view.setBigUint64(at, 1n, true);
  seam.write(fd, at, 8);
  arena.release(mark);
  seam.close(fd);
}

/** A window of memory that nobody holds any more. */
async function windowOfDropped(value: number): Promise<Uint8Array> {
  const window = host.allocateMemory(8192).window(4096, 16);
  await collect();
  window[3] = value;
  await collect();
  return window;
}

/** Memory that only the work on it holds. */
async function prefaultDropped(): Promise<void> {
  const work = host.allocateMemory(1 << 20).prefault({ chunk: 1 << 18 });
  await collect();
  await work;
}

async function round(): Promise<{ counted: number; read: number }> {
  const counted = Number(await waitForDropped());
  const window = await windowOfDropped(7);
  await Promise.all([prefaultDropped(), prefaultDropped()]);
  await collect();
  return { counted, read: window[3] ?? 0 };
}

async function settle(): Promise<void> {
  for (let turn = 0; turn < 10; turn++) await collect();
}

await round();
await settle();
const before = countLeft();
let counted = 0;
let read = 0;
for (let at = 0; at < ROUNDS; at++) {
  const sums = await round();
  counted += sums.counted;
  read += sums.read;
}
await settle();
const told: Told = { counted, read, warnings: [...warnings], before, after: countLeft() };
console.log(JSON.stringify(told));
