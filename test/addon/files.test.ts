// Opening, owning and closing fds, and moving bytes between them and the arena.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, constants, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { bytes, errno, findMapping, isCloseOnExec, listFds, native, page, patience, words } from './support.js';

const FIONREAD = 0x541b;
const FIONCLEX = 0x5450;
const TCGETS = 0x5401;

describe('addon: files', function () {
  // Other processes are started, and machines are busy.
  this.timeout(patience);
  let folder: string;
  let owned: number;

  before(() => {
    folder = mkdtempSync(path.join(tmpdir(), 'iommufd-files-'));
  });

  after(() => rmSync(folder, { recursive: true }));

  beforeEach(() => {
    owned = native.ownedFds();
  });

  afterEach(() => assert.equal(native.ownedFds(), owned, 'a test left fds open'));

  it('opens files, owns them, and closes them once', () => {
    const fd = native.open('/dev/null', constants.O_RDWR);
    assert.ok(fd >= 0);
    assert.equal(native.ownedFds(), owned + 1);
    assert.equal(native.close(fd), 0);
    assert.equal(native.close(fd), errno.EBADF);
  });

  it('answers -errno where a file cannot be opened', () => {
    assert.equal(native.open(path.join(folder, 'absent'), constants.O_RDONLY), -2);
    assert.equal(native.open(folder, constants.O_RDWR), -21);
  });

  it('never closes an fd that it does not own', () => {
    const fd = openSync('/dev/null', 'r');
    assert.equal(native.close(fd), errno.EBADF);
    closeSync(fd);
  });

  it('owns an fd from elsewhere once, and gives it away again', () => {
    const fd = openSync('/dev/null', 'r');
    assert.equal(native.own(fd), 0);
    assert.equal(native.own(fd), errno.EEXIST);
    assert.equal(native.disown(fd), 0);
    assert.equal(native.disown(fd), errno.EBADF);
    assert.equal(native.close(fd), errno.EBADF);
    closeSync(fd);
  });

  it('does not own what is not open', () => {
    const fd = openSync('/dev/null', 'r');
    closeSync(fd);
    assert.equal(native.own(fd), errno.EBADF);
    assert.equal(native.own(-1), errno.EBADF);
    assert.equal(native.duplicate(fd), errno.EBADF);
  });

  it('does not own the fd of a region a second time', () => {
    const region = native.allocateMemory('memfd', page, 0);
    assert.equal(native.own(native.regionFd(region)), errno.EEXIST);
    assert.equal(native.close(native.regionFd(region)), errno.EBADF);
    assert.equal(native.freeRegion(region), 0);
  });

  it('notices that an owned fd was closed behind its back', () => {
    const fd = native.createEventfd(0);
    closeSync(fd);
    assert.equal(native.own(fd), errno.EBADF);
    const again = openSync('/dev/null', 'r');
    assert.equal(again, fd, 'the number is used again');
    native.disown(fd);
    closeSync(again);
  });

  it('makes every fd close-on-exec', () => {
    const file = native.open('/dev/null', constants.O_RDWR);
    const event = native.createEventfd(0);
    const duplicate = native.duplicate(event);
    const region = native.allocateMemory('memfd', page, 0);
    const imported = native.importMemory(native.regionFd(region), page);
    const watch = native.watchOpen(event, () => {});
    const fds = [file, event, duplicate, native.regionFd(region), native.regionFd(imported)];
    for (const fd of fds) assert.ok(isCloseOnExec(fd), `${fd}`);
    const child = execFileSync('ls', ['/proc/self/fd'], { encoding: 'utf8' }).trim().split('\n');
    assert.deepEqual(
      child.filter((fd) => fds.includes(Number(fd)) && Number(fd) > 3),
      [],
    );
    native.watchClose(watch);
    native.freeRegion(imported);
    native.freeRegion(region);
    for (const fd of [file, event, duplicate]) native.close(fd);
  });

  it('makes an fd that it comes to own close-on-exec', () => {
    const fd = openSync('/dev/null', 'r');
    assert.equal(native.ioctlValue(fd, FIONCLEX, 0), 0);
    assert.equal(isCloseOnExec(fd), false);
    assert.equal(native.own(fd), 0);
    assert.equal(isCloseOnExec(fd), true);
    native.close(fd);
  });

  it('leaves no fd behind where something fails', () => {
    const before = listFds();
    const file = path.join(folder, 'ordinary');
    writeFileSync(file, 'x'.repeat(page));
    const fd = native.open(file, constants.O_RDWR);
    assert.equal(
      native.watchOpen(fd, () => {}),
      errno.EPERM,
    );
    assert.equal(native.importMemory(fd, page), errno.EINVAL);
    native.close(fd);
    assert.deepEqual(listFds(), before);
  });

  it('moves bytes between the arena and an fd', () => {
    const file = path.join(folder, 'bytes');
    const fd = native.open(file, constants.O_RDWR | constants.O_CREAT);
    bytes.set([1, 2, 3, 4, 5, 6, 7, 8], 64);
    assert.equal(native.write(fd, 64, 8), 8);
    assert.equal(native.pwrite(fd, 66, 2, 0), 2);
    bytes.fill(0, 64, 72);
    assert.equal(native.pread(fd, 128, 16, 1), 7);
    assert.deepEqual([...bytes.subarray(128, 135)], [4, 3, 4, 5, 6, 7, 8]);
    assert.equal(native.read(fd, 128, 16), 0, 'at the end');
    assert.equal(native.pread(fd, bytes.length, 0, 0), 0, 'an empty span may lie at the end of the arena');
    native.close(fd);
    assert.equal(native.read(fd, 0, 8), errno.EBADF);
    assert.equal(native.pwrite(fd, 0, 8, 0), errno.EBADF);
  });

  it('makes eventfds that do not block', () => {
    const fd = native.createEventfd(3);
    assert.equal(native.read(fd, 0, 8), 8);
    assert.equal(words[0], 3n);
    assert.equal(native.read(fd, 0, 8), errno.EAGAIN);
    native.close(fd);
  });

  it('makes ioctls whose argument lies in the arena, or is a value', () => {
    const fd = native.createEventfd(0);
    assert.equal(native.ioctl(fd, TCGETS, 0), errno.ENOTTY);
    assert.equal(native.ioctl(-1, TCGETS, 0), errno.EBADF);
    assert.equal(native.ioctlValue(fd, TCGETS, 0), errno.ENOTTY);
    native.close(fd);
    const plain = native.open(path.join(folder, 'ordinary'), constants.O_RDONLY);
    bytes.fill(0xff, 256, 264);
    assert.equal(native.ioctl(plain, FIONREAD, 256), 0);
    assert.equal(new DataView(bytes.buffer).getUint32(256, true), page);
    assert.equal(bytes[260], 0xff, 'and nothing behind it');
    native.close(plain);
  });

  it('keeps what it is given to the arena', () => {
    const outOfRange = { name: 'RangeError', code: 'ERR_OUT_OF_RANGE' };
    assert.throws(() => native.ioctl(0, TCGETS, bytes.length), { ...outOfRange, message: /"at"/ });
    assert.throws(() => native.ioctl(0, TCGETS, -1), outOfRange);
    assert.throws(() => native.ioctl(0, 2 ** 32, 0), { ...outOfRange, message: /"request"/ });
    assert.throws(() => native.ioctl(0.5, TCGETS, 0), { ...outOfRange, message: /"fd"/ });
    assert.throws(() => native.ioctl(Number.NaN, TCGETS, 0), outOfRange);
    assert.throws(() => native.ioctlValue(0, TCGETS, 2 ** 53), { ...outOfRange, message: /"value"/ });
    for (const call of ['read', 'write'] as const) {
      assert.throws(() => native[call](0, 8, bytes.length - 7), { ...outOfRange, message: /"length"/ });
      assert.throws(() => native[call](0, bytes.length + 1, 0), { ...outOfRange, message: /"at"/ });
    }
    for (const call of ['pread', 'pwrite'] as const) {
      assert.throws(() => native[call](0, 8, bytes.length - 7, 0), { ...outOfRange, message: /"length"/ });
      assert.throws(() => native[call](0, 0, 8, -1), { ...outOfRange, message: /"position"/ });
    }
  });

  it('names the argument of the wrong type', () => {
    const wrong: Record<string, [() => unknown, RegExp]> = {
      open: [() => Reflect.apply(native.open, null, [7, 0]), /"path".*a string/],
      'open without flags': [() => Reflect.apply(native.open, null, ['/dev/null']), /"flags".*a number/],
      ioctl: [() => Reflect.apply(native.ioctl, null, [0, '1', 0]), /"request".*a number/],
      'ioctl with a bigint': [() => Reflect.apply(native.ioctl, null, [0, 1, 0n]), /"at".*a number/],
      read: [() => Reflect.apply(native.read, null, [0, 0]), /"length".*a number/],
      watchOpen: [() => Reflect.apply(native.watchOpen, null, [0, {}]), /"onReadable".*a function/],
    };
    for (const [call, [run, message]] of Object.entries(wrong)) {
      assert.throws(run, { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE', message }, call);
    }
    assert.throws(() => native.open('/dev/null\0x', 0), { name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' });
  });

  it('has one arena, between pages that fault', () => {
    const { buffer, address } = native.arena();
    assert.equal(native.arena().buffer, buffer);
    assert.equal(buffer.byteLength, 256 * 1024);
    const inside = findMapping(address);
    assert.match(inside?.permissions ?? '', /^rw-p/);
    assert.equal(findMapping(address - 1n)?.permissions, '---p');
    assert.equal(findMapping(address + BigInt(buffer.byteLength))?.permissions, '---p');
  });

  it('takes the numbers of a prepared ioctl from the arena, and none that lie outside it', () => {
    const fd = native.createEventfd(0);
    const prepared = new DataView(bytes.buffer, bytes.length - 16, 16);
    prepared.setInt32(0, fd, true);
    // It takes no argument, so that all places will do.
    prepared.setUint32(4, FIONCLEX, true);
    for (const at of [0, 8, bytes.length - 24]) {
      prepared.setUint32(8, at, true);
      assert.equal(native.ioctlPrepared(), 0);
    }
    for (const at of [bytes.length - 16, bytes.length - 8, bytes.length, 2 ** 31, 2 ** 32 - 1]) {
      prepared.setUint32(8, at, true);
      assert.throws(() => native.ioctlPrepared(), { name: 'RangeError', code: 'ERR_OUT_OF_RANGE', message: /"at"/ });
    }
    native.close(fd);
  });
});
