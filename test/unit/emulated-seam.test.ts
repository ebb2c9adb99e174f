// The seam of an emulated machine, asked for nonsense: it refuses by the addon's rules, and nothing of the machine changes.
import assert from 'node:assert/strict';
import { createEmulatedHost } from '../../lib/emulated-host.js';
import { hostSeam, type Region, uapi } from '../../lib/unsafe.js';

const PAGE = 4096;
const GiB = 2 ** 30;
const [EBADF, ENOMEM, EFAULT, EINVAL, ENOTTY] = [-9, -12, -14, -22, -25];
const { request: IOAS_ALLOC } = uapi.IOMMU_IOAS_ALLOC;
const IOAS_ALLOC_SIZE = 12;

/** Numbers that are none of a size, an offset or an address; then what is no number. */
const NUMBERS = [Number.NaN, 0.5, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 2 ** 60, -(2 ** 60)];
const OTHERS = [undefined, null, '0', {}, [], true];

function stage() {
  const host = createEmulatedHost();
  const seam = hostSeam(host);
  const fd = seam.open('/dev/iommu', 2);
  const memory = seam.allocateMemory({ backing: 'memfd', size: 2 * PAGE, hugePageSize: 0 });
  const block = seam.allocateBlock(2 * PAGE);
  assert(typeof memory !== 'number' && typeof block !== 'number');
  return { host, seam, fd, memory, block };
}

type Ask = (value: number) => unknown;
/** Every number that the seam takes. */
function asks({ seam, fd, memory, block }: ReturnType<typeof stage>): Record<string, Ask> {
  const request = (size: number, hugePageSize: number) => ({ backing: 'memfd' as const, size, hugePageSize });
  return {
    flags: (value) => seam.open('/dev/iommu', value),
    own: (value) => seam.own(value),
    disown: (value) => seam.disown(value),
    duplicate: (value) => seam.duplicate(value),
    close: (value) => seam.close(value),
    'ioctl fd': (value) => seam.ioctl(value, IOAS_ALLOC, 0),
    'ioctl request': (value) => seam.ioctl(fd, value, 0),
    'ioctl at': (value) => seam.ioctl(fd, IOAS_ALLOC, value),
    'ioctlValue fd': (value) => seam.ioctlValue(value, IOAS_ALLOC, 0),
    ioctlValue: (value) => seam.ioctlValue(fd, IOAS_ALLOC, value),
    'read at': (value) => seam.read(fd, value, 8),
    'read length': (value) => seam.read(fd, 0, value),
    'write at': (value) => seam.write(fd, value, 8),
    'write length': (value) => seam.write(fd, 0, value),
    'pread position': (value) => seam.pread(memory.fd, 0, 8, value),
    'pwrite position': (value) => seam.pwrite(memory.fd, 0, 8, value),
    size: (value) => seam.allocateMemory(request(value, 0)),
    hugePageSize: (value) => seam.allocateMemory(request(PAGE, value)),
    'import fd': (value) => seam.importMemory(value, PAGE),
    'import size': (value) => seam.importMemory(memory.fd, value),
    'block size': (value) => seam.allocateBlock(value),
    'mmio offset': (value) => seam.mapMmio(fd, value, PAGE),
    'mmio length': (value) => seam.mapMmio(fd, 0, value),
    eventfd: (value) => seam.createEventfd(value),
    watch: (value) => seam.watch(value, () => {}),
    'async fd': (value) => seam.ioctlAsync(value, IOAS_ALLOC, block, 0),
    'async at': (value) => seam.ioctlAsync(fd, IOAS_ALLOC, block, value),
  };
}

