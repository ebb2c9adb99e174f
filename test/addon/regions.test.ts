// Memory, blocks and imported memory, and the ArrayBuffers over them.
import assert from 'node:assert/strict';
import { constants, ftruncateSync, mkdtempSync, readSync, rmSync, writeSync } from 'node:fs';
import { release, tmpdir } from 'node:os';
import path from 'node:path';
import koffi from 'koffi';
import {
  collectGarbage,
  errno,
  findMapping,
  listFds,
  listMappings,
  native,
  nextTurn,
  page,
  patience,
  runScript,
  watched,
} from './support.js';

const notLive = { name: 'RangeError', code: 'ERR_OUT_OF_RANGE', message: /region \d+ is not live/ };
const outOfRange = { name: 'RangeError', code: 'ERR_OUT_OF_RANGE' };

// fcntl.h
const [ADD_SEALS, GET_SEALS] = [1033, 1034];
const [SEAL_SEAL, SEAL_SHRINK, SEAL_FUTURE_WRITE, SEAL_EXEC] = [1, 2, 16, 32];

/** Opens a window that only the region remembers. */
function openAndForget(region: number): void {
  new Uint8Array(native.window(region, 0, page))[0] = 1;
}

describe('addon: regions', function () {
  // Other processes are started, and machines are busy.
  this.timeout(patience);
  let live: number;
  let fds: string[];

  beforeEach(async () => {
    live = native.liveRegions();
    fds = listFds();
  });

  afterEach(() => {
    assert.equal(native.liveRegions(), live, 'a test left regions behind');
    assert.deepEqual(listFds(), fds, 'a test left fds behind');
  });

  for (const backing of ['memfd', 'anonymous'] as const) {
    it(`reserves the addresses of ${backing} memory, zeroed, until it is freed`, () => {
      const region = native.allocateMemory(backing, 4 * page, 0);
      const address = native.regionAddress(region);
      const mapping = findMapping(address);
      assert.equal(mapping?.permissions, backing === 'memfd' ? 'rw-s' : 'rw-p');
      assert.ok(address + 4n * BigInt(page) <= (mapping?.end ?? 0n));
      assert.ok(new Uint8Array(native.window(region, 0, 4 * page)).every((byte) => byte === 0));
      assert.equal(native.freeRegion(region), 0);
      // At most empty pages of nobody's are left there, until the windows' objects are collected.
      assert.ok(mapping?.flags.includes('dc'));
      assert.equal(findMapping(address)?.flags.includes('dc') ?? false, false);
    });

    it(`keeps ${backing} memory from forked children`, () => {
      const region = native.allocateMemory(backing, page, 0);
      assert.ok(findMapping(native.regionAddress(region))?.flags.includes('dc'));
      native.freeRegion(region);
    });

    it(`says how large pages of ${backing} memory are refused`, () => {
      // Where none are reserved this is -ENOMEM; where some are, it is a region like any other.
      const region = native.allocateMemory(backing, 2 << 20, 2 << 20);
      if (region < 0) assert.equal(region, -12);
      else assert.equal(native.freeRegion(region), 0);
    });
  }

  it('hands blocks to forked children, like all memory of the process', () => {
    const block = native.allocateBlock(page);
    assert.equal(findMapping(native.regionAddress(block))?.flags.includes('dc'), false);
    assert.equal(native.regionFd(block), -1);
    native.freeRegion(block);
  });

  it('puts blocks between pages that fault', () => {
    const block = native.allocateBlock(2 * page);
    const address = native.regionAddress(block);
    assert.match(findMapping(address - 1n)?.permissions ?? '', /^---/);
    assert.match(findMapping(address + 2n * BigInt(page))?.permissions ?? '', /^---/);
    native.freeRegion(block);
  });

  it('seals memfds, so that they neither shrink nor take other seals', () => {
    const region = native.allocateMemory('memfd', 2 * page, 0);
    const fd = native.regionFd(region);
    assert.throws(() => ftruncateSync(fd, page), { code: 'EPERM' });
    // The file is the memory.
    new Uint8Array(native.window(region, 0, page)).set([7, 8, 9]);
    const bytes = new Uint8Array(3);
    readSync(fd, bytes, 0, 3, 0);
    assert.deepEqual([...bytes], [7, 8, 9]);
    native.freeRegion(region);
  });

  it('seals memfds against seals, and against being executed where Linux can', function () {
    // The library that asks switches stacks, which valgrind does not follow.
    if (watched) this.skip();
    const fcntl = koffi.load('libc.so.6').func('int fcntl(int, int, ...)');
    const region = native.allocateMemory('memfd', page, 0);
    const seals: number = fcntl(native.regionFd(region), GET_SEALS, 'int', 0);
    const [major = 0, minor = 0] = release().split('.').map(Number);
    const isNewer = major > 6 || (major === 6 && minor >= 3);
    assert.equal(seals, SEAL_SEAL | SEAL_SHRINK | (isNewer ? SEAL_EXEC : 0));
    assert.equal(fcntl(native.regionFd(region), ADD_SEALS, 'int', SEAL_FUTURE_WRITE), -1);
    native.freeRegion(region);
  });

  it('gives the addresses of all kinds of memory back', () => {
    const memory = native.allocateMemory('memfd', 2 * page, 0);
    const fd = native.regionFd(memory);
    const regions = [native.importMemory(fd, 2 * page), native.allocateMemory('anonymous', page, 0)];
    regions.push(native.mapMmio(fd, 0, page), native.allocateBlock(page), memory);
    const kept = regions.map((region) => findMapping(native.regionAddress(region)));
    for (const region of regions) native.freeRegion(region);
    const left = listMappings().map(({ start, end, permissions, file }) => `${start} ${end} ${permissions} ${file}`);
    for (const mapping of kept) {
      assert(mapping !== undefined);
      assert(!left.includes(`${mapping.start} ${mapping.end} ${mapping.permissions} ${mapping.file}`));
    }
  });

  it('imports a memfd by a duplicate of its own, and sees the same bytes', () => {
    const region = native.allocateMemory('memfd', page, 0);
    const imported = native.importMemory(native.regionFd(region), page);
    assert.notEqual(native.regionFd(imported), native.regionFd(region));
    assert.ok(findMapping(native.regionAddress(imported))?.flags.includes('dc'));
    native.write32(region, 0, 0xfeed);
    assert.equal(native.freeRegion(region), 0);
    assert.equal(native.read32(imported, 0), 0xfeed);
    assert.equal(native.freeRegion(imported), 0);
  });

  it('imports no more than a memfd holds, and nothing that can be cut short', () => {
    const region = native.allocateMemory('memfd', page, 0);
    assert.equal(native.importMemory(native.regionFd(region), 2 * page), errno.EINVAL);
    native.freeRegion(region);
    const event = native.createEventfd(0);
    assert.equal(native.importMemory(event, page), errno.EINVAL);
    native.close(event);
    assert.equal(native.importMemory(event, page), errno.EBADF);
    const folder = mkdtempSync(path.join(tmpdir(), 'iommufd-import-'));
    const file = native.open(path.join(folder, 'file'), constants.O_RDWR | constants.O_CREAT);
    writeSync(file, new Uint8Array(page));
    assert.equal(native.importMemory(file, page), errno.EINVAL);
    native.close(file);
    rmSync(folder, { recursive: true });
    // Files of /dev/shm are memory too, but sealed against being sealed.
    const shared = `/dev/shm/iommufd-${process.pid}`;
    const unsealable = native.open(shared, constants.O_RDWR | constants.O_CREAT);
    rmSync(shared);
    writeSync(unsealable, new Uint8Array(page));
    assert.equal(native.importMemory(unsealable, page), errno.EPERM);
    native.close(unsealable);
  });

  it('refuses sizes that are no whole pages, before the kernel is asked', () => {
    assert.throws(() => native.allocateMemory('memfd', page + 1, 0), { ...outOfRange, message: /"size"/ });
    assert.throws(() => native.allocateMemory('memfd', 0, 0), outOfRange);
    assert.throws(() => native.allocateMemory('memfd', page, 2 << 20), outOfRange);
    assert.throws(() => native.allocateMemory('memfd', 3 << 20, 3 << 20), { ...outOfRange, message: /"hugePageSize"/ });
    assert.throws(() => native.allocateMemory('memfd', page, 512), outOfRange);
    assert.throws(() => native.allocateBlock(100), outOfRange);
    assert.throws(() => native.importMemory(0, 100), outOfRange);
    assert.throws(() => native.mapMmio(0, 100, page), { ...outOfRange, message: /"offset"/ });
    assert.throws(() => native.mapMmio(0, 0, 100), { ...outOfRange, message: /"length"/ });
    assert.throws(() => Reflect.apply(native.allocateMemory, null, ['paper', page, 0]), {
      name: 'TypeError',
      code: 'ERR_INVALID_ARG_VALUE',
    });
    // valgrind, which hands out addresses itself, says it otherwise.
    const tooMuch = watched ? errno.EINVAL : errno.ENOMEM;
    assert.equal(native.allocateMemory('anonymous', 2 ** 52, 0), tooMuch);
    assert.equal(native.allocateBlock(2 ** 52), tooMuch);
  });

  it('empties every window at once when a region is freed, overlapping ones too', () => {
    const region = native.allocateMemory('memfd', 4 * page, 0);
    const whole = native.window(region, 0, 4 * page);
    const part = native.window(region, page, page);
    const same = native.window(region, page, page);
    const view = new Uint8Array(part, 8, 8);
    new Uint8Array(whole)[page + 8] = 42;
    assert.equal(view[0], 42);
    assert.equal(new Uint8Array(same)[8], 42);
    const address = native.regionAddress(region);
    assert.equal(native.freeRegion(region), 0);
    assert.deepEqual([whole.byteLength, part.byteLength, same.byteLength, view.length], [0, 0, 0, 0]);
    assert.equal(view[0], undefined);
    assert.ok(!(findMapping(address)?.file ?? '').includes('iommufd-memory'));
  });

  it('gives empty windows anywhere, the end included', () => {
    const region = native.allocateBlock(page);
    assert.equal(native.window(region, page, 0).byteLength, 0);
    assert.equal(native.window(region, 0, 0).byteLength, 0);
    assert.throws(() => native.window(region, page, 1), { ...outOfRange, message: /"length"/ });
    assert.throws(() => native.window(region, page + 1, 0), { ...outOfRange, message: /"offset"/ });
    native.freeRegion(region);
  });

  it('gives no window of more than 4 GiB', () => {
    // Mapped, not touched.
    const size = 5 * 2 ** 30;
    const region = native.allocateMemory('memfd', size, 0);
    assert.ok(region > 0);
    assert.throws(() => native.window(region, 0, size), { ...outOfRange, message: /4 GiB/ });
    const high = native.window(region, size - page, page);
    new Uint8Array(high)[page - 1] = 5;
    assert.equal(native.read8(region, size - 1), 5);
    assert.equal(native.freeRegion(region), 0);
  });

  it('stays safe where a window was given away', async () => {
    const region = native.allocateMemory('memfd', page, 0);
    const window = native.window(region, 0, page);
    let moved: ArrayBuffer | undefined;
    try {
      moved = structuredClone(window, { transfer: [window] });
    } catch {
      // Newer versions of Node refuse to.
    }
    // A view of the region itself, in versions of V8 that can.
    const transfer: unknown = Reflect.get(window, 'transfer');
    const taken: unknown = typeof transfer === 'function' ? transfer.call(window) : undefined;
    assert.equal(native.freeRegion(region), 0);
    assert.throws(() => native.read8(region, 0), notLive);
    for (const buffer of [window, moved, taken]) {
      if (buffer instanceof ArrayBuffer && buffer.byteLength > 0) new Uint8Array(buffer).fill(1);
    }
    await nextTurn();
  });

  it('never gives the number of a freed region to another', () => {
    const first = native.allocateBlock(page);
    native.freeRegion(first);
    const numbers = new Set([first]);
    for (let count = 1; count < 1000; count++) {
      const another = native.allocateBlock(page);
      numbers.add(another);
      native.freeRegion(another);
    }
    assert.equal(numbers.size, 1000);
    const second = native.allocateBlock(page);
    assert.throws(() => native.regionAddress(first), notLive);
    assert.throws(() => native.regionFd(first), notLive);
    assert.throws(() => native.window(first, 0, 0), notLive);
    assert.throws(() => native.freeRegion(first), notLive);
    assert.throws(() => native.dropRegion(first), notLive);
    assert.throws(() => native.prefault(first, 0, 0, () => {}), notLive);
    assert.throws(() => native.regionAddress(0), notLive);
    assert.throws(() => native.regionAddress(2 ** 32 - 1), notLive);
    native.freeRegion(second);
  });

  it('frees a dropped region at once where there are no windows', () => {
    const region = native.allocateMemory('memfd', page, 0);
    native.dropRegion(region);
    assert.equal(native.liveRegions(), live);
    assert.throws(() => native.regionAddress(region), notLive);
  });

  it('frees a dropped region when its last window is collected', async () => {
    const region = native.allocateMemory('memfd', page, 0);
    openAndForget(region);
    let kept: ArrayBuffer | undefined = native.window(region, 0, page);
    native.write32(region, 0, 77);
    native.dropRegion(region);
    await collectGarbage(() => native.liveRegions() === live);
    assert.equal(native.liveRegions(), live + 1, 'a window is left');
    assert.equal(new Uint32Array(kept)[0], 77, 'and has the memory');
    kept = undefined;
    await collectGarbage(() => native.liveRegions() === live);
    assert.equal(native.liveRegions(), live);
  });

  it('frees a region while finalizers of its windows are still to come', async () => {
    const { status, stdout, stderr } = runScript(`
      const open = (region) => { for (let i = 0; i < 100; i++) new Uint8Array(native.window(region, 0, 4096))[0] = 1; };
      for (let round = 0; round < 20; round++) {
        const region = native.allocateMemory('memfd', 65536, 0);
        open(region);
        const kept = native.window(region, 0, 65536);
        gc();
        if (native.freeRegion(region) !== 0 || kept.byteLength !== 0 || native.liveRegions() !== 0) process.exit(1);
        if (round % 3 === 0) await new Promise(setImmediate);
      }
      const reserved = async () => (await import('node:fs')).readFileSync('/proc/self/maps', 'utf8').includes('iommufd-memory');
      gc();
      await new Promise(setImmediate);
      console.log(await reserved());`);
    assert.equal(stderr, '');
    assert.deepEqual([status, stdout.trim()], [0, 'false']);
  });

  it('keeps addresses that work on other threads still writes to', () => {
    const { status, signal, stderr } = runScript(`
      const { randomFill } = await import('node:crypto');
      let left = 40;
      for (let round = 0; round < 40; round++) {
        const region = native.allocateMemory('anonymous', 1 << 20, 0);
        randomFill(new Uint8Array(native.window(region, 0, 1 << 20)), () => left--);
        if (native.freeRegion(region) !== 0) process.exit(1);
        await new Promise(setImmediate);
        if (round % 8 === 0) gc();
      }
      process.on('exit', () => { process.exitCode = left === 0 ? 0 : 2; });`);
    assert.deepEqual({ status, signal, stderr }, { status: 0, signal: null, stderr: '' });
  });
});
