// Run by any-order.test.ts: takes one of everything, lets go of it in an order, collects after every step; and so on with
// other orders. Tells what the process had before and after.
import { atLength, countLeft, gc, type Left, native, nextTurn } from './support.js';

export interface Told {
  readonly orders: number;
  /** How often work on the thread pool was done. */
  readonly done: number;
  readonly before: Left;
  readonly after: Left;
}

const OWNERS = ['fd', 'watch', 'memory', 'imported', 'mmio', 'windows'] as const;
type Owner = (typeof OWNERS)[number];

const letGo = process.argv[2] === 'dropped' ? native.dropRegion : native.freeRegion;
let done = 0;

function take(): Record<Owner, () => unknown> {
  const fd = native.createEventfd(1);
  const watch = native.watchOpen(fd, () => {});
  native.watchArm(watch);
  const memory = native.allocateMemory('memfd', 65536, 0);
  const imported = native.importMemory(native.regionFd(memory), 8192);
  const mmio = native.mapMmio(native.regionFd(memory), 0, 8192);
  const block = native.allocateBlock(65536);
  native.prefault(block, 0, 65536, () => {
    done++;
    letGo(block);
  });
  const windows = [native.window(memory, 0, 65536), native.window(imported, 4096, 4096)];
  windows.push(native.unsafeWindow(mmio, 0, 4096), native.window(memory, 4096, 8192));
  for (const window of windows) new Uint8Array(window).fill(1);
  return {
    fd: () => native.close(fd),
    watch: () => native.watchClose(watch),
    memory: () => letGo(memory),
    imported: () => letGo(imported),
    mmio: () => letGo(mmio),
    windows: () => windows.splice(0),
  };
}

function permute<T>(all: readonly T[]): T[][] {
  if (all.length < 2) return [[...all]];
  return all.flatMap((one, at) => permute(all.filter((_, other) => other !== at)).map((rest) => [one, ...rest]));
}

async function collect(): Promise<void> {
  gc();
  await nextTurn();
}

async function letGoIn(order: readonly Owner[]): Promise<void> {
  const hand = take();
  for (const owner of order) {
    hand[owner]();
    await collect();
  }
}

async function settle(): Promise<void> {
  for (let round = 0; round < 10; round++) await collect();
}

const all = permute(OWNERS);
// A twelfth of the orders is a matter of seconds; all of them are 720.
const orders = all.filter((_, index) => atLength || index % 12 === 0);
// Once before it counts: pools start their threads, and Node opens what it keeps.
await letGoIn(OWNERS);
await settle();
const before = countLeft();
for (const order of orders) await letGoIn(order);
await settle();
const told: Told = { orders: orders.length, done: done - 1, before, after: countLeft() };
console.log(JSON.stringify(told));
