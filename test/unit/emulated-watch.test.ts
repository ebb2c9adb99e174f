// Waiting for files of the emulated machine: once per arm, in a later turn, and alive only while somebody waits.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { createEmulatedHost } from '../../lib/emulated-host.js';
import { hostSeam, type Seam, type Watch } from '../../lib/unsafe.js';
import { turn } from './stage.js';

const CHILD = fileURLToPath(new URL('./emulated-watch-child.js', import.meta.url));

function stage(initial = 0) {
  const host = createEmulatedHost();
  const seam = hostSeam(host);
  const fd = seam.createEventfd(initial);
  const calls: number[] = [];
  const watch = watchOf(seam, fd, () => calls.push(calls.length));
  return { host, seam, fd, watch, calls };
}
function watchOf(seam: Seam, fd: number, onReadable: () => void): Watch {
  const watch = seam.watch(fd, onReadable);
  assert(typeof watch !== 'number');
  return watch;
}
function signal(seam: Seam, fd: number): void {
  seam.arena.view.setBigUint64(0, 1n, true);
  assert.equal(seam.write(fd, 0, 8), 8);
}

/** Whether a process ends by itself after these steps. */
function ends(steps: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [CHILD, ...steps.split(' ')], { stdio: ['ignore', 'pipe', 'inherit'] });
    let timer: NodeJS.Timeout | undefined;
    child.stdout.once('data', () => {
      timer = setTimeout(() => {
        child.kill();
        resolve(false);
      }, 500);
    });
    child.once('error', reject);
    child.once('exit', (code) => {
      clearTimeout(timer);
      if (code === 0) resolve(true);
      else if (code !== null) reject(new Error(`the child ended with ${code}`));
    });
  });
}

describe('watches of the emulated process', () => {
  it('call once per arm, in a later turn, whether the file was readable before or comes to be', async () => {
    const { seam, fd, watch, calls } = stage(1);
    watch.arm();
    watch.arm();
    assert.deepEqual(calls, [], 'not at once');
    await turn();
    assert.deepEqual(calls, [0]);
    signal(seam, fd);
    await turn();
    assert.deepEqual(calls, [0], 'not armed');
    seam.read(fd, 0, 8);
    watch.arm();
    await turn();
    assert.deepEqual(calls, [0], 'nothing to read');
    signal(seam, fd);
    signal(seam, fd);
    await turn();
    assert.deepEqual(calls, [0, 1]);
    watch.close();
  });

  it('do not call for what was read meanwhile, and stay armed', async () => {
    const { seam, fd, watch, calls } = stage();
    watch.arm();
    signal(seam, fd);
    seam.read(fd, 0, 8);
    await turn();
    assert.deepEqual(calls, []);
    signal(seam, fd);
    await turn();
    assert.deepEqual(calls, [0]);
    watch.close();
  });

  it('that were disarmed or closed do not call, even where the turn was on its way', async () => {
    const { watch, calls } = stage(1);
    watch.arm();
    watch.disarm();
    await turn();
    watch.arm();
    watch.close();
    watch.close();
    watch.arm();
    watch.ref();
    watch.unref();
    watch.disarm();
    await turn();
    assert.deepEqual(calls, []);
  });

  it('may be closed, armed and disarmed by each other’s callbacks, memory freed and files closed', async () => {
    const { host, seam, fd } = stage(1);
    const region = seam.allocateMemory({ backing: 'memfd', size: 4096, hugePageSize: 0 });
    assert(typeof region !== 'number');
    const calls: string[] = [];
    const other = watchOf(seam, fd, () => calls.push('other'));
    const again = watchOf(seam, fd, () => {
      calls.push('again');
      again.close();
      assert.equal(seam.close(fd), 0);
    });
    const first = watchOf(seam, fd, () => {
      calls.push('first');
      other.close();
      first.close();
      region.free();
      again.arm();
    });
    first.arm();
    other.arm();
    await turn(6);
    assert.deepEqual(calls, ['first', 'again']);
    assert.deepEqual([host.inspect().openFiles, host.inspect().regions], [0, 0]);
  });

  it('are refused for files that cannot be waited for, and for what is no function', () => {
    const { seam, fd } = stage();
    const region = seam.allocateMemory({ backing: 'memfd', size: 4096, hugePageSize: 0 });
    assert(typeof region !== 'number');
    const EPERM = -1;
    for (const path of ['/dev/null', '/dev/zero', '/dev/iommu']) {
      if (path !== '/dev/iommu')
        assert.equal(
          seam.watch(seam.open(path, 2), () => {}),
          EPERM,
        );
    }
    assert.equal(
      seam.watch(region.fd, () => {}),
      EPERM,
    );
    assert.throws(() => seam.watch(fd, 5 as never), { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' });
  });

  it('keep the process alive while they are armed and referenced', async () => {
    const lives = ['arm', 'unref arm ref', 'arm unref ref', 'arm disarm arm'];
    const dies = ['', 'arm unref', 'unref arm', 'arm disarm', 'arm disarm ref', 'arm close', 'arm close ref'];
    const ended = await Promise.all([...lives, ...dies].map(async (steps) => [steps, await ends(steps)]));
    assert.deepEqual(ended, [...lives.map((steps) => [steps, false]), ...dies.map((steps) => [steps, true])]);
  });
});
