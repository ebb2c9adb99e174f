// Two objects with the same /dev/iommu: neither knows all that is mapped there.
import assert from 'node:assert/strict';
import { createEmulatedHost } from '../../lib/emulated-host.js';
import { Iommufd } from '../../lib/index.js';

const IOVA = 0x400_0000n;

/** Whether memory is given back once it was mapped, unmapped and freed. */
function isGivenBack(backing: 'memfd' | 'anonymous', prepare: (iommufd: Iommufd) => Iommufd): boolean {
  const host = createEmulatedHost();
  const first = host.openIommufd();
  const iommufd = prepare(first);
  const ram = host.allocateMemory(0x1000, { backing });
  const { regions } = host.inspect();
  const ioas = iommufd.allocIoas();
  ioas.map(ram, { iova: IOVA });
  ioas.unmap(IOVA, ram.size);
  ram.free();
  const given = host.inspect().regions < regions;
  first.close();
  return given;
}

describe('an iommufd whose file others may have', () => {
  const borrow = (iommufd: Iommufd) => Iommufd.fromFd(iommufd.fd, { host: iommufd.host, ownership: 'borrowed' });
  const borrowed = (iommufd: Iommufd) => {
    borrow(iommufd);
    return iommufd;
  };

  it('never gives back memory that the kernel may know by its address', () => {
    // What one unmapped, the other may have copied before, taking it for something else.
    assert.equal(isGivenBack('anonymous', borrow), false);
    assert.equal(isGivenBack('anonymous', borrowed), false);
    assert.equal(
      isGivenBack('anonymous', (iommufd) => iommufd),
      true,
    );
  });

  it('gives back memory that the kernel knows by its file', () => {
    assert.equal(isGivenBack('memfd', borrow), true);
    assert.equal(isGivenBack('memfd', borrowed), true);
  });

  it('keeps also what was mapped before', () => {
    const host = createEmulatedHost();
    const iommufd = host.openIommufd();
    const ram = host.allocateMemory(0x1000, { backing: 'anonymous' });
    const { regions } = host.inspect();
    const ioas = iommufd.allocIoas();
    ioas.map(ram, { iova: IOVA });
    borrow(iommufd);
    ioas.unmapAll();
    ram.free();
    assert.equal(host.inspect().regions, regions);
    iommufd.close();
  });
});
