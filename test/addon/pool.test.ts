// Work on the thread pool: what it answers, and what it keeps alive meanwhile.
import assert from 'node:assert/strict';
import { constants } from 'node:fs';
import { errno, listFds, native, nextTurn, page, patience, runScript, waitFor } from './support.js';

const TCGETS = 0x5401;
const FIONBIO = 0x5421;
const FIONREAD = 0x541b;
// Enough to keep a thread busy for a while.
const large = 64 << 20;

function ioctlAsync(fd: number, request: number, block: number, at: number): Promise<number> {
  return new Promise((resolve) => {
    assert.equal(native.ioctlAsync(fd, request, block, at, resolve), 0);
  });
}

describe('addon: the thread pool', function () {
  // Other processes are started, and machines are busy.
  this.timeout(patience);
  let block: number;
  let fds: string[];
  let live: number;

  beforeEach(() => {
    live = native.liveRegions();
    block = native.allocateBlock(page);
    fds = listFds();
  });

  afterEach(() => {
    assert.equal(native.freeRegion(block), 0);
    assert.equal(native.liveRegions(), live);
    assert.deepEqual(listFds(), fds);
  });

  it('makes ioctls with their argument in a block, and answers as they do', async () => {
    const fd = native.open(process.execPath, constants.O_RDONLY);
    native.write32(block, 8, 0);
    assert.equal(await ioctlAsync(fd, FIONREAD, block, 8), 0);
    assert.ok(native.read32(block, 8) > 0);
    assert.equal(await ioctlAsync(fd, TCGETS, block, 0), errno.ENOTTY);
    native.close(fd);
    assert.equal(await ioctlAsync(fd, FIONREAD, block, 8), errno.EBADF);
  });

  it('calls back on a later turn, with ticks and promises after it', async () => {
    const fd = native.createEventfd(0);
    const order: string[] = [];
    native.ioctlAsync(fd, FIONBIO, block, 0, () => {
      process.nextTick(() => order.push('tick'));
      Promise.resolve().then(() => order.push('promise'));
      order.push('done');
    });
    order.push('queued');
    await waitFor(() => order.length > 1);
    assert.deepEqual(order, ['queued', 'done', 'tick', 'promise']);
    native.close(fd);
  });

  it('takes its argument from blocks only, and from inside them', () => {
    const memory = native.allocateMemory('anonymous', page, 0);
    assert.throws(() => native.ioctlAsync(0, FIONREAD, memory, 0, () => {}), {
      name: 'TypeError',
      code: 'ERR_INVALID_ARG_VALUE',
      message: /"region".*block/,
    });
    native.freeRegion(memory);
    const outOfRange = { name: 'RangeError', code: 'ERR_OUT_OF_RANGE' };
    assert.throws(() => native.ioctlAsync(0, FIONREAD, block, page, () => {}), { ...outOfRange, message: /"at"/ });
    assert.throws(() => native.prefault(block, 0, page + 1, () => {}), { ...outOfRange, message: /"length"/ });
    assert.throws(() => Reflect.apply(native.prefault, null, [block, 0, page]), {
      name: 'TypeError',
      code: 'ERR_INVALID_ARG_TYPE',
      message: /"done".*a function/,
    });
  });

  for (const backing of ['memfd', 'anonymous'] as const) {
    it(`makes pages of ${backing} memory present, and only those`, async () => {
      const region = native.allocateMemory(backing, 16 * page, 0);
      const present = await new Promise((resolve) => {
        assert.equal(native.prefault(region, 4 * page + 10, 2 * page, resolve), 0);
      });
      assert.equal(present, 0);
      // Counted in a process where no other mapping is so like this one that the kernel makes them one.
      const { stdout, stderr } = runScript(`
        import { readFileSync } from 'node:fs';
        const region = native.allocateMemory('${backing}', 16 * ${page}, 0);
        const start = native.regionAddress(region).toString(16);
        const rss = () => {
          const lines = readFileSync('/proc/self/smaps', 'utf8').split('\\n');
          const at = lines.findIndex((line) => line.startsWith(start + '-'));
          return Number(/\\d+/.exec(lines.slice(at).find((line) => line.startsWith('Rss:')))[0]) * 1024;
        };
        const before = rss();
        native.prefault(region, 4 * ${page} + 10, 2 * ${page}, (result) => console.log(result, (rss() - before) / ${page}));`);
      assert.equal(stderr, '');
      assert.equal(stdout.trim(), '0 3');
      native.freeRegion(region);
    });
  }

  it('does nothing for no bytes', async () => {
    assert.equal(await new Promise((resolve) => native.prefault(block, page, 0, resolve)), 0);
  });

  it('does not free a region that is in use, and does once the work is done', async () => {
    const region = native.allocateMemory('memfd', large, 0);
    let result: number | undefined;
    assert.equal(
      native.prefault(region, 0, large, (value) => {
        result = value;
        // The region is not in use any more when the callback runs.
        assert.equal(native.freeRegion(region), 0);
      }),
      0,
    );
    assert.equal(native.freeRegion(region), errno.EBUSY);
    assert.equal(native.liveRegions(), live + 2);
    await waitFor(() => result !== undefined);
    assert.equal(result, 0);
    assert.throws(() => native.regionAddress(region), { code: 'ERR_OUT_OF_RANGE' });
  });

  it('unmaps a dropped region when the work on it is done', async () => {
    const region = native.allocateMemory('memfd', large, 0);
    let done = false;
    native.prefault(region, 0, large, () => {
      done = true;
    });
    native.dropRegion(region);
    assert.equal(native.liveRegions(), live + 2);
    await waitFor(() => done);
    assert.equal(native.liveRegions(), live + 1);
  });

  it('keeps a closed fd open until the work on it is done', async () => {
    const owned = native.ownedFds();
    const fd = native.createEventfd(0);
    const isOpen = () => listFds().some((line) => line.startsWith(`${fd} `));
    const results: number[] = [];
    // Both are in flight until the event loop turns, whatever the threads have done by then.
    native.ioctlAsync(fd, TCGETS, block, 0, (result) => results.push(result));
    native.ioctlAsync(fd, TCGETS, block, 0, (result) => results.push(result));
    assert.equal(native.disown(fd), errno.EBUSY);
    assert.equal(native.close(fd), 0);
    assert.equal(native.ownedFds(), owned, 'it is gone for its owner');
    assert.equal(native.close(fd), errno.EBADF);
    assert.equal(native.own(fd), errno.EBADF);
    assert.ok(isOpen(), 'and open for the work');
    await waitFor(() => results.length === 2);
    assert.deepEqual(results, [errno.ENOTTY, errno.ENOTTY]);
    assert.equal(isOpen(), false);
    await nextTurn();
  });

  it('makes what a callback throws an uncaught exception', () => {
    const script = (before: string) => `
      ${before}
      native.prefault(native.allocateBlock(4096), 0, 4096, () => { throw new Error('thrown by the callback'); });`;
    const fatal = runScript(script(''));
    assert.match(fatal.stderr, /Error: thrown by the callback/);
    assert.equal(fatal.status, 1);
    const caught = runScript(script(`process.on('uncaughtException', (error) => console.log(error.message));`));
    assert.deepEqual([caught.stderr, caught.status, caught.stdout.trim()], ['', 0, 'thrown by the callback']);
  });

  it('waits for work in flight when the process exits', () => {
    const { status, stderr, signal } = runScript(`
      const region = native.allocateMemory('memfd', ${large}, 0);
      for (let i = 0; i < 20; i++) native.prefault(region, 0, ${large}, () => console.log('never'));
      process.exit(3);`);
    assert.deepEqual([signal, status, stderr], [null, 3, '']);
  });
});
