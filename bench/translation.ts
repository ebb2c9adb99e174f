// The emulated SMMUv3 at work for a guest: translation, DMA, and the command queue that the guest drives itself. Also whether
// any of it leaves work for the garbage collector.
import { type Contender, loop } from './measure.js';
import type { Benchmark, Row } from './report.js';
import { DATA_PAGES, FIRST_PAGE, PAGE, QUEUE_LENGTH, SmmuGuest } from './smmu-guest.js';

/** 20 million hits a second, 2 million walks, 5 million commands, in nanoseconds. */
const HIT = 50;
const WALK = 500;
const QUEUED = 200;
/** Four fifths of the speed of one copy. */
const COPY = 1.25;
/** Pages that are hit: fewer than the fast path in front of the TLB holds. */
const HOT_PAGES = 512;
/** More than that holds, and fewer than the TLB does. */
const WARM_PAGES = 4096;
const STEP = 79;

const MiB = 2 ** 20;
const COPIED_PAGES = MiB / PAGE;

/** Reads of one page after another, among so many. */
function translations({ stream }: SmmuGuest, pages: number): (count: number) => void {
  let at = 0;
  return (count) => {
    for (let i = 0; i < count; i++) {
      at = (at + STEP) % pages;
      if (stream.translate(FIRST_PAGE + at, 8, false, 0) < 0) throw new Error('an access was refused');
    }
  };
}

/** Queues full of commands: `count` is a multiple of what one holds. */
function commands(guest: SmmuGuest): (count: number) => void {
  return (count) => {
    for (let i = 0; i < count; i += QUEUE_LENGTH) guest.ring();
  };
}

interface Work {
  readonly name: string;
  readonly run: (count: number) => void;
  readonly limit?: number;
}
function works(guest: SmmuGuest): Work[] {
  return [
    { name: 'translation, known', run: translations(guest, HOT_PAGES), limit: HIT },
    { name: 'translation, known to the TLB', run: translations(guest, WARM_PAGES) },
    // More than the TLB holds: each is of a page that was forgotten.
    { name: 'translation by a walk, both stages', run: translations(guest, DATA_PAGES), limit: WALK },
    { name: 'command of the guest’s queue', run: commands(guest), limit: QUEUED },
  ];
}

/** The guest's pages lie all over its memory, the device's one behind the other. */
function copies(guest: SmmuGuest, write: boolean): Benchmark {
  const { ram, deviceMemory, device } = guest;
  const memory = Buffer.from(ram.window().buffer, ram.window().byteOffset, ram.size);
  const mine = Buffer.from(deviceMemory.window().buffer, deviceMemory.window().byteOffset, MiB);
  const offsets = Array.from({ length: COPIED_PAGES }, (_, i) => guest.offsetOf(i));
  const iova = guest.iovaOf(0);
  const contender = (name: string, copy: () => void): Contender =>
    loop(name, (iterations) => {
      guest.check();
      for (let i = 0; i < iterations; i++) copy();
    });
  const whole = memory.subarray(0, MiB);
  const name = 'DMA of 256 pages';
  return {
    bench: write ? 'SMMUv3: 1 MiB from a device to memory' : 'SMMUv3: 1 MiB from memory to a device',
    unit: 'ns',
    contenders: [
      contender('Buffer.copy, of one piece', () => (write ? mine.copy(whole) : whole.copy(mine))),
      contender('Buffer.copy, of 256 pages', () => {
        for (let i = 0; i < COPIED_PAGES; i++) {
          const at = offsets[i] ?? 0;
          if (write) mine.copy(memory, at, i * PAGE, (i + 1) * PAGE);
          else memory.copy(mine, i * PAGE, at, at + PAGE);
        }
      }),
      contender(name, () => {
        const result = write ? device.dmaWrite(iova, mine) : device.dmaRead(iova, mine);
        if (result !== 0) throw new Error('DMA was refused');
      }),
    ],
    targets: { [name]: COPY },
  };
}

export function makeGuest(): SmmuGuest {
  return new SmmuGuest();
}
export function translation(guest: SmmuGuest): Benchmark {
  const all = works(guest);
  return {
    bench: 'SMMUv3: for a guest with tables of four levels',
    contenders: all.map(({ name, run }) => loop(name, run)),
    limits: Object.fromEntries(all.flatMap(({ name, limit }) => (limit === undefined ? [] : [[name, limit]]))),
  };
}
export function* dma(guest: SmmuGuest): Generator<Benchmark> {
  yield copies(guest, false);
  yield copies(guest, true);
}

const OPERATIONS = 2 ** 20;
/** So few that the collector seldom comes in between. */
const AT_ONCE = 4 * QUEUE_LENGTH;
/** Less than any object: what is more is allocated for each. */
const BYTES = 1;

/** What a million operations allocate. */
export function* garbage(guest: SmmuGuest): Generator<Row> {
  const bench = 'SMMUv3: memory allocated for each';
  const all = works(guest);
  for (const { name, run } of all) {
    for (let i = 0; i < 20; i++) run(AT_ONCE);
    let bytes = 0;
    for (let done = 0; done < OPERATIONS; done += AT_ONCE) {
      const before = process.memoryUsage().heapUsed;
      run(AT_ONCE);
      // Less than before: the collector was there, for what was measured so far.
      bytes += Math.max(0, process.memoryUsage().heapUsed - before);
    }
    const value = Number((bytes / OPERATIONS).toFixed(2));
    yield { bench, subject: name, value, unit: 'bytes', against: name, ratio: 1, limit: BYTES, met: value <= BYTES };
  }
}
