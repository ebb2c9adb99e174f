// Waiting for fds to become readable.
import assert from 'node:assert/strict';
import { constants } from 'node:fs';
import { errno, listFds, native, patience, runScript, waitFor, words } from './support.js';

/** Makes an eventfd readable. */
function signal(fd: number): void {
  words[0] = 1n;
  assert.equal(native.write(fd, 0, 8), 8);
}

/** Lets the event loop turn often enough for anything that is ready to be told. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setTimeout(resolve, 1));
}

describe('addon: watches', function () {
  // Other processes are started, and machines are busy.
  this.timeout(patience);
  let fd: number;
  let fds: string[];

  beforeEach(() => {
    fds = listFds();
    fd = native.createEventfd(0);
  });

  afterEach(() => {
    native.close(fd);
    assert.deepEqual(listFds(), fds, 'a test left fds behind');
  });

  it('calls back when the fd becomes readable, once for each arming', async () => {
    let calls = 0;
    const watch = native.watchOpen(fd, () => calls++);
    assert.ok(watch > 0);
    signal(fd);
    await settle();
    assert.equal(calls, 0, 'not armed');
    native.watchArm(watch);
    native.watchArm(watch);
    assert.equal(calls, 0, 'never from inside a call');
    await waitFor(() => calls === 1);
    await settle();
    assert.equal(calls, 1, 'still readable, but told once');
    native.watchArm(watch);
    await waitFor(() => calls === 2);
    assert.equal(native.read(fd, 0, 8), 8);
    native.watchArm(watch);
    await settle();
    assert.equal(calls, 2, 'armed, but not readable');
    signal(fd);
    await waitFor(() => calls === 3);
    native.watchClose(watch);
  });

  it('forgets a wait that is disarmed', async () => {
    let calls = 0;
    const watch = native.watchOpen(fd, () => calls++);
    native.watchArm(watch);
    native.watchDisarm(watch);
    native.watchDisarm(watch);
    signal(fd);
    await settle();
    assert.equal(calls, 0);
    native.watchClose(watch);
  });

  it('watches one fd twice, each on its own', async () => {
    const calls: string[] = [];
    const first = native.watchOpen(fd, () => calls.push('first'));
    const second = native.watchOpen(fd, () => calls.push('second'));
    native.watchArm(first);
    native.watchArm(second);
    signal(fd);
    await waitFor(() => calls.length === 2);
    assert.deepEqual(calls.sort(), ['first', 'second']);
    native.watchClose(first);
    native.watchArm(second);
    await waitFor(() => calls.length === 3);
    assert.equal(calls[2], 'second');
    native.watchClose(second);
  });

  it('can be armed again and closed inside its callback', async () => {
    let calls = 0;
    const watch = native.watchOpen(fd, () => {
      calls++;
      if (calls < 3) native.watchArm(watch);
      else native.watchClose(watch);
    });
    signal(fd);
    native.watchArm(watch);
    await waitFor(() => calls === 3);
    await settle();
    assert.equal(calls, 3);
    assert.throws(() => native.watchArm(watch), {
      name: 'RangeError',
      code: 'ERR_OUT_OF_RANGE',
      message: /watch \d+ is not live/,
    });
  });

  it('says nothing after it was closed, be it readable', async () => {
    let calls = 0;
    const watch = native.watchOpen(fd, () => calls++);
    native.watchArm(watch);
    signal(fd);
    native.watchClose(watch);
    await settle();
    assert.equal(calls, 0);
    assert.throws(() => native.watchClose(watch), { code: 'ERR_OUT_OF_RANGE' });
  });

  it('forgets the file when it is closed, whatever duplicates are open', async () => {
    const duplicate = native.duplicate(fd);
    let calls = 0;
    const watch = native.watchOpen(fd, () => calls++);
    native.watchArm(watch);
    native.watchClose(watch);
    native.close(fd);
    fd = duplicate;
    const again = native.watchOpen(fd, () => calls++);
    native.watchArm(again);
    signal(fd);
    await waitFor(() => calls > 0);
    await settle();
    assert.equal(calls, 1);
    native.watchClose(again);
  });

  it('keeps no file open that its owner closed', () => {
    const event = native.createEventfd(0);
    const watch = native.watchOpen(event, () => {});
    const events = () => listFds().filter((line) => line.includes('[eventfd]')).length;
    const before = events();
    native.close(event);
    assert.equal(events(), before - 1);
    native.watchClose(watch);
  });

  it('refuses what cannot be polled', () => {
    const file = native.open('/etc/passwd', constants.O_RDONLY);
    assert.equal(
      native.watchOpen(file, () => {}),
      errno.EPERM,
    );
    native.close(file);
    assert.equal(
      native.watchOpen(file, () => {}),
      errno.EBADF,
    );
    assert.equal(
      native.watchOpen(-1, () => {}),
      errno.EBADF,
    );
  });

  it('leaves a file as blocking as it was', () => {
    const { status, stdout, stderr } = runScript(`
      import { readFileSync } from 'node:fs';
      const flags = () => Number.parseInt(/flags:\\s*(\\d+)/.exec(readFileSync('/proc/self/fdinfo/' + fd, 'utf8'))[1], 8) & 0o4000;
      const fd = native.open('/dev/ptmx', 2);
      native.watchArm(native.watchOpen(fd, () => {}));
      console.log(flags());
      process.exit(0);`);
    assert.deepEqual([stderr, stdout.trim(), status], ['', '0', 0]);
  });

  it('tells of an end as of bytes', () => {
    // The other end of the terminal is closed: a hang-up, for which nobody asked.
    const { stdout, stderr } = runScript(`
      import { spawn } from 'node:child_process';
      const child = spawn('true');
      const fd = native.duplicate(child.stdout._handle.fd);
      child.stdout.destroy();
      const watch = native.watchOpen(fd, () => { console.log('told', native.read(fd, 0, 8)); native.watchClose(watch); });
      native.watchArm(watch);`);
    assert.deepEqual([stderr, stdout.trim()], ['', 'told 0']);
  });

  it('keeps the process alive while it is armed, unless it is unreferenced', () => {
    const run = (body: string) => {
      const { stdout, stderr } = runScript(`
        const fd = native.createEventfd(0);
        const watch = native.watchOpen(fd, () => console.log('readable'));
        const signal = () => { new BigUint64Array(native.arena().buffer)[0] = 1n; native.write(fd, 0, 8); };
        process.on('exit', () => console.log('exit'));
        ${body}`);
      assert.equal(stderr, '');
      return stdout.trim().split('\n');
    };
    const later = 'setTimeout(signal, 50).unref();';
    assert.deepEqual(run(`native.watchArm(watch); ${later}`), ['readable', 'exit']);
    assert.deepEqual(run(`${later}`), ['exit'], 'not armed');
    assert.deepEqual(run(`native.watchArm(watch); native.watchUnref(watch); ${later}`), ['exit'], 'unreferenced');
    assert.deepEqual(run(`native.watchUnref(watch); native.watchArm(watch); ${later}`), ['exit'], 'before arming');
    const back = `native.watchUnref(watch); native.watchArm(watch); native.watchRef(watch); ${later}`;
    assert.deepEqual(run(back), ['readable', 'exit'], 'and referenced again');
    assert.deepEqual(run(`native.watchArm(watch); native.watchDisarm(watch); ${later}`), ['exit'], 'disarmed');
    assert.deepEqual(run(`native.watchArm(watch); native.watchClose(watch); ${later}`), ['exit'], 'closed');
  });

  it('makes what its callback throws an uncaught exception', () => {
    const script = (before: string) => `
      ${before}
      const fd = native.createEventfd(1);
      const watch = native.watchOpen(fd, () => {
        process.nextTick(() => console.log('tick'));
        throw new Error('thrown by the callback');
      });
      native.watchArm(watch);`;
    const fatal = runScript(script(''));
    assert.match(fatal.stderr, /Error: thrown by the callback/);
    assert.equal(fatal.status, 1);
    const caught = runScript(script(`process.on('uncaughtException', (error) => console.log(error.message));`));
    assert.deepEqual([caught.stderr, caught.status], ['', 0]);
    assert.deepEqual(caught.stdout.trim().split('\n').sort(), ['thrown by the callback', 'tick']);
  });

  it('runs ticks and promises after its callback', async () => {
    const order: string[] = [];
    const watch = native.watchOpen(fd, () => {
      process.nextTick(() => order.push('tick'));
      Promise.resolve().then(() => order.push('promise'));
      order.push('callback');
    });
    native.watchArm(watch);
    signal(fd);
    await waitFor(() => order.length > 0);
    assert.deepEqual(order, ['callback', 'tick', 'promise']);
    native.watchClose(watch);
  });
});
