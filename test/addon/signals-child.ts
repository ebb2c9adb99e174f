// Run by signals.test.ts: calls of the addon in a storm of signals that interrupt, with a handler that restarts nothing.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import koffi from 'koffi';
import { bytes, errno, native, page } from './support.js';

export interface Told {
  /** Signals that JavaScript heard of; those that come together are one. */
  readonly heard: number;
  readonly results: Readonly<Record<string, number>>;
}

const SIGUSR2 = 12;
const O_RDWR = 2;
const LARGE = 64 << 20;

let heard = 0;
process.on('SIGUSR2', () => heard++);
const libc = koffi.load('libc.so.6');
// libuv's handlers restart calls; after this the kernel answers EINTR, as it does under other people's handlers.
if (libc.func('int siginterrupt(int, int)')(SIGUSR2, 1) !== 0) throw new Error('siginterrupt');

const folder = mkdtempSync(path.join(tmpdir(), 'iommufd-signals-'));
const fifo = path.join(folder, 'fifo');
if (libc.func('int mkfifo(const char *, int)')(fifo, 0o600) !== 0) throw new Error('mkfifo');
const full = path.join(folder, 'full');
if (libc.func('int mkfifo(const char *, int)')(full, 0o600) !== 0) throw new Error('mkfifo');

// Signals this process all the while. Once each of them has been blocked on for some: writes to one FIFO, empties the other.
const storm = spawn(
  process.execPath,
  [
    '-e',
    `const fs = require('node:fs');
     const [parent, fifo, full] = [${process.pid}, ${JSON.stringify(fifo)}, ${JSON.stringify(full)}];
     const start = Date.now();
     let written = 0;
     const blow = () => {
       for (let i = 0; i < 20; i++) { try { process.kill(parent, 'SIGUSR2'); } catch { return; } }
       const now = Date.now() - start;
       if (written === 0 && now > 300) { written++; fs.writeSync(fs.openSync(fifo, 'r+'), 'byte'); }
       if (written === 1 && now > 600) { written++; fs.readSync(fs.openSync(full, 'r+'), Buffer.alloc(65536)); }
       setTimeout(blow, 0);
     };
     blow();`,
  ],
  { stdio: 'inherit' },
);

const results: Record<string, number> = {};

// Blocks until the other process writes.
const empty = native.open(fifo, O_RDWR);
results.read = native.read(empty, 0, 16);
results.byte = bytes[0] ?? -1;

// Blocks until the other process makes room: a FIFO holds 64 KiB.
const filled = native.open(full, O_RDWR);
results.filled = native.write(filled, 0, 65536);
results.write = native.write(filled, 0, 4096);

// On the thread pool, and in this thread meanwhile.
async function prefault(): Promise<number> {
  const region = native.allocateMemory('memfd', LARGE, 0);
  const result = await new Promise<number>((resolve) => {
    const started = native.prefault(region, 0, LARGE, resolve);
    if (started < 0) resolve(started);
  });
  return native.freeRegion(region) || result;
}

let refused = 0;
let calls = 0;
const block = native.allocateBlock(page);
for (let round = 0; round < 4; round++) {
  for (const result of await Promise.all([prefault(), prefault(), prefault()])) if (result !== 0) refused++;
  for (let call = 0; call < 500; call++) {
    const fd = native.createEventfd(1);
    const watch = native.watchOpen(fd, () => {});
    const region = native.allocateMemory('memfd', page, 0);
    native.write32(region, 0, call);
    const isRight = native.read32(region, 0) === call && native.read(fd, 0, 8) === 8;
    native.watchClose(watch);
    if (!isRight || native.freeRegion(region) !== 0 || native.close(fd) !== 0) refused++;
    calls++;
  }
}
results.refused = refused;
results.calls = calls;

// A watch is told under signals too.
const fd = native.createEventfd(0);
await new Promise<void>((resolve) => {
  const watch = native.watchOpen(fd, () => {
    native.watchClose(watch);
    resolve();
  });
  native.watchArm(watch);
  setTimeout(() => {
    bytes.fill(0, 0, 8);
    bytes[0] = 1;
    results.signalled = native.write(fd, 0, 8);
  }, 20);
});
results.again = native.read(fd, 0, 8) === 8 && native.read(fd, 0, 8) === errno.EAGAIN ? 0 : -1;

storm.kill('SIGKILL');
native.freeRegion(block);
rmSync(folder, { recursive: true });
const told: Told = { heard, results };
console.log(JSON.stringify(told));
