// Opening and adopting an iommufd, and things that belong to another iommufd or host.
import assert from 'node:assert/strict';
import { UsageError } from '../../lib/host/errors.js';
import { Host } from '../../lib/host-object.js';
import { Iommufd } from '../../lib/objects/iommufd.js';
import { agreeable, codeOf, deviceStage, leftovers, NODE, NOTHING, stage } from './stage.js';
import { StubSeam } from './stub-seam.js';

describe('opening', () => {
  it('says what is wrong with the node, and leaves no fd', () => {
    const host = new Host(agreeable());
    assert.throws(() => host.openIommufd({ path: '/dev/nothing' }), { code: 'ENOENT', syscall: 'open' });
    const seam = new StubSeam();
    seam.paths.set('/dev/null', {});
    seam.ioctl = () => -25;
    assert.throws(() => new Host(seam).openIommufd({ path: '/dev/null' }), /is it an iommufd\?/);
    assert.deepEqual(leftovers(seam), NOTHING);
  });

  it('adopts an fd: closes its own, and leaves a borrowed one open', () => {
    const seam = agreeable();
    const host = new Host(seam);
    const owned = Iommufd.fromFd(seam.makeFd(), { host });
    owned.allocIoas();
    owned.close();
    assert.deepEqual(leftovers(seam), NOTHING);
    const fd = seam.makeFd();
    const borrowed = Iommufd.fromFd(fd, { host, ownership: 'borrowed' });
    borrowed.allocIoas();
    borrowed.close();
    assert.equal(seam.files.has(fd), true);
    assert.equal(seam.made('IOMMU_DESTROY').length, 2, 'what was made on a borrowed fd is destroyed all the same');
    assert.equal(seam.badCloses, 0);
  });

  it('gives an fd back that turns out to be no iommufd', () => {
    const seam = new StubSeam();
    const fd = seam.makeFd();
    seam.ioctl = () => -25;
    assert.equal(
      codeOf(() => Iommufd.fromFd(fd, { host: new Host(seam) })),
      'ENOTTY',
    );
    assert.equal(seam.files.get(fd)?.owned, false);
  });

  it('refuses what is no fd', () => {
    const host = new Host(agreeable());
    assert.equal(
      codeOf(() => Iommufd.fromFd(77, { host })),
      'EBADF',
    );
    for (const fd of [-1, 2 ** 31, 1.5])
      assert.equal(
        codeOf(() => Iommufd.fromFd(fd, { host })),
        'ERR_OUT_OF_RANGE',
      );
  });
});

describe('what belongs elsewhere', () => {
  it('is refused by its iommufd', () => {
    const seam = agreeable();
    const one = deviceStage(seam);
    const other = stage(seam);
    const ioas = other.iommufd.allocIoas();
    assert.equal(
      codeOf(() => ioas.allocHwpt(one.device)),
      'ERR_IOMMUFD_FOREIGN_CONTEXT',
    );
    assert.equal(
      codeOf(() => one.device.attach(ioas)),
      'ERR_IOMMUFD_FOREIGN_CONTEXT',
    );
    const mine = one.iommufd.allocIoas();
    assert.equal(
      codeOf(() => mine.copy(ioas, { sourceIova: 0n, length: 1n })),
      'ERR_IOMMUFD_FOREIGN_CONTEXT',
    );
    const faultQueue = other.iommufd.allocFaultQueue();
    assert.equal(
      codeOf(() => mine.allocHwpt(one.device, { faultQueue })),
      'ERR_IOMMUFD_FOREIGN_CONTEXT',
    );
  });

  it('is refused by its host', () => {
    const one = deviceStage();
    const other = stage();
    const ioas = other.iommufd.allocIoas();
    assert.equal(
      codeOf(() => ioas.map(one.host.allocateMemory(4096))),
      'ERR_IOMMUFD_FOREIGN_HOST',
    );
    assert.equal(
      codeOf(() => one.device.attach(ioas)),
      'ERR_IOMMUFD_FOREIGN_HOST',
    );
    assert.equal(
      codeOf(() => one.host.openDevice(NODE).bind(other.iommufd)),
      'ERR_IOMMUFD_FOREIGN_HOST',
    );
    assert.throws(() => one.device.attach(ioas), UsageError);
  });
});
