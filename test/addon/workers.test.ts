// Each environment has its own state, and takes all of it along however it ends.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { errno, listFds, listMappings, native, waitFor, workerScript } from './support.js';

const large = 64 << 20;

/** What a worker may have in hand when it ends. */
const everything = `
  const keep = (globalThis.keep = []);
  const fd = native.createEventfd(0);
  const readable = native.createEventfd(1);
  const block = native.allocateBlock(65536);
  const memory = native.allocateMemory('memfd', ${large}, 0);
  const imported = native.importMemory(native.regionFd(memory), 8192);
  const mmio = native.mapMmio(native.regionFd(memory), 0, 4096);
  keep.push(native.arena().buffer, native.window(memory, 0, 4096), native.window(memory, 0, ${large}));
  keep.push(native.window(imported, 0, 8192), native.unsafeWindow(mmio, 0, 4096), native.window(block, 0, 65536));
  new Uint8Array(keep[1])[0] = 1;
  const watch = (fd, done) => { const watch = native.watchOpen(fd, done); native.watchArm(watch); return watch; };
  watch(fd, () => {});
  watch(fd, () => {});
  native.watchOpen(fd, () => {});
`;

/** How far a worker has come when it is terminated. Each tells its parent when it is there. */
const stages: Record<string, string> = {
  'before it has done anything': `tell('ready'); setInterval(() => {}, 1000);`,
  'with everything open and armed': `${everything} tell('ready');`,
  'with a watch about to call back': `${everything} watch(readable, () => {}); tell('ready'); for (;;);`,
  'inside the callback of a watch': `${everything} watch(readable, () => { tell('ready'); for (;;); });`,
  'with work in flight': `${everything}
    for (let i = 0; i < 8; i++) native.prefault(memory, 0, ${large}, () => {});
    native.ioctlAsync(fd, 0x5401, block, 0, () => {});
    native.close(fd);
    tell('ready');`,
  'inside the callback of work': `${everything} native.prefault(memory, 0, 4096, () => { tell('ready'); for (;;); });`,
  'after watches were closed, before libuv gave them back': `${everything}
    native.watchClose(watch(readable, () => {}));
    tell('ready');
    for (;;);`,
  'after regions were freed, before V8 gave the windows back': `${everything}
    native.freeRegion(mmio);
    native.freeRegion(imported);
    native.freeRegion(memory);
    tell('ready');
    for (;;);`,
  'after regions were dropped': `${everything}
    native.dropRegion(mmio);
    native.dropRegion(memory);
    native.prefault(imported, 0, 8192, () => {});
    native.dropRegion(imported);
    keep.length = 2;
    tell('ready');`,
};

function ownMappings(): number {
  return listMappings().filter((mapping) => mapping.file.includes('iommufd-memory')).length;
}

describe('addon: worker threads', function () {
  // Other processes are started, and machines are busy.
  this.timeout(20_000);
  before(async () => {
    // The first worker of a process makes it open what it keeps.
    const worker = new Worker(workerScript(''), { eval: true });
    await once(worker, 'exit');
  });

  for (const [stage, script] of Object.entries(stages)) {
    it(`leaves nothing of a worker terminated ${stage}`, async function () {
      this.timeout(20_000);
      const fds = listFds();
      const mappings = ownMappings();
      for (let round = 0; round < 3; round++) {
        const worker = new Worker(workerScript(script), { eval: true });
        const failed = once(worker, 'error').then(([error]) => Promise.reject(error));
        const [message] = await Promise.race([once(worker, 'message'), failed]);
        failed.catch(() => {});
        assert.equal(message, 'ready');
        await worker.terminate();
      }
      assert.deepEqual(listFds(), fds);
      assert.equal(ownMappings(), mappings);
    });
  }

  it('leaves nothing of a worker that ends by itself, or by an exception', async () => {
    const fds = listFds();
    const mappings = ownMappings();
    for (const end of ['process.exit(0);', 'throw new Error("the end");']) {
      const worker = new Worker(workerScript(`${everything} tell('ready'); ${end}`), { eval: true });
      worker.on('error', (error) => assert.match(error.message, /the end/));
      await new Promise((resolve) => worker.on('exit', resolve));
    }
    assert.deepEqual(listFds(), fds);
    assert.equal(ownMappings(), mappings);
  });

  it('shares nothing between environments but the fds, which are the process’s', async () => {
    const owned = native.ownedFds();
    const live = native.liveRegions();
    const fd = native.createEventfd(0);
    const worker = new Worker(
      workerScript(`${everything}
        tell([native.ownedFds(), native.liveRegions(), native.close(${fd}), Number(native.arena().address)]);`),
      { eval: true },
    );
    const [[fds, regions, closed, address]] = await once(worker, 'message');
    assert.deepEqual([fds, regions, closed], [2, 4, errno.EBADF]);
    assert.notEqual(address, Number(native.arena().address));
    assert.equal(native.ownedFds(), owned + 1);
    assert.equal(native.liveRegions(), live);
    await worker.terminate();
    assert.equal(native.close(fd), 0);
  });

  it('waits for an fd that a worker makes readable', async () => {
    const fd = native.createEventfd(0);
    let calls = 0;
    const watch = native.watchOpen(fd, () => calls++);
    native.watchArm(watch);
    const worker = new Worker(
      workerScript(`new BigUint64Array(native.arena().buffer)[0] = 1n; tell(native.write(${fd}, 0, 8));`),
      { eval: true },
    );
    await waitFor(() => calls === 1);
    await worker.terminate();
    native.watchClose(watch);
    native.close(fd);
  });
});
