// IOMMU_IOAS_NOIOMMU_GET_PA.
import assert from 'node:assert/strict';
import { IOMMU_IOAS_NOIOMMU_GET_PA } from '../../lib/uapi/index.js';
import { IOVA, U64_MAX } from '../rig/address-space.js';
import { type Bench, conformance, NO_ID, refused } from '../rig/suite.js';

function mapped(t: Bench) {
  const ioas = t.iommufd.allocIoas();
  ioas.map(t.memory(), { iova: IOVA });
  return { ioas, base: { ioas_id: ioas.id, iova: IOVA, length: 0x1000n } };
}

conformance('noiommu-get-pa', (test) => {
  test('no-page-table', 'without a page table there is no physical address', (t) => {
    const { ioas } = mapped(t);
    const error = refused('EOPNOTSUPP', () => ioas.physicalAddress(IOVA, 0x1000));
    assert.match(error.message, /hint: .*without an IOMMU/);
  });

  test('with-iommu', 'nor with the page table of an IOMMU', (t) => {
    const { ioas, base } = mapped(t);
    ioas.allocHwpt(t.mockDevice().device);
    const { code, out } = t.ioctl(IOMMU_IOAS_NOIOMMU_GET_PA, base);
    assert.equal(code, 'EOPNOTSUPP');
    assert.deepEqual([out.out_phys, out.length], [0n, 0x1000n]);
  });

  test('not-mapped', 'an IOVA that is not mapped is ENOENT', (t) => {
    const { ioas } = mapped(t);
    for (const iova of [0n, IOVA - 1n, IOVA + 0x10000n]) refused('ENOENT', () => ioas.physicalAddress(iova, 1));
  });

  test('zero-length', 'a length of 0 is EINVAL', (t) => {
    const { ioas } = mapped(t);
    refused('EINVAL', () => ioas.physicalAddress(IOVA, 0));
  });

  test('overflow', 'the IOVA of all ones is EOVERFLOW', (t) => {
    const { base } = mapped(t);
    assert.equal(t.ioctl(IOMMU_IOAS_NOIOMMU_GET_PA, { ...base, iova: U64_MAX }).code, 'EOVERFLOW');
  });

  test('flags', 'refuses flags, and a reserved field that is not 0', (t) => {
    const { base } = mapped(t);
    assert.equal(t.ioctl(IOMMU_IOAS_NOIOMMU_GET_PA, { ...base, flags: 1 }).code, 'EOPNOTSUPP');
    assert.equal(t.ioctl(IOMMU_IOAS_NOIOMMU_GET_PA, { ...base, __reserved: 1 }).code, 'EOPNOTSUPP');
  });

  test('unknown-ioas', 'an unknown address space is ENOENT', (t) => {
    const { base } = mapped(t);
    assert.equal(t.ioctl(IOMMU_IOAS_NOIOMMU_GET_PA, { ...base, ioas_id: NO_ID }).code, 'ENOENT');
  });

  test('order', 'flags, then length, then overflow, then the id', (t) => {
    const bad = { flags: 1, ioas_id: NO_ID, length: 0n, iova: U64_MAX };
    assert.equal(t.ioctl(IOMMU_IOAS_NOIOMMU_GET_PA, bad).code, 'EOPNOTSUPP');
    assert.equal(t.ioctl(IOMMU_IOAS_NOIOMMU_GET_PA, { ...bad, flags: 0 }).code, 'EINVAL');
    assert.equal(t.ioctl(IOMMU_IOAS_NOIOMMU_GET_PA, { ...bad, flags: 0, length: 1n }).code, 'EOVERFLOW');
    assert.equal(t.ioctl(IOMMU_IOAS_NOIOMMU_GET_PA, { ...bad, flags: 0, length: 1n, iova: 0n }).code, 'ENOENT');
  });

  const known = { needs: 'noiommu-device', dependsOnLayout: true } as const;
  test('translates', 'answers the physical address for a device without an IOMMU', known, (t) => {
    const address = t.rig.noiommuDevice() ?? '';
    const nic = t.rig.host.unsafeOpenDevice(address);
    t.later(() => nic[Symbol.dispose]());
    nic.bind(t.iommufd);
    const { ioas } = mapped(t);
    nic.attach(ioas);
    const page = ioas.physicalAddress(IOVA, 1);
    assert.equal(page.length, 1n);
    assert.equal(page.address % 4096n, 0n);
    assert(page.address > 0n);
    const inside = ioas.physicalAddress(IOVA + 0x123n, 0x10);
    assert.deepEqual(inside, { address: page.address + 0x123n, length: 0x10n });
    const most = ioas.physicalAddress(IOVA, 0x10000);
    assert.equal(most.address, page.address);
    assert(most.length >= 4096n && most.length <= 0x10000n && most.length % 4096n === 0n, `${most.length}`);
    refused('ENOENT', () => ioas.physicalAddress(IOVA + 0x10000n, 1));
  });

  test('unsafe-by-name', 'such a device is not opened but by an unsafe name', { needs: 'noiommu-device' }, (t) => {
    const error = refused('ERR_IOMMUFD_UNAVAILABLE', () => t.rig.host.openDevice(t.rig.noiommuDevice() ?? ''));
    assert.match(error.message, /unsafeOpenDevice/);
  });
});
