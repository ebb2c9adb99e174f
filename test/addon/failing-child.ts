// Run by failing.test.ts: makes everything while the process is short of fds, of address space or of mappings, and tells what
// was answered, and what was left behind.
import { readFileSync } from 'node:fs';
import koffi from 'koffi';
import { countLeft, type Left, native, page } from './support.js';

export interface Told {
  /** What each call answered, where it failed: each once. */
  readonly answers: Readonly<Record<string, readonly number[]>>;
  /** What it answered with everything there. */
  readonly unlimited: Readonly<Record<string, boolean>>;
  /** Calls that failed. */
  readonly failures: number;
  readonly before: Left & { readonly mappings: number };
  readonly after: Left & { readonly mappings: number };
}

const RLIMIT_NOFILE = 7;
const RLIMIT_AS = 9;

const libc = koffi.load('libc.so.6');
const limit = koffi.struct({ soft: 'uint64', hard: 'uint64' });
const getrlimit = libc.func('getrlimit', 'int', ['int', koffi.out(koffi.pointer(limit))]);
const setrlimit = libc.func('setrlimit', 'int', ['int', koffi.pointer(limit)]);

interface Limit {
  soft: number | bigint;
  hard: number | bigint;
}

/** Runs work with another soft limit. Work must be short: the engine lives under it too. */
function limited<T>(resource: number, soft: number, work: () => T): T {
  const saved: Limit = { soft: 0, hard: 0 };
  if (getrlimit(resource, saved) !== 0) throw new Error('getrlimit');
  if (setrlimit(resource, { ...saved, soft }) !== 0) throw new Error('setrlimit');
  const result = work();
  if (setrlimit(resource, saved) !== 0) throw new Error('setrlimit');
  return result;
}

const memfd = native.allocateMemory('memfd', 4 * page, 0);
const eventfd = native.createEventfd(0);
const nothing = () => {};

/** What makes something, and how that goes again. */
const CALLS: Readonly<Record<string, readonly [make: () => number, end: (made: number) => unknown]>> = {
  createEventfd: [() => native.createEventfd(0), native.close],
  duplicate: [() => native.duplicate(eventfd), native.close],
  open: [() => native.open('/dev/null', 0), native.close],
  memfd: [() => native.allocateMemory('memfd', page, 0), native.freeRegion],
  anonymous: [() => native.allocateMemory('anonymous', page, 0), native.freeRegion],
  block: [() => native.allocateBlock(page), native.freeRegion],
  importMemory: [() => native.importMemory(native.regionFd(memfd), page), native.freeRegion],
  mapMmio: [() => native.mapMmio(native.regionFd(memfd), 0, page), native.freeRegion],
  watchOpen: [() => native.watchOpen(eventfd, nothing), native.watchClose],
};

function countMappings(): number {
  return readFileSync('/proc/self/maps', 'utf8').split('\n').length;
}

const answers: Record<string, number[]> = {};
const unlimited: Record<string, boolean> = {};
let failures = 0;

function judge(name: string, made: number): void {
  if (made >= 0) {
    CALLS[name]?.[1](made);
    return;
  }
  failures++;
  answers[name] ??= [];
  if (!answers[name].includes(made)) answers[name].push(made);
}

/** Each call with 0, 1, 2... fds to be had. */
function withoutFds(): void {
  const taken: number[] = [];
  limited(RLIMIT_NOFILE, 128, () => {
    for (let fd = native.createEventfd(0); fd >= 0; fd = native.createEventfd(0)) taken.push(fd);
    for (let free = 0; free < 4; free++) {
      for (const [name, [make]] of Object.entries(CALLS)) judge(name, make());
      const fd = taken.pop();
      if (fd !== undefined) native.close(fd);
    }
  });
  for (const fd of taken) native.close(fd);
}

/** Each call where no more address space is to be had. */
function withoutAddresses(): void {
  for (const [name, [make]] of Object.entries(CALLS)) {
    // Whatever it needs besides is there.
    CALLS[name]?.[1](make());
    const size = Number(/^\d+/.exec(readFileSync('/proc/self/statm', 'utf8'))?.[0]) * page;
    judge(name, limited(RLIMIT_AS, size, make));
  }
}

/** Blocks, which take more than one mapping, until there is none left: and at that point again and again. */
function withoutMappings(): void {
  const most = Number(readFileSync('/proc/sys/vm/max_map_count', 'utf8'));
  const blocks = new Uint32Array(most);
  let count = 0;
  for (let block = native.allocateBlock(page); block > 0; block = native.allocateBlock(page)) blocks[count++] = block;
  for (let again = 0; again < 50; again++) judge('block', native.allocateBlock(page));
  while (count > 0) native.freeRegion(blocks[--count] ?? 0);
}

const WAYS = { fds: withoutFds, addresses: withoutAddresses, mappings: withoutMappings };

const way = WAYS[process.argv[2] as keyof typeof WAYS];
for (const [name, [make, end]] of Object.entries(CALLS)) {
  const made = make();
  unlimited[name] = made >= 0;
  end(made);
}
// Once before it counts: what libraries and the engine keep.
way();
await new Promise((resolve) => setTimeout(resolve, 50));
failures = 0;
const before = { ...countLeft(), mappings: countMappings() };
way();
await new Promise((resolve) => setTimeout(resolve, 50));
const told: Told = { answers, unlimited, failures, before, after: { ...countLeft(), mappings: countMappings() } };
console.log(JSON.stringify(told));
