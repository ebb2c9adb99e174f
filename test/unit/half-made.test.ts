// Where a step of making an object fails, nothing of it is left.
import assert from 'node:assert/strict';
import { Context } from '../../lib/objects/context.js';
import { withEventFd } from '../../lib/objects/event-fd.js';
import { IOMMU_DESTROY, IOMMU_FAULT_QUEUE_ALLOC, IOMMU_VEVENTQ_ALLOC } from '../../lib/uapi/index.js';
import { agreeable, codeOf, leftovers, NOTHING, viommuStage } from './stage.js';

describe('half-made objects', () => {
  for (const [what, fail, errno, code] of [
    ['its fd cannot be owned', 'own', -9, 'EBADF'],
    ['its fd cannot be watched', 'watch', -1, 'EPERM'],
  ] as const) {
    for (const kind of ['fault queue', 'event queue'] as const) {
      it(`leave nothing of a ${kind} when ${what}`, () => {
        const base = viommuStage();
        const { seam, iommufd, viommu } = base;
        const before = leftovers(seam);
        const objects = iommufd.objects.length;
        seam.fail(fail, errno);
        const work = () => (kind === 'fault queue' ? iommufd.allocFaultQueue() : viommu.allocVeventq({ depth: 1 }));
        assert.equal(codeOf(work), code);
        assert.equal(seam.made('IOMMU_DESTROY').length, 1);
        assert.equal(iommufd.objects.length, objects);
        // An fd that cannot be owned cannot be closed through the seam either.
        assert.deepEqual(leftovers(seam), { ...before, fds: before.fds + (fail === 'own' ? 1 : 0) });
        seam.on(IOMMU_DESTROY, 0);
        work().destroy();
      });
    }
  }

  it('close their fd once where the last step fails', () => {
    const seam = agreeable();
    const context = new Context(seam, seam.makeFd(true), true);
    const fd = seam.makeFd();
    const make = () => {
      throw new Error('no further');
    };
    assert.throws(() => withEventFd(context, 5, fd, make), /no further/);
    assert.deepEqual(leftovers(seam), { ...NOTHING, fds: 1 });
    assert.deepEqual(seam.made('IOMMU_DESTROY')[0]?.input.id, 5);
    assert.equal(context.resources.eventSources.size, 0);
  });

  it('are not there where the kernel refuses', () => {
    const { seam, iommufd, viommu } = viommuStage();
    const before = leftovers(seam);
    seam.on(IOMMU_FAULT_QUEUE_ALLOC, -12).on(IOMMU_VEVENTQ_ALLOC, -17);
    assert.equal(
      codeOf(() => iommufd.allocFaultQueue()),
      'ENOMEM',
    );
    assert.equal(
      codeOf(() => viommu.allocVeventq({ depth: 1 })),
      'EEXIST',
    );
    assert.deepEqual(leftovers(seam), before);
    assert.equal(seam.made('IOMMU_DESTROY').length, 0);
  });

  it('leave no holder when the registers cannot be mapped', () => {
    const { seam, viommu } = viommuStage();
    seam.fail('mapMmio', -12);
    assert.equal(
      codeOf(() => viommu.mmap()),
      'ENOMEM',
    );
    assert.deepEqual(viommu.heldBy, []);
    const window = viommu.mmap();
    assert.equal(viommu.heldBy.length, 1);
    window.unmap();
    assert.deepEqual(viommu.heldBy, []);
  });
});
