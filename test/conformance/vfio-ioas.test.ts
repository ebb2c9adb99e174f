// IOMMU_VFIO_IOAS.
import assert from 'node:assert/strict';
import { IOMMU_VFIO_IOAS, iommufd_vfio_ioas_op } from '../../lib/uapi/index.js';
import { type Bench, conformance, NO_ID } from '../rig/suite.js';

const {
  IOMMU_VFIO_IOAS_GET: GET,
  IOMMU_VFIO_IOAS_SET: SET,
  IOMMU_VFIO_IOAS_CLEAR: CLEAR,
} = iommufd_vfio_ioas_op.values;

function get(t: Bench): number | string {
  const { code, out } = t.ioctl(IOMMU_VFIO_IOAS, { op: GET });
  return code === 'ok' ? out.ioas_id : code;
}

conformance('vfio-ioas', (test) => {
  test('none', 'a fresh iommufd has none', (t) => {
    const { code, out } = t.ioctl(IOMMU_VFIO_IOAS, { op: GET, ioas_id: 77 });
    assert.equal(code, 'ENODEV');
    assert.equal(out.ioas_id, 77);
  });

  test('set', 'the address space that was set is answered, the last one counts', (t) => {
    const [a, b] = [t.iommufd.allocIoas(), t.iommufd.allocIoas()];
    for (const { id } of [a, b, b]) {
      assert.equal(t.ioctl(IOMMU_VFIO_IOAS, { op: SET, ioas_id: id }).code, 'ok');
      assert.equal(get(t), id);
    }
  });

  test('clear', 'clearing leaves the address space alone, and is fine twice', (t) => {
    const { id } = t.iommufd.allocIoas();
    t.ioctl(IOMMU_VFIO_IOAS, { op: SET, ioas_id: id });
    assert.equal(t.ioctl(IOMMU_VFIO_IOAS, { op: CLEAR }).code, 'ok');
    assert.equal(get(t), 'ENODEV');
    assert.equal(t.ioctl(IOMMU_VFIO_IOAS, { op: CLEAR, ioas_id: NO_ID }).code, 'ok');
    assert.equal(t.destroyId(id), 'ok');
  });

  test('destroyed', 'it does not hold the address space: destroying that clears it', (t) => {
    const ioas = t.iommufd.allocIoas();
    t.ioctl(IOMMU_VFIO_IOAS, { op: SET, ioas_id: ioas.id });
    ioas.destroy();
    assert.equal(get(t), 'ENODEV');
  });

  test('other-destroyed', 'destroying another one does not', (t) => {
    const [a, b] = [t.iommufd.allocIoas(), t.iommufd.allocIoas()];
    t.ioctl(IOMMU_VFIO_IOAS, { op: SET, ioas_id: a.id });
    b.destroy();
    assert.equal(get(t), a.id);
  });

  test('unknown-ioas', 'an unknown address space is ENOENT, and the one before stays', (t) => {
    const { id } = t.iommufd.allocIoas();
    const queue = t.iommufd.allocFaultQueue();
    t.ioctl(IOMMU_VFIO_IOAS, { op: SET, ioas_id: id });
    for (const ioas_id of [0, NO_ID, queue.id]) {
      assert.equal(t.ioctl(IOMMU_VFIO_IOAS, { op: SET, ioas_id }).code, 'ENOENT');
    }
    assert.equal(get(t), id);
  });

  test('bad-op', 'an unknown operation is EOPNOTSUPP', (t) => {
    for (const op of [3, 0xffff]) assert.equal(t.ioctl(IOMMU_VFIO_IOAS, { op }).code, 'EOPNOTSUPP');
  });

  test('reserved', 'refuses a reserved field that is not 0', (t) => {
    for (const op of [GET, SET, CLEAR]) {
      assert.equal(t.ioctl(IOMMU_VFIO_IOAS, { op, ioas_id: NO_ID, __reserved: 1 }).code, 'EOPNOTSUPP');
    }
  });
});