describe('the seam of an emulated machine', () => {
  for (const name of Object.keys(asks(stage()))) {
    it(`takes no nonsense: ${name}`, () => {
      const machine = stage();
      const ask = asks(machine)[name];
      assert(ask !== undefined);
      const before = machine.host.inspect();
      for (const value of NUMBERS) assert.throws(() => ask(value), { name: 'RangeError', code: 'ERR_OUT_OF_RANGE' });
      for (const value of OTHERS) {
        assert.throws(() => ask(value as never), { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' }, String(value));
      }
      assert.deepEqual(machine.host.inspect(), before);
    });
  }

  it('takes no nonsense in place of texts and blocks', () => {
    const { host, seam, fd, memory } = stage();
    const other = stage();
    for (const block of [memory, other.block, {}, undefined] as Region[]) {
      assert.throws(() => seam.ioctlAsync(fd, IOAS_ALLOC, block, 0), { name: 'TypeError' });
    }
    assert.throws(() => seam.open(5 as never, 0), { name: 'TypeError' });
    const request = { backing: 'disk' as never, size: PAGE, hugePageSize: 0 };
    assert.throws(() => seam.allocateMemory(request), { name: 'RangeError' });
    assert.equal(host.inspect().regions, 2);
  });

  it('makes memory in whole pages, of sizes that there are', () => {
    const { host, seam, memory } = stage();
    const before = host.inspect();
    const request = (size: number, hugePageSize = 0) =>
      seam.allocateMemory({ backing: 'anonymous', size, hugePageSize });
    for (const size of [0, -PAGE, 1, PAGE + 1]) {
      assert.throws(() => request(size), RangeError);
      assert.throws(() => seam.allocateBlock(size), RangeError);
      assert.throws(() => seam.importMemory(memory.fd, size), RangeError);
      assert.throws(() => seam.mapMmio(memory.fd, 0, size), RangeError);
    }
    assert.throws(() => request(PAGE, 2 ** 21), RangeError);
    assert.equal(request(2 ** 21, 2 ** 21), EINVAL);
    assert.equal(request(2 ** 52), ENOMEM);
    assert.equal(seam.importMemory(memory.fd, 3 * PAGE), EINVAL);
    assert.deepEqual(host.inspect(), before);
    // What comes after lies where it should.
    const next = request(PAGE);
    assert(typeof next !== 'number' && next.address > memory.address);
    next.write8(0, 1);
    assert.equal(memory.read8(0), 0);
  });

  it('finds an ioctl’s struct wherever it lies in memory, and nothing beside it', () => {
    const { seam, fd } = stage();
    const large = seam.allocateMemory({ backing: 'anonymous', size: 5 * GiB, hugePageSize: 0 });
    assert(typeof large !== 'number');
    for (const at of [0, 6, PAGE - 4, 4 * GiB - PAGE, 4 * GiB, 5 * GiB - IOAS_ALLOC_SIZE]) {
      const window = large.window(at, IOAS_ALLOC_SIZE);
      window.set([IOAS_ALLOC_SIZE, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
      assert.equal(seam.ioctlValue(fd, IOAS_ALLOC, Number(large.address) + at), 0, String(at));
      assert((window[8] ?? 0) > 0);
    }
    const end = Number(large.address) + 5 * GiB;
    large.window(5 * GiB - 4, 4).set([IOAS_ALLOC_SIZE, 0, 0, 0]);
    for (const address of [end - 4, end, end + PAGE, 0, -8, PAGE, 2 ** 53 - 1]) {
      assert.equal(seam.ioctlValue(fd, IOAS_ALLOC, address), EFAULT);
    }
    assert.equal(seam.ioctlValue(fd, 1, end), ENOTTY);
    large.free();
  });

  it('carries out work for the thread pool at once, whatever is closed after', async () => {
    const { host, seam, fd, block } = stage();
    block.write32(PAGE, IOAS_ALLOC_SIZE);
    const works = [0, 1].map(() => seam.ioctlAsync(fd, IOAS_ALLOC, block, PAGE));
    assert.equal(host.inspect().iommufds[0]?.objects.length, 2);
    assert.equal(seam.close(fd), 0);
    works.push(seam.ioctlAsync(fd, IOAS_ALLOC, block, PAGE));
    assert.deepEqual(await Promise.all(works), [0, 0, EBADF]);
    assert.equal(block.read32(PAGE + 8), 2);
    assert.equal(block.free(), 0);
  });
});
