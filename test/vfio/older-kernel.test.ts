// What a program is told of its devices by a kernel from before Linux 6.13: as test/conformance/older-kernel.test.ts. The
// cases are pending where the kernel has what they are about; on the emulated host they make one of Linux 6.12 for themselves.
import assert from 'node:assert/strict';
import { IommufdError } from '../../lib/index.js';
import { VFIO_DEVICE_DETACH_IOMMUFD_PT as DETACH } from '../../lib/uapi/index.js';
import { isOlder } from '../../lib/uapi/releases.js';
import { call } from '../../lib/unsafe.js';
import { olderVfioBench, type Role, type VfioBench, type VfioGroup, vfioCases } from '../rig/vfio.js';

interface Lack {
  readonly id: string;
  readonly what: string;
  readonly since: string;
  readonly code: string;
  readonly needs: Role;
  readonly work: (t: VfioBench) => unknown;
}

const LACKS: readonly Lack[] = [
  {
    id: 'pasid',
    what: 'VFIO_DEVICE_ATTACH_PASID',
    since: '6.15',
    code: 'EINVAL',
    needs: 'edu',
    work: (t) => t.bound('edu').attach(t.iommufd.allocIoas(), { pasid: 1 }),
  },
  {
    id: 'detach-pasid',
    what: 'VFIO_DEVICE_DETACH_PASID',
    since: '6.15',
    code: 'EINVAL',
    needs: 'edu',
    // Past the objects, which know that nothing is attached.
    work: (t) => call({ seam: t.rig.seam, fd: t.bound('edu').fd }, DETACH, { flags: 1, pasid: 1 }),
  },
  {
    id: 'token',
    what: 'VFIO_DEVICE_BIND_FLAG_TOKEN',
    since: '6.18',
    code: 'EINVAL',
    needs: 'edu',
    work: (t) => t.open('edu').bind(t.iommufd, { vfToken: '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001' }),
  },
  {
    id: 'dma-buf',
    what: 'VFIO_DEVICE_FEATURE_DMA_BUF',
    since: '6.19',
    code: 'ENOTTY',
    needs: 'edu',
    work: (t) => t.bound('edu').region('bar0').exportDmaBuf(),
  },
  {
    id: 'map-dma-buf',
    what: 'VFIO_DEVICE_FEATURE_DMA_BUF',
    since: '6.19',
    code: 'ENOTTY',
    needs: 'edu',
    work: (t) => t.iommufd.allocIoas().mapDmaBuf(t.bound('edu').region('bar0')),
  },
  {
    id: 'precopy-info',
    what: 'VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2',
    since: '7.1',
    code: 'ENOTTY',
    needs: 'serial',
    work: (t) => t.bound('serial').migration.enablePrecopyInfoV2(),
  },
];

function declare(test: VfioGroup, { id, what, since, code, needs, work }: Lack): void {
  test(id, `${what} is told to be missing`, { needs, before: since }, (newer) => {
    const t = olderVfioBench(newer);
    const { release: running } = t.rig.host;
    assert(isOlder(running, since));
    assert.throws(
      () => work(t),
      (error: unknown) => {
        assert(error instanceof IommufdError, `${error}`);
        assert.equal(error.code, code, error.message);
        assert.deepEqual(error.unsupported, { what, since, running });
        const told = `this kernel is too old: ${what} came with Linux ${since}, this is Linux ${running}`;
        assert(error.message.includes(told), error.message);
        return true;
      },
    );
  });
}

vfioCases('older-kernel-vfio', (test) => {
  for (const lack of LACKS) declare(test, lack);
});
