// Run by cycles.test.ts: opens, maps, uses and closes everything again and again, and tells what the process had after each
// third of the cycles.
import { readFileSync } from 'node:fs';
import { countLeft, gc, type Left, native, nextTurn, page } from './support.js';

export interface Third extends Left {
  /** Bytes that are present. */
  readonly rss: number;
  /** Mappings of all kinds. */
  readonly mappings: number;
  /** What keeps the event loop going, as Node counts it. */
  readonly handles: number;
}

export interface Told {
  readonly cycles: number;
  readonly told: number;
  readonly thirds: readonly Third[];
}

const cycles = Number(process.argv[2]);
let told = 0;

/** One life of everything. */
function cycle(number: number): Promise<void> {
  const fd = native.createEventfd(1);
  const duplicate = native.duplicate(fd);
  const taken = native.takeFd(process.pid, duplicate);
  if (native.signalEventfd(taken) < 0 || native.takeEventfd(taken) < 0) throw new Error('no eventfd');
  native.signalEventfd(fd);
  native.close(taken);
  const memory = native.allocateMemory(number % 2 === 0 ? 'memfd' : 'anonymous', 2 * page, 0);
  const block = native.allocateBlock(page);
  new Uint8Array(native.window(memory, page, page))[5] = 1;
  const memoryFd = native.regionFd(memory);
  if (memoryFd >= 0) {
    const imported = native.importMemory(memoryFd, page);
    const mmio = native.mapMmio(memoryFd, 0, page);
    native.write32(mmio, 0, number);
    if (native.read32(imported, 0) !== number) throw new Error('another memory');
    native.freeRegion(mmio);
    native.dropRegion(imported);
  }
  native.close(duplicate);
  return new Promise((resolve) => {
    const watch = native.watchOpen(fd, () => {
      native.watchClose(watch);
      native.prefault(block, 0, page, () => {
        told++;
        native.freeRegion(block);
        native.freeRegion(memory);
        native.close(fd);
        resolve();
      });
    });
    native.watchArm(watch);
  });
}

async function look(): Promise<Third> {
  for (let round = 0; round < 6; round++) {
    gc();
    await nextTurn();
  }
  const mappings = readFileSync('/proc/self/maps', 'utf8').split('\n').length;
  const handles = process.getActiveResourcesInfo().length;
  return { ...countLeft(), rss: process.memoryUsage.rss(), mappings, handles };
}

const thirds: Third[] = [];
/** As many at a time, so that they cross each other. */
const TOGETHER = 50;
for (let number = 0; number < cycles; number += TOGETHER) {
  await Promise.all(Array.from({ length: TOGETHER }, (_, at) => cycle(number + at)));
  if (number % (cycles / 20) === 0) gc();
  if ((number + TOGETHER) * 3 >= cycles * (thirds.length + 1)) thirds.push(await look());
}
const all: Told = { cycles, told, thirds };
console.log(JSON.stringify(all));
