// Fds of another process, and its eventfds. The process here is this one: the kernel makes no difference.
import assert from 'node:assert/strict';
import { bytes, errno, isCloseOnExec, listFds, native, words } from './support.js';

const ESRCH = -3;
const FULL = 2n ** 64n - 2n;

describe('peers', () => {
  it('duplicates the fd of a process, and owns it', () => {
    const before = listFds();
    const fd = native.createEventfd(3);
    const taken = native.takeFd(process.pid, fd);
    assert(taken >= 0 && taken !== fd);
    assert.equal(isCloseOnExec(taken), true);
    assert.equal(native.own(taken), errno.EEXIST);
    native.close(fd);
    assert.equal(native.read(taken, 0, 8), 8);
    assert.equal(words[0], 3n);
    assert.equal(native.close(taken), 0);
    assert.deepEqual(listFds(), before);
  });

  it('says what is not there, and leaves nothing behind', () => {
    const before = listFds();
    assert.equal(native.takeFd(process.pid, 9999), errno.EBADF);
    assert.equal(native.takeFd(2 ** 22 + 1, 0), ESRCH);
    assert.equal(native.takeFd(-1, 0), errno.EINVAL);
    assert.throws(() => native.takeFd(0.5, 0), RangeError);
    assert.deepEqual(listFds(), before);
  });

  it('signals an eventfd as a kernel does: a count that is full stays so', () => {
    const fd = native.createEventfd(0);
    assert.equal(native.signalEventfd(fd), 0);
    assert.equal(native.signalEventfd(fd), 0);
    assert.equal(native.read(fd, 0, 8), 8);
    assert.equal(words[0], 2n);
    words[0] = FULL;
    assert.equal(native.write(fd, 0, 8), 8);
    assert.equal(native.signalEventfd(fd), 0);
    assert.equal(native.read(fd, 0, 8), 8);
    assert.equal(words[0], FULL);
    native.close(fd);
  });

  it('takes a count without waiting, whatever the fd is set to', () => {
    const fd = native.createEventfd(2);
    // F_SETFL is not the addon's: FIONBIO is an ioctl.
    const FIONBIO = 0x5421;
    bytes.fill(0, 0, 4);
    assert.equal(native.ioctl(fd, FIONBIO, 0), 0);
    assert.equal(native.takeEventfd(fd), 0);
    assert.equal(native.takeEventfd(fd), errno.EAGAIN);
    native.close(fd);
    assert.equal(native.takeEventfd(fd), errno.EBADF);
  });
});
