// IOMMU_IOAS_CHANGE_PROCESS.
import assert from 'node:assert/strict';
import { IOMMU_IOAS_CHANGE_PROCESS } from '../../lib/uapi/index.js';
import { IOVA, translation } from '../rig/address-space.js';
import { conformance, refused } from '../rig/suite.js';

conformance('change-process', (test) => {
  test('empty', 'is fine where nothing is mapped', (t) => {
    assert.equal(t.ioctl(IOMMU_IOAS_CHANGE_PROCESS, {}).code, 'ok');
    t.iommufd.allocIoas();
    t.iommufd.changeProcess();
  });

  test('files', 'is fine where all mappings are of files, and leaves them as they are', (t) => {
    const ioas = t.iommufd.allocIoas();
    const ram = t.memory();
    ioas.map(ram, { iova: IOVA });
    const hwpt = ioas.allocHwpt(t.mockDevice().device);
    t.iommufd.changeProcess();
    t.iommufd.changeProcess();
    assert.equal(translation(t, hwpt, IOVA, ram, 0, ram.size), 'ok');
    assert.equal(ioas.unmapAll(), 0x10000n);
  });

  test('address', 'a mapping by address is EINVAL, until it is gone', (t) => {
    const ioas = t.iommufd.allocIoas();
    ioas.map(t.memory(), { iova: IOVA });
    const iova = ioas.map(t.memory(0x1000, { backing: 'anonymous' }));
    const error = refused('EINVAL', () => t.iommufd.changeProcess());
    assert.match(error.message, /hint: .*by address/);
    ioas.unmap(iova, 0x1000);
    t.iommufd.changeProcess();
  });

  test('every-ioas', 'mappings of every address space count', (t) => {
    t.iommufd.allocIoas().map(t.memory());
    t.iommufd.allocIoas().map(t.memory(0x1000, { backing: 'anonymous' }));
    refused('EINVAL', () => t.iommufd.changeProcess());
  });

  test('other-file', 'mappings of another iommufd do not', (t) => {
    const other = t.openIommufd();
    other.allocIoas().map(t.memory(0x1000, { backing: 'anonymous' }));
    t.iommufd.changeProcess();
  });

  test('memfd-address', 'a memfd that was mapped by its address is a mapping by address', (t) => {
    const ioas = t.iommufd.allocIoas();
    const ram = t.memory();
    ioas.unsafeMapAddress(ram.address, { length: ram.size });
    refused('EINVAL', () => t.iommufd.changeProcess());
  });

  test('copies', 'a copy is what its source is', (t) => {
    const [a, b] = [t.iommufd.allocIoas(), t.iommufd.allocIoas()];
    a.map(t.memory(0x1000, { backing: 'anonymous' }), { iova: IOVA });
    b.copy(a, { sourceIova: IOVA, length: 0x1000 });
    a.destroy();
    refused('EINVAL', () => t.iommufd.changeProcess());
    b.unmapAll();
    t.iommufd.changeProcess();
  });

  test('reserved', 'refuses a reserved field that is not 0', (t) => {
    assert.equal(t.ioctl(IOMMU_IOAS_CHANGE_PROCESS, { __reserved: 1 }).code, 'EOPNOTSUPP');
  });
});
