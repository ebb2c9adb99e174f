// Destroying and closing on the stub seam: order, holders, and refusals half-way.
import assert from 'node:assert/strict';
import { IOMMU_DESTROY } from '../../lib/uapi/index.js';
import { codeOf, codeOfAsync, deviceStage, leftovers, NOTHING, stage, turn, viommuStage } from './stage.js';

describe('destroying', () => {
  it('is refused with the names of what holds the object', () => {
    const { viommu, device, seam } = viommuStage();
    viommu.allocVdevice(device, { virtId: 5n });
    viommu.mmap();
    seam.on(IOMMU_DESTROY, -16);
    assert.throws(() => viommu.destroy(), {
      code: 'EBUSY',
      message: new RegExp(`held by vdevice \\d+, mmap of ${viommu.describe()} \\(1 window\\(s\\)\\)`),
    });
    assert.equal(viommu.destroyed, false);
  });

  it('works once, does nothing twice, and ends all use', () => {
    const { iommufd, seam, host } = stage();
    const ioas = iommufd.allocIoas();
    ioas.destroy();
    ioas.destroy();
    assert.equal(seam.made('IOMMU_DESTROY').length, 1);
    const ram = host.allocateMemory(4096);
    for (const use of [
      () => ioas.map(ram),
      () => ioas.unmap(0, 4096),
      () => ioas.unmapAll(),
      () => ioas.iovaRanges(),
      () => ioas.hugePages,
    ]) {
      assert.equal(codeOf(use), 'ERR_IOMMUFD_DESTROYED');
    }
    assert.equal(ram.mappings, 0);
  });

  it('of what somebody else destroyed says so once, and forgets it', () => {
    const { iommufd, seam } = stage();
    const ioas = iommufd.allocIoas();
    seam.on(IOMMU_DESTROY, -2);
    assert.equal(
      codeOf(() => ioas.destroy()),
      'ENOENT',
    );
    assert.equal(ioas.destroyed, true);
    ioas.destroy();
    const other = iommufd.allocIoas();
    other[Symbol.dispose]();
    assert.equal(other.destroyed, true, 'dispose takes it for done');
  });

  it('leaves an event queue readable where something holds it', () => {
    const { iommufd, device, seam } = deviceStage();
    const faultQueue = iommufd.allocFaultQueue();
    iommufd.allocIoas().allocHwpt(device, { faultQueue });
    seam.on(IOMMU_DESTROY, -16);
    assert.equal(
      codeOf(() => faultQueue.destroy()),
      'EBUSY',
    );
    assert.deepEqual(faultQueue.drain(), [], 'its fd is still there');
  });

  it('takes what holds the object first, newest first, on dispose', () => {
    const { viommu, device, seam } = viommuStage();
    const vdevice = viommu.allocVdevice(device, { virtId: 5n });
    const first = viommu.allocHwQueue({ index: 0, iova: 0n, length: 4096n });
    const second = viommu.allocHwQueue({ index: 1, iova: 4096n, length: 4096n });
    const window = viommu.mmap();
    const events = viommu.allocVeventq({ depth: 4 });
    viommu[Symbol.dispose]();
    assert.deepEqual(
      seam.made('IOMMU_DESTROY').map(({ input }) => input.id),
      [events, second, first, vdevice, viommu].map(({ id }) => id),
    );
    assert.equal(window.mapped, false);
  });
});

describe('closing', () => {
  it('destroys all, newest first, and closes everything once', () => {
    const { iommufd, seam, viommu, device } = viommuStage();
    viommu.allocVdevice(device, { virtId: 1n });
    viommu.allocVeventq({ depth: 1 });
    iommufd.allocFaultQueue();
    viommu.mmap();
    const ids = iommufd.objects.filter((object) => object !== device).map(({ id }) => id);
    iommufd.close();
    iommufd.close();
    assert.deepEqual(
      seam.made('IOMMU_DESTROY').map(({ input }) => input.id),
      ids.reverse(),
    );
    assert.deepEqual(leftovers(seam), NOTHING);
    assert.equal(
      codeOf(() => iommufd.allocIoas()),
      'ERR_IOMMUFD_DESTROYED',
    );
    assert.equal(
      codeOf(() => iommufd.fd),
      'ERR_IOMMUFD_DESTROYED',
    );
    assert.equal(viommu.destroyed, true);
  });

  it('goes on past an object that will not go, closes the fd, and tells of all that failed', () => {
    const { iommufd, seam, viommu } = viommuStage();
    viommu.allocVeventq({ depth: 1 });
    seam.on(IOMMU_DESTROY, ({ id }) => (id === viommu.id ? -16 : 0));
    assert.throws(
      () => iommufd.close(),
      (error) => error instanceof AggregateError && error.errors.every((inner) => inner.code === 'EBUSY'),
    );
    assert.equal(iommufd.closed, true);
    assert.deepEqual(leftovers(seam), NOTHING);
    iommufd.close();
  });

  it('is refused while work is on the thread pool; closeAsync waits for it, and takes what it made', async () => {
    const { iommufd, seam, device } = deviceStage();
    const ioas = iommufd.allocIoas();
    seam.holdPool = true;
    const hwpt = ioas.allocHwptAsync(device);
    assert.equal(
      codeOf(() => iommufd.close()),
      'ERR_IOMMUFD_BUSY',
    );
    const closing = iommufd.closeAsync();
    await turn();
    assert.equal(iommufd.closed, false);
    seam.deliver();
    await closing;
    const { id } = await hwpt;
    assert(
      seam.made('IOMMU_DESTROY').some(({ input }) => input.id === id),
      'the page table was destroyed as well',
    );
    assert.deepEqual(leftovers(seam), NOTHING);
  });

  it('asynchronously leaves no memory behind of a mapping in flight', async () => {
    const { iommufd, seam, host } = stage();
    const ioas = iommufd.allocIoas();
    const ram = host.allocateMemory(4096);
    const mapping = ioas.mapAsync(ram, { iova: 0n });
    await turn();
    await iommufd.closeAsync();
    await codeOfAsync(mapping);
    assert.equal(ram.mappings, 0);
    ram.free();
    assert.deepEqual(leftovers(seam), NOTHING);
  });
});
