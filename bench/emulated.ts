// The emulated kernel with many mappings alive: how long a mapping more takes, and how much memory each takes.
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { createEmulatedHost, type EmulatedHost } from '../lib/emulated-host.js';
import { mapCalls } from './map-calls.js';
import { type Contender, loop } from './measure.js';
import type { Benchmark, Row } from './report.js';

const PAGE = 4096;
const LIVE = [1_000, 100_000, 1_000_000] as const;
const FIRST_PAGE = 0x1000;
/** How much longer a pair may take with a million alive than with a thousand. */
const GROWTH = 2.5;
/** A million pairs a second. */
const NANOSECONDS = 1000;
const BYTES = 160;

/** Mappings on every second page, and pairs on the pages between them, all over the place. */
function crowded(host: EmulatedHost, live: number): Contender {
  const iommufd = host.openIommufd();
  const ioas = iommufd.allocIoas();
  const memory = host.allocateMemory(PAGE, { backing: 'anonymous' });
  // A step that shares no factor with the counts above.
  const calls = mapCalls(iommufd, ioas, memory, PAGE, (i) => FIRST_PAGE + 1 + 2 * ((i * 7919) % live));
  calls.fill(FIRST_PAGE, live);
  return loop(`${live.toLocaleString('en')} alive`, calls.pairs);
}

/** MAP and UNMAP with more and more mappings alive. */
export function crowds(): Benchmark {
  const host = createEmulatedHost({ machine: 'selftest' });
  const [least, , most] = LIVE;
  return {
    bench: 'emulated kernel: map and unmap 4 KiB',
    contenders: LIVE.map((live) => crowded(host, live)),
    targets: { [`${most.toLocaleString('en')} alive`]: GROWTH },
    limits: { [`${least.toLocaleString('en')} alive`]: NANOSECONDS },
  };
}

setFlagsFromString('--expose-gc');
const gc: () => void = runInNewContext('gc');

function used(): number {
  // Twice: what typed arrays let go is given back only after a collection.
  gc();
  gc();
  const { heapUsed, external, arrayBuffers } = process.memoryUsage();
  return heapUsed + Math.max(external, arrayBuffers);
}

/** What a million mappings take, the memory that they map aside. */
export function bytesPerMapping(): Row {
  const [, , live] = LIVE;
  const host = createEmulatedHost({ machine: 'selftest' });
  const iommufd = host.openIommufd();
  const memory = host.allocateMemory(PAGE, { backing: 'anonymous' });
  const calls = mapCalls(iommufd, iommufd.allocIoas(), memory, PAGE, () => 0);
  const before = used();
  calls.fill(FIRST_PAGE, live);
  const value = Math.round((used() - before) / live);
  iommufd.close();
  const subject = `${live.toLocaleString('en')} alive`;
  const bench = 'emulated kernel: memory per mapping';
  return { bench, subject, value, unit: 'bytes', against: subject, ratio: 1, limit: BYTES, met: value <= BYTES };
}
