// The plain files of an emulated machine, as Linux has them: eventfds, memfds, /dev/null and /dev/zero.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { EventFile } from '../../lib/emulated/kernel/event-file.js';
import { createEmulatedHost } from '../../lib/emulated-host.js';
import { hostSeam, type Region, type Seam } from '../../lib/unsafe.js';

const [EPERM, EAGAIN, EINVAL, ESPIPE] = [-1, -11, -22, -29];
const U64_MAX = 2n ** 64n - 1n;

function makeSeam(): Seam {
  return hostSeam(createEmulatedHost());
}
function memfd(seam: Seam, size: number): Region {
  const region = seam.allocateMemory({ backing: 'memfd', size, hugePageSize: 0 });
  assert(typeof region !== 'number');
  return region;
}
function put(seam: Seam, bytes: Uint8Array): void {
  seam.arena.bytes.set(bytes);
}
function got(seam: Seam, length: number): number[] {
  return [...seam.arena.bytes.subarray(0, length)];
}

describe('eventfds of the emulated machine', () => {
  it('count what is written, and are read to 0', () => {
    const value = fc.oneof(
      fc.nat({ max: 5 }).map(BigInt),
      fc.constantFrom(U64_MAX, U64_MAX - 1n, U64_MAX - 2n, 2n ** 63n),
    );
    fc.assert(
      fc.property(fc.nat({ max: 0xffff_ffff }), fc.array(fc.option(value, { nil: undefined })), (initial, steps) => {
        const seam = makeSeam();
        const fd = seam.createEventfd(initial);
        const { view } = seam.arena;
        let count = BigInt(initial);
        for (const more of steps) {
          if (more === undefined) {
            assert.equal(seam.read(fd, 0, 16), count === 0n ? EAGAIN : 8);
            if (count > 0n) assert.equal(view.getBigUint64(0, true), count);
            count = 0n;
            continue;
          }
          view.setBigUint64(0, more, true);
          const refusal = more === U64_MAX ? EINVAL : count + more >= U64_MAX ? EAGAIN : 8;
          assert.equal(seam.write(fd, 0, 8), refusal);
          if (refusal > 0) count += more;
        }
      }),
      { numRuns: 60 },
    );
  });

  it('take 8 bytes and no positions', () => {
    const seam = makeSeam();
    const fd = seam.createEventfd(1);
    assert.deepEqual([seam.read(fd, 0, 7), seam.write(fd, 0, 7), seam.read(fd, 0, 0)], [EINVAL, EINVAL, EINVAL]);
    assert.deepEqual([seam.pread(fd, 0, 8, 0), seam.pwrite(fd, 0, 8, 0)], [ESPIPE, ESPIPE]);
  });

  it('stay at the highest number when they are signalled beyond it', () => {
    const file = new EventFile(U64_MAX - 1n);
    file.signal();
    file.signal();
    const bytes = new Uint8Array(8);
    assert.equal(file.read(bytes), 8);
    assert.deepEqual([...bytes], Array(8).fill(255));
    assert.equal(file.readable(), false);
  });
});

describe('memfds of the emulated machine', () => {
  it('are read and written at a position, as far as they go', () => {
    const seam = makeSeam();
    const memory = memfd(seam, 8192);
    put(seam, Uint8Array.of(1, 2, 3, 4));
    assert.equal(seam.pwrite(memory.fd, 0, 4, 8190), 2);
    assert.equal(seam.pwrite(memory.fd, 0, 4, 8192), EPERM);
    assert.equal(seam.pwrite(memory.fd, 0, 0, 9000), 0);
    assert.deepEqual([...memory.window(8190, 2)], [1, 2]);
    assert.equal(seam.pread(memory.fd, 0, 100, 8189), 3);
    assert.deepEqual(got(seam, 3), [0, 1, 2]);
    assert.equal(seam.pread(memory.fd, 0, 100, 8192), 0);
    assert.equal(seam.pread(memory.fd, 0, 100, 2 ** 53 - 1), 0);
  });

  it('are read and written on from where the last call ended, by every fd of the file', () => {
    const seam = makeSeam();
    const memory = memfd(seam, 4096);
    const second = seam.duplicate(memory.fd);
    put(seam, Uint8Array.of(1, 2, 3, 4));
    assert.equal(seam.write(memory.fd, 0, 4), 4);
    assert.equal(seam.write(second, 0, 2), 2);
    assert.deepEqual([...memory.window(0, 7)], [1, 2, 3, 4, 1, 2, 0]);
    assert.equal(seam.read(memory.fd, 0, 8192), 4090);
    assert.equal(seam.read(second, 0, 8), 0);
    assert.equal(seam.write(second, 0, 8), EPERM);
  });
});

describe('/dev/null and /dev/zero of the emulated machine', () => {
  it('are empty, or zeros without end, and take everything', () => {
    const seam = makeSeam();
    const [nothing, zeros] = [seam.open('/dev/null', 2), seam.open('/dev/zero', 2)];
    put(seam, Uint8Array.of(1, 2, 3, 4));
    assert.deepEqual([seam.read(nothing, 0, 4), seam.pread(nothing, 0, 4, 9)], [0, 0]);
    assert.deepEqual([seam.write(nothing, 0, 4), seam.pwrite(zeros, 0, 4, 9)], [4, 4]);
    assert.deepEqual(got(seam, 4), [1, 2, 3, 4]);
    assert.equal(seam.read(zeros, 0, 3), 3);
    assert.deepEqual(got(seam, 4), [0, 0, 0, 4]);
    assert.equal(seam.ioctl(nothing, 1, 0), -25);
    assert.equal(seam.ioctlValue(nothing, 1, 0), -25);
  });
});
