// The emulated SMMUv3 at work for a guest: translation, DMA, and the command queue that the guest drives itself. Also whether
// any of it leaves work for the garbage collector.
import { type Contender, loop, type Plan } from './measure.js';
import { type Benchmark, conditions, type Line, type Row, rows } from './report.js';
import { DATA_PAGES, FIRST_PAGE, PAGE, QUEUE_LENGTH, SmmuGuest } from './smmu-guest.js';

const OPERATIONS_PLAN: Plan = { rounds: 51, iterations: 4 * QUEUE_LENGTH, warmUp: 20 };
const COPIES_PLAN: Plan = { rounds: 101, iterations: 10, warmUp: 30 };
/** 20 million hits a second, 2 million walks, 5 million commands, in nanoseconds. */
const HIT = 50;
const WALK = 500;
const QUEUED = 200;
/** 0.8 times as fast. */
const COPY = 1.25;
/** Pages that are hit: fewer than the fast path in front of the TLB holds. */
const HOT_PAGES = 512;
/** More than that holds, and fewer than the TLB does. */
const WARM_PAGES = 2048;
const STEP = 79;

const MiB = 2 ** 20;
const COPIED_PAGES = MiB / PAGE;

interface Work {
  readonly name: string;
  readonly run: (count: number) => void;
  /** What comes before it, and is not measured. */
  readonly prepare?: () => void;
  readonly limit?: number;
}

/** Reads of one page after another, among so many. */
function reads({ stream }: SmmuGuest, pages: number): (count: number) => void {
  let at = 0;
  return (count) => {
    for (let i = 0; i < count; i++) {
      at = (at + STEP) % pages;
      if (stream.translate(FIRST_PAGE + at, 8, false, 0) < 0) throw new Error('an access was refused');
    }
  };
}
/** Reads of pages that were all read before, and fit into a cache. */
function hits(guest: SmmuGuest, pages: number): Pick<Work, 'prepare' | 'run'> {
  const run = reads(guest, pages);
  return { prepare: () => run(pages), run };
}

/** Queues full of commands: `count` is a multiple of what one holds. */
function commands(guest: SmmuGuest): (count: number) => void {
  return (count) => {
    for (let i = 0; i < count; i += QUEUE_LENGTH) guest.ring();
  };
}

function works(guest: SmmuGuest): Work[] {
  return [
    { name: 'TLB hit', ...hits(guest, HOT_PAGES), limit: HIT },
    { name: 'hit among 2048 pages', ...hits(guest, WARM_PAGES) },
    // More than the TLB holds: whichever comes next was forgotten.
    { name: 'two-stage walk', run: reads(guest, DATA_PAGES), limit: WALK },
    { name: 'vQUEUE command', run: commands(guest), limit: QUEUED },
  ];
}

/** The guest's pages lie all over its memory, the device's one behind the other. */
function copies(guest: SmmuGuest, write: boolean): Benchmark {
  const { ram, deviceMemory, device } = guest;
  const memory = Buffer.from(ram.window().buffer, ram.window().byteOffset, ram.size);
  const mine = Buffer.from(deviceMemory.window().buffer, deviceMemory.window().byteOffset, MiB);
  const offsets = Array.from({ length: COPIED_PAGES }, (_, i) => guest.offsetOf(i));
  const pages = offsets.map((at, i) =>
    write ? mine.subarray(i * PAGE, (i + 1) * PAGE) : memory.subarray(at, at + PAGE),
  );
  const iova = guest.iovaOf(0);
  const contender = (name: string, copy: () => void): Contender =>
    loop(name, (iterations) => {
      guest.check();
      for (let i = 0; i < iterations; i++) copy();
    });
  const whole = memory.subarray(0, MiB);
  const name = 'DMA of 256 scattered pages';
  return {
    bench: write ? 'SMMUv3: 1 MiB from a device to memory' : 'SMMUv3: 1 MiB from memory to a device',
    unit: 'ns',
    contenders: [
      contender('256 Buffer.copy', () => {
        for (let i = 0; i < COPIED_PAGES; i++) {
          const at = offsets[i] ?? 0;
          if (write) mine.copy(memory, at, i * PAGE, (i + 1) * PAGE);
          else memory.copy(mine, i * PAGE, at, at + PAGE);
        }
      }),
      // What it would be if pages were not scattered.
      contender('one Buffer.copy', () => (write ? mine.copy(whole) : whole.copy(mine))),
      // Nothing but the copies, all views at hand: what translates and copies page by page cannot be quicker.
      contender('256 TypedArray.set', () => {
        for (let i = 0; i < COPIED_PAGES; i++) {
          const page = pages[i];
          if (page === undefined) continue;
          if (write) memory.set(page, offsets[i] ?? 0);
          else mine.set(page, i * PAGE);
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

function prepared({ name, prepare, run }: Work): Contender {
  const { run: measured } = loop(name, run);
  return {
    name,
    run: (iterations) => {
      prepare?.();
      return measured(iterations);
    },
  };
}
function translation(all: readonly Work[]): Benchmark {
  return {
    bench: 'SMMUv3: a guest with tables of four levels',
    contenders: all.map(prepared),
    limits: Object.fromEntries(all.flatMap(({ name, limit }) => (limit === undefined ? [] : [[name, limit]]))),
  };
}

const OPERATIONS = 2 ** 20;
const WARM_UP = 20;
/** So few that the collector seldom comes in between. */
const AT_ONCE = 4 * QUEUE_LENGTH;
/** Less than any object: what is more is allocated for each. */
const BYTES = 1;

/** What each of a million allocates. */
function garbage({ name, prepare, run }: Work): Row {
  prepare?.();
  for (let i = 0; i < WARM_UP; i++) run(AT_ONCE);
  let bytes = 0;
  for (let done = 0; done < OPERATIONS; done += AT_ONCE) {
    const before = process.memoryUsage().heapUsed;
    run(AT_ONCE);
    // Less than before: the collector was there, and hides what was allocated this time.
    bytes += Math.max(0, process.memoryUsage().heapUsed - before);
  }
  const value = Number((bytes / OPERATIONS).toFixed(2));
  const bench = 'SMMUv3: memory allocated for each';
  return { bench, subject: name, value, unit: 'bytes', against: name, ratio: 1, limit: BYTES, met: value <= BYTES };
}

export function* translations(): Generator<Line> {
  const guest = new SmmuGuest();
  const all = works(guest);
  yield conditions('emulated SMMUv3', OPERATIONS_PLAN);
  yield* rows(translation(all), OPERATIONS_PLAN);
  for (const work of all) yield garbage(work);
  yield conditions('DMA through it', COPIES_PLAN);
  yield* rows(copies(guest, false), COPIES_PLAN);
  yield* rows(copies(guest, true), COPIES_PLAN);
  guest.check();
}
