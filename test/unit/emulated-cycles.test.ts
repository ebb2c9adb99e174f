// Many iommufds on one emulated host, opened, mapped, unmapped and closed: nothing is left in the machine.
import assert from 'node:assert/strict';
import { createEmulatedHost } from '../../lib/emulated-host.js';

const CYCLES = process.env.IOMMUFD_TORTURE === '1' ? 100_000 : 2000;
const PAGE = 4096;

describe('many cycles on the emulated host', function () {
  this.timeout(600_000);

  it('leave the machine as it was', () => {
    const host = createEmulatedHost();
    const before = host.inspect();
    for (let cycle = 0; cycle < CYCLES; cycle++) {
      const iommufd = host.openIommufd();
      const ioas = iommufd.allocIoas();
      const backing = cycle % 2 === 0 ? 'memfd' : 'anonymous';
      const ram = host.allocateMemory(4 * PAGE, { backing });
      const iova = ioas.map(ram);
      ioas.map(ram, { iova: iova + 0x100_0000n, offset: PAGE, length: PAGE });
      if (cycle % 3 === 0) ioas.unmap(iova, ram.size);
      const eventfd = host.createEventfd();
      eventfd.signal();
      assert.equal(eventfd.drain(), 1n);
      // What is still mapped goes with the iommufd, whichever goes first.
      if (cycle % 4 < 2) ram.free();
      iommufd.close();
      ram.free();
      eventfd.close();
    }
    assert.deepEqual(host.inspect(), before);
  });
});
