// The open /dev/iommu itself.
import assert from 'node:assert/strict';
import { Iommufd } from '../../lib/index.js';
import { errnoName, IOMMU_IOAS_ALLOC, IOMMU_IOAS_MAP_FILE, IOMMU_IOAS_UNMAP } from '../../lib/uapi/index.js';
import { isOlder } from '../../lib/uapi/releases.js';
import { tryCall } from '../../lib/unsafe.js';
import { collect, hostWithout, IOVA } from '../rig/address-space.js';
import { type Bench, conformance, NO_ID, portOf, refused } from '../rig/suite.js';

const GONE = { name: 'UsageError', code: 'ERR_IOMMUFD_DESTROYED' };
const RANGE = { name: 'RangeError', code: 'ERR_OUT_OF_RANGE' };
const TYPE = { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' };
/** A file descriptor that nobody has. */
const NO_FD = 0x7fff_fff0;

/** An open file that nobody owns, closed at the end of the case unless somebody did. */
function bareFd(t: Bench, path = '/dev/iommu'): number {
  const { seam } = t.rig;
  const fd = seam.open(path, 2);
  assert(fd >= 0);
  assert.equal(seam.disown(fd), 0);
  t.later(() => {
    if (seam.own(fd) === 0) seam.close(fd);
  });
  return fd;
}

function isOpen(t: Bench, fd: number): boolean {
  const copy = t.rig.seam.duplicate(fd);
  if (copy >= 0) t.rig.seam.close(copy);
  else assert.equal(errnoName(copy), 'EBADF');
  return copy >= 0;
}

function openAndForget(t: Bench): void {
  t.rig.host.openIommufd().allocFaultQueue();
}

conformance('iommufd', (test) => {
  test('open', 'opens /dev/iommu, and closes it', (t) => {
    const iommufd = t.rig.host.openIommufd();
    const { fd } = iommufd;
    assert.equal(iommufd.closed, false);
    assert.equal(iommufd.host, t.rig.host);
    assert.equal(isOpen(t, fd), true);
    iommufd.close();
    assert.equal(iommufd.closed, true);
    assert.equal(isOpen(t, fd), false);
    assert.throws(() => iommufd.fd, GONE);
  });

  test('open-static', 'Iommufd.open is the short way', () => {
    const iommufd = Iommufd.open({ path: '/dev/iommu' });
    assert.deepEqual(iommufd.objects, []);
    iommufd.close();
  });

  test('open-wrong', 'a path that is no iommufd is refused, and closed again', (t) => {
    const { host } = t.rig;
    const error = refused('ENOTTY', () => host.openIommufd({ path: '/dev/null' }));
    assert.match(error.message, /is it an iommufd\?/);
    refused('ENOENT', () => host.openIommufd({ path: '/dev/no-such-node' }));
    assert.throws(() => host.openIommufd({ paht: '/dev/iommu' } as never), { code: 'ERR_UNKNOWN_OPTION' });
  });

  test('separate', 'two iommufds know nothing of each other', (t) => {
    const other = t.openIommufd();
    t.iommufd.allocIoas();
    assert.notEqual(other.fd, t.iommufd.fd);
    assert.deepEqual(other.objects, []);
    other.rlimitMode = 'process';
    assert.equal(t.iommufd.rlimitMode, 'user');
  });

  test('from-fd-owned', 'an fd that is given away is closed with the object', (t) => {
    const fd = bareFd(t);
    const iommufd = Iommufd.fromFd(fd, { host: t.rig.host });
    assert.equal(iommufd.fd, fd);
    iommufd.allocIoas();
    iommufd.close();
    assert.equal(isOpen(t, fd), false);
  });

  test('from-fd-borrowed', 'a borrowed fd stays open, with nothing left on it', (t) => {
    // Before it, memory that is mapped with somebody else's file stays for good: AdoptOptions says so.
    t.needs(IOMMU_IOAS_MAP_FILE);
    const { fd } = t.iommufd;
    const borrowed = Iommufd.fromFd(fd, { host: t.rig.host, ownership: 'borrowed' });
    const ioas = borrowed.allocIoas();
    const ram = t.memory();
    ioas.map(ram);
    borrowed.close();
    assert.equal(isOpen(t, fd), true);
    assert.equal(ram.mappings, 0);
    assert.equal(t.destroyId(ioas.id), 'ENOENT');
    assert.equal(t.ioctl(IOMMU_IOAS_UNMAP, { ioas_id: ioas.id, length: 1n }).code, 'ENOENT');
  });

  test('from-fd-shared', 'two objects over one fd see the same ids', (t) => {
    t.needs(IOMMU_IOAS_MAP_FILE);
    const borrowed = Iommufd.fromFd(t.iommufd.fd, { host: t.rig.host, ownership: 'borrowed' });
    const { id } = t.iommufd.allocIoas();
    const adopted = borrowed.adoptIoas(id);
    const ram = t.memory();
    adopted.map(ram, { iova: IOVA });
    assert.equal(t.iommufd.objects.length, 1);
    adopted.unmapAll();
    borrowed.adoptIoas(id).destroy();
    borrowed.close();
    assert.equal(t.destroyId(id), 'ENOENT');
  });

  test('from-fd-wrong', 'an fd that is no iommufd is refused, and stays its owner’s', (t) => {
    const { host } = t.rig;
    const fd = bareFd(t, '/dev/null');
    const error = refused('ENOTTY', () => Iommufd.fromFd(fd, { host }));
    assert.match(error.message, /is it an iommufd\?/);
    refused('ENOTTY', () => Iommufd.fromFd(fd, { host, ownership: 'borrowed' }));
    assert.equal(isOpen(t, fd), true);
    refused('EBADF', () => Iommufd.fromFd(NO_FD, { host }));
    refused('EBADF', () => Iommufd.fromFd(NO_FD, { host, ownership: 'borrowed' }));
  });

  test('from-fd-twice', 'an fd has one owner', (t) => {
    refused('EEXIST', () => Iommufd.fromFd(t.iommufd.fd, { host: t.rig.host }));
    assert.equal(isOpen(t, t.iommufd.fd), true);
  });

  test('from-fd-arguments', 'wrong arguments never reach the kernel', (t) => {
    const { host } = t.rig;
    assert.throws(() => Iommufd.fromFd(-1, { host }), RANGE);
    assert.throws(() => Iommufd.fromFd('3' as never, { host }), TYPE);
    assert.throws(() => Iommufd.fromFd(3, { host, ownership: 'mine' as never }), RANGE);
    assert.throws(() => Iommufd.fromFd(3, { owner: true } as never), { code: 'ERR_UNKNOWN_OPTION' });
  });

  test('probe', 'tells every ioctl, since when it is there, and whether it is', (t) => {
    const calls = t.iommufd.probe();
    assert.equal(calls.length, 22);
    const { release } = t.rig.host;
    for (const { name, since, supported } of calls) assert.equal(supported, !isOlder(release, since), name);
    assert(calls.every(({ since }) => /^[67]\.\d+$/.test(since)));
    assert.deepEqual(
      calls.find(({ name }) => name === 'IOMMU_FAULT_QUEUE_ALLOC'),
      { name: 'IOMMU_FAULT_QUEUE_ALLOC', since: '6.11', supported: true },
    );
    // Nothing was made by asking.
    t.iommufd.rlimitMode = 'process';
  });

  test('probe-older', 'a call that an older kernel lacks is told', (t) => {
    const iommufd = hostWithout(t, IOMMU_IOAS_UNMAP).openIommufd();
    t.later(() => iommufd.close());
    const before = t.iommufd.probe();
    const missing = iommufd.probe().filter(({ supported }, i) => supported !== before[i]?.supported);
    assert.deepEqual(missing, [{ name: 'IOMMU_IOAS_UNMAP', since: '6.2', supported: false }]);
  });

  test('rlimit-mode', 'who pays can be chosen while there is no object', (t) => {
    assert.equal(t.iommufd.rlimitMode, 'user');
    t.iommufd.rlimitMode = 'process';
    assert.equal(t.iommufd.rlimitMode, 'process');
    t.iommufd.rlimitMode = 'user';
    assert.equal(t.iommufd.rlimitMode, 'user');
  });

  test('rlimit-busy', 'and not afterwards', (t) => {
    const ioas = t.iommufd.allocIoas();
    const error = refused('EBUSY', () => {
      t.iommufd.rlimitMode = 'process';
    });
    assert.match(error.message, /hint: .*before any object/);
    assert.equal(t.iommufd.rlimitMode, 'user');
    ioas.destroy();
    t.iommufd.rlimitMode = 'process';
    assert.throws(() => {
      t.iommufd.rlimitMode = 'kernel' as never;
    }, RANGE);
  });

  test('vfio-compat', 'the compatibility address space can be set, read and cleared', (t) => {
    const { vfioCompat } = t.iommufd;
    assert.equal(vfioCompat.ioas, undefined);
    const ioas = t.iommufd.allocIoas();
    vfioCompat.ioas = ioas;
    assert.equal(vfioCompat.ioas, ioas);
    vfioCompat.ioas = undefined;
    assert.equal(vfioCompat.ioas, undefined);
    assert.equal(ioas.destroyed, false);
    vfioCompat.ioas = ioas;
    ioas.destroy();
    assert.equal(vfioCompat.ioas, undefined);
  });

  test('vfio-compat-adopts', 'one that somebody else set is adopted, once', (t) => {
    const borrowed = Iommufd.fromFd(t.iommufd.fd, { host: t.rig.host, ownership: 'borrowed' });
    const theirs = borrowed.allocIoas();
    borrowed.vfioCompat.ioas = theirs;
    const mine = t.iommufd.vfioCompat.ioas;
    assert.equal(mine?.id, theirs.id);
    assert.equal(t.iommufd.vfioCompat.ioas, mine);
    assert.equal(t.iommufd.objects.length, 1);
    borrowed.close();
  });

  test('vfio-compat-wrong', 'wrong values are refused', (t) => {
    const { vfioCompat } = t.iommufd;
    const set = (value: unknown) => () => {
      vfioCompat.ioas = value as never;
    };
    assert.throws(set(5), TYPE);
    assert.throws(set(t.iommufd.allocFaultQueue()), TYPE);
    assert.throws(set(t.openIommufd().allocIoas()), { code: 'ERR_IOMMUFD_FOREIGN_CONTEXT' });
    const gone = t.iommufd.allocIoas();
    gone.destroy();
    assert.throws(set(gone), GONE);
  });

  test('objects', 'lists what is alive, in the order of its making', (t) => {
    const a = t.iommufd.allocIoas();
    const b = t.iommufd.allocFaultQueue();
    const c = t.iommufd.allocIoas();
    assert.deepEqual(t.iommufd.objects, [a, b, c]);
    b.destroy();
    assert.deepEqual(t.iommufd.objects, [a, c]);
  });

  test('graph', 'draws what was made from what', (t) => {
    assert.equal(t.iommufd.drawGraph(), '');
    const { device } = t.mockDevice();
    const ioas = t.iommufd.allocIoas();
    const parent = ioas.allocHwpt(device, { nestParent: true });
    device.attach(parent);
    assert.deepEqual(t.iommufd.drawGraph().split('\n'), [
      device.describe(),
      ioas.describe(),
      `└─ ${parent.describe()} (nesting parent)`,
      `   └─ [attached ${device.describe()}]`,
    ]);
  });

  test('json', 'goes into JSON', (t) => {
    const ioas = t.iommufd.allocIoas();
    assert.deepEqual(JSON.parse(JSON.stringify(t.iommufd)), {
      type: 'Iommufd',
      host: t.rig.host.kind,
      closed: false,
      objects: [{ type: 'ioas', id: ioas.id, destroyed: false, madeFrom: [], heldBy: [] }],
    });
  });

  test('error-json', 'so do refusals, with bigint as hex', (t) => {
    const ioas = t.iommufd.allocIoas();
    const error = refused('ENOENT', () => ioas.unmap(IOVA, 0x1000));
    const json = JSON.parse(JSON.stringify(error));
    assert.equal(json.name, 'IommufdError');
    assert.equal(json.errno, -2);
    assert.equal(json.syscall, 'IOMMU_IOAS_UNMAP');
    assert.deepEqual(json.args, { ioas_id: ioas.id, iova: '0x1000000', length: '0x1000' });
    assert.equal(typeof json.hint, 'string');
  });

  test('close-twice', 'closing twice is fine, by any name', async (t) => {
    const iommufd = t.openIommufd();
    iommufd.close();
    iommufd.close();
    iommufd[Symbol.dispose]();
    await iommufd.closeAsync();
    await iommufd[Symbol.asyncDispose]();
    assert.equal(iommufd.closed, true);
  });

  test('close-busy', 'closing while the thread pool works is refused; closeAsync waits', async (t) => {
    const { device } = t.mockDevice();
    const ioas = t.iommufd.allocIoas();
    ioas.map(t.memory(), { iova: IOVA });
    const pending = ioas.allocHwptAsync(device);
    assert.throws(() => t.iommufd.close(), { name: 'UsageError', code: 'ERR_IOMMUFD_BUSY' });
    assert.equal(t.iommufd.closed, false);
    await t.iommufd.closeAsync();
    assert.equal((await pending).destroyed, true);
    assert.deepEqual(t.iommufd.objects, []);
  });

  test('close-held', 'what will not go is named, and the fd is closed all the same', (t) => {
    t.needs(IOMMU_IOAS_MAP_FILE);
    const iommufd = t.openIommufd();
    const { fd } = iommufd;
    const port = portOf(t, fd);
    const mock = t.mockDevice({}, iommufd);
    const ioas = iommufd.allocIoas();
    const ram = t.memory();
    ioas.map(ram, { iova: IOVA });
    // Somebody else's address space is no obstacle; somebody else's page table over ours would be.
    assert(tryCall(port, IOMMU_IOAS_ALLOC, {}).result >= 0);
    const borrowed = Iommufd.fromFd(fd, { host: t.rig.host, ownership: 'borrowed' });
    const theirs = borrowed.adoptIoas(ioas.id).allocHwpt(borrowed.adoptDevice(mock.device.id));
    assert.throws(
      () => iommufd.close(),
      (error) => {
        assert(error instanceof AggregateError);
        assert.equal(error.errors.length, 1);
        assert.equal(error.errors[0].code, 'EBUSY');
        return true;
      },
    );
    assert.equal(iommufd.closed, true);
    assert.equal(ram.mappings, 0);
    assert.equal(isOpen(t, fd), false);
    assert.equal(theirs.destroyed, false);
    // The borrower was left without its fd.
    assert.throws(() => borrowed.close(), AggregateError);
    assert.equal(theirs.destroyed, true);
  });

  test('close-foreign', 'objects that somebody else destroyed are no obstacle', (t) => {
    const ioas = t.iommufd.allocIoas();
    assert.equal(t.destroyId(ioas.id), 'ok');
    t.iommufd.close();
    assert.equal(ioas.destroyed, true);
  });

  test('adopt-device', 'a device that somebody else bound can be used, but not attached', (t) => {
    const borrowed = Iommufd.fromFd(t.iommufd.fd, { host: t.rig.host, ownership: 'borrowed' });
    const adopted = borrowed.adoptDevice(t.mockDevice().device.id);
    assert.equal(typeof adopted.hwInfo().type, 'number');
    const ioas = borrowed.allocIoas();
    assert.throws(() => adopted.attach(ioas), { code: 'ERR_IOMMUFD_UNAVAILABLE' });
    ioas.allocHwpt(adopted).destroy();
    refused('ENOENT', () => borrowed.adoptDevice(NO_ID).hwInfo());
    borrowed.close();
  });

  test('collected', 'an iommufd that is forgotten is closed, with a warning', async (t) => {
    const before = t.rig.census().fds;
    const warnings: string[] = [];
    const listen = (warning: Error & { code?: string }) => warnings.push(warning.code ?? warning.message);
    process.on('warning', listen);
    try {
      openAndForget(t);
      await collect(() => t.rig.census().fds === before && warnings.length > 0);
    } finally {
      process.off('warning', listen);
    }
    assert.equal(t.rig.census().fds, before);
    assert(warnings.includes('IOMMUFD_COLLECTED'));
  });
});
