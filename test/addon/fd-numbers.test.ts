// Numbers of fds that were closed behind the addon's back, or by itself, and are another file's by now: nothing that was
// remembered of the first may touch the second.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { closeSync, fstatSync, openSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import {
  collectGarbage,
  countLeft,
  errno,
  findMapping,
  type Left,
  listFds,
  listMappings,
  type Mapped,
  native,
  nextTurn,
  page,
  patience,
  waitFor,
  workerScript,
} from './support.js';

const TCGETS = 0x5401;

function isOpen(fd: number): boolean {
  try {
    fstatSync(fd);
    return true;
  } catch {
    return false;
  }
}

/** A file of somebody else's under this number, which must be the next that is free. */
function stranger(fd: number): void {
  assert.equal(openSync('/dev/null', 'r'), fd, 'the number is used again');
}

describe('addon: fd numbers that are used again', function () {
  this.timeout(patience);
  let before: Left;

  beforeEach(() => {
    before = countLeft();
  });

  afterEach(async () => {
    await collectGarbage(() => native.liveRegions() === before.regions);
    assert.deepEqual(countLeft(), before);
  });

  it('are not closed or kept by work on what they were', async () => {
    const block = native.allocateBlock(page);
    const fd = native.createEventfd(0);
    let done = false;
    native.ioctlAsync(fd, TCGETS, block, 0, () => {
      done = true;
    });
    closeSync(fd);
    assert.equal(native.createEventfd(0), fd, 'the number is used again');
    assert.equal(native.disown(fd), 0, 'nothing uses the new one');
    assert.equal(native.own(fd), 0);
    await waitFor(() => done);
    assert.ok(isOpen(fd));
    assert.equal(native.disown(fd), 0);
    assert.equal(native.own(fd), 0);
    assert.equal(native.close(fd), 0);
    assert.equal(isOpen(fd), false);
    native.freeRegion(block);
  });

  it('stay open for the last of several works', async () => {
    const block = native.allocateBlock(page);
    const fd = native.createEventfd(0);
    const seen: boolean[] = [];
    for (let work = 0; work < 3; work++) native.ioctlAsync(fd, TCGETS, block, 0, () => seen.push(isOpen(fd)));
    native.close(fd);
    await waitFor(() => seen.length === 3);
    // Given back just before the last callback.
    assert.deepEqual(seen, [true, true, false]);
    stranger(fd);
    assert.equal(native.own(fd), 0, 'nothing is remembered of the first');
    native.close(fd);
    native.freeRegion(block);
  });

  it('of regions are not those of fds that were closed behind the addon’s back', () => {
    const fd = native.createEventfd(0);
    closeSync(fd);
    const region = native.allocateMemory('memfd', page, 0);
    assert.equal(native.regionFd(region), fd, 'the number is used again');
    assert.equal(native.close(fd), errno.EBADF, 'it is the region’s');
    assert.equal(native.disown(fd), errno.EBADF);
    assert.ok(isOpen(fd));
    native.freeRegion(region);
    assert.equal(isOpen(fd), false);
    stranger(fd);
    assert.equal(native.own(fd), 0, 'nothing is remembered of the region');
    native.close(fd);
  });

  it('are not closed by the region whose they were', () => {
    const region = native.allocateMemory('memfd', page, 0);
    const fd = native.regionFd(region);
    closeSync(fd);
    assert.equal(native.createEventfd(0), fd, 'the number is used again');
    assert.equal(native.freeRegion(region), 0);
    assert.ok(isOpen(fd));
    assert.equal(native.close(fd), 0);
  });

  it('are not closed by the watch whose they were', async () => {
    const fd = native.createEventfd(0);
    const fds = new Set(listFds());
    const watch = native.watchOpen(fd, () => {});
    const epoll = Number.parseInt(listFds().find((line) => !fds.has(line)) ?? '', 10);
    assert.equal(native.close(epoll), errno.EBADF, 'it is the watch’s');
    native.watchClose(watch);
    stranger(epoll);
    assert.equal(native.own(epoll), 0, 'nothing is remembered of the watch');
    native.close(epoll);
    native.close(fd);
    await nextTurn();
  });

  it('of regions and watches are not counted as owned', () => {
    const owned = native.ownedFds();
    const region = native.allocateMemory('memfd', page, 0);
    const fd = native.createEventfd(0);
    const watch = native.watchOpen(fd, () => {});
    assert.equal(native.ownedFds(), owned + 1);
    native.watchClose(watch);
    native.close(fd);
    native.freeRegion(region);
  });
});

const ARENA = 256n * 1024n;

/** Addresses of these at which an arena lies now. The engine's own pages are as large, but nothing guards them on both sides. */
function arenasAt(addresses: readonly bigint[]): bigint[] {
  const mappings = listMappings();
  const isGuard = (at: bigint) =>
    mappings.some(({ start, end, permissions }) => start <= at && at < end && permissions === '---p');
  const isArena = ({ start, end }: Mapped) =>
    addresses.includes(start) && end - start === ARENA && isGuard(start - 1n) && isGuard(end);
  return mappings.filter(isArena).map(({ start }) => start);
}

describe('addon: addresses that are given back', function () {
  this.timeout(patience);

  it('are given back with the pages that guard them', () => {
    const block = native.allocateBlock(2 * page);
    const address = native.regionAddress(block);
    const guards = [address - 1n, address + BigInt(2 * page)];
    for (const guard of guards) assert.equal(findMapping(guard)?.permissions, '---p');
    native.freeRegion(block);
    for (const guard of guards) assert.notEqual(findMapping(guard)?.permissions, '---p');
  });

  it('are given back with the worker that had them', async () => {
    const addresses: bigint[] = [];
    for (let count = 0; count < 10; count++) {
      const script = `
        native.allocateBlock(4096);
        parentPort.once('message', () => parentPort.close());
        tell(native.arena().address);`;
      const worker = new Worker(workerScript(script), { eval: true });
      const [address]: bigint[] = await once(worker, 'message');
      assert.ok(address !== undefined);
      assert.deepEqual(arenasAt([address]), [address]);
      addresses.push(address);
      worker.postMessage('end');
      await once(worker, 'exit');
    }
    assert.deepEqual(arenasAt(addresses), []);
  });
});
