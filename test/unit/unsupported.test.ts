// What is put down to a kernel's age, and what is not.
import assert from 'node:assert/strict';
import { createEmulatedHost } from '../../lib/emulated-host.js';
import { IommufdError } from '../../lib/host/errors.js';
import { tellUnsupported, unsupported } from '../../lib/host/unsupported.js';
import {
  iommu_hwpt_data_type,
  iommufd_hwpt_alloc_flags,
  iommufdIoctls,
  vfio_device_feature_index,
  vfioIoctls,
} from '../../lib/uapi/index.js';
import { additions, featureSince, isOlder } from '../../lib/uapi/releases.js';

const HWPT = iommufd_hwpt_alloc_flags.values;

function what(running: string, syscall: string, code: string, args: Record<string, unknown> = {}): string | undefined {
  const found = unsupported(running, { syscall, code, args });
  return found === undefined ? undefined : `${found.what} ${found.since} ${found.running}`;
}

describe('what a kernel is too old for', () => {
  it('compares releases by major and minor number', () => {
    assert.equal(isOlder('6.12.95', '6.13'), true);
    assert.equal(isOlder('6.9.1', '6.13'), true);
    assert.equal(isOlder('6.13.0-rc1', '6.13'), false);
    assert.equal(isOlder('6.100.0', '7.1'), true);
    assert.equal(isOlder('7.1', '6.19'), false);
    assert.equal(isOlder('5.14.0-503.el9.x86_64', '6.2'), true);
  });

  it('claims nothing of a kernel that does not say which it is', () => {
    for (const running of ['', 'next', 'v6.12', '6']) assert.equal(isOlder(running, '7.3'), false, running);
    assert.equal(what('', 'IOMMU_VIOMMU_ALLOC', 'ENOTTY'), undefined);
  });

  it('finds a call that came later, and only where it is missing', () => {
    assert.equal(what('6.12.95', 'IOMMU_VIOMMU_ALLOC', 'ENOTTY'), 'IOMMU_VIOMMU_ALLOC 6.13 6.12.95');
    assert.equal(what('6.13.0', 'IOMMU_VIOMMU_ALLOC', 'ENOTTY'), undefined);
    assert.equal(what('6.12.95', 'IOMMU_VIOMMU_ALLOC', 'EINVAL'), undefined);
    assert.equal(what('6.12.95', 'IOMMU_IOAS_MAP', 'ENOTTY'), undefined);
    assert.equal(what('6.12.95', 'mmap', 'ENOTTY'), undefined);
    assert.equal(what('6.5.0', 'VFIO_DEVICE_BIND_IOMMUFD', 'ENOTTY'), 'VFIO_DEVICE_BIND_IOMMUFD 6.6 6.5.0');
  });

  it('finds a feature of a device that came later', () => {
    const feature = 'VFIO_DEVICE_FEATURE_DMA_BUF';
    assert.equal(what('6.12.95', feature, 'ENOTTY'), `${feature} 6.19 6.12.95`);
    assert.equal(what('6.19.0', feature, 'ENOTTY'), undefined);
    assert.deepEqual(Object.keys(featureSince).sort(), Object.keys(vfio_device_feature_index.values).sort());
  });

  it('finds a flag or type that came later, where it was used and refused as an unknown one', () => {
    const flags = HWPT.IOMMU_HWPT_ALLOC_PASID;
    const pasid = 'IOMMU_HWPT_ALLOC_PASID 6.15 6.14.2';
    assert.equal(what('6.14.2', 'IOMMU_HWPT_ALLOC', 'EOPNOTSUPP', { flags }), pasid);
    assert.equal(what('6.15.0', 'IOMMU_HWPT_ALLOC', 'EOPNOTSUPP', { flags }), undefined);
    assert.equal(what('6.14.2', 'IOMMU_HWPT_ALLOC', 'EINVAL', { flags }), undefined);
    assert.equal(what('6.14.2', 'IOMMU_HWPT_ALLOC', 'EOPNOTSUPP', { flags: 1 }), undefined);
    assert.equal(what('6.14.2', 'IOMMU_HWPT_ALLOC', 'EOPNOTSUPP'), undefined);
    const data_type = iommu_hwpt_data_type.values.IOMMU_HWPT_DATA_ARM_SMMUV3;
    const type = 'IOMMU_HWPT_DATA_ARM_SMMUV3 6.13 6.12.1';
    assert.equal(what('6.12.1', 'IOMMU_HWPT_ALLOC', 'EOPNOTSUPP', { data_type }), type);
    const token = 'VFIO_DEVICE_BIND_FLAG_TOKEN 6.18 6.12.1';
    assert.equal(what('6.12.1', 'VFIO_DEVICE_BIND_IOMMUFD', 'EINVAL', { flags: 1 }), token);
    assert.equal(what('6.12.1', 'VFIO_DEVICE_BIND_IOMMUFD', 'EINVAL', { flags: 0 }), undefined);
  });

  it('tells of several the newest', () => {
    const flags = HWPT.IOMMU_HWPT_ALLOC_PASID | HWPT.IOMMU_HWPT_ALLOC_NEST_PARENT | HWPT.IOMMU_HWPT_FAULT_ID_VALID;
    assert.match(what('6.6.0', 'IOMMU_HWPT_ALLOC', 'EOPNOTSUPP', { flags }) ?? '', /^IOMMU_HWPT_ALLOC_PASID 6\.15/);
  });

  it('is about calls that there are, each by a release', () => {
    const names = new Set([...iommufdIoctls, ...vfioIoctls].map(({ name }) => name));
    for (const { call, since } of additions) {
      assert(names.has(call), call);
      assert.match(since, /^\d+\.\d+$/);
    }
    for (const { name, since } of [...iommufdIoctls, ...vfioIoctls]) assert.match(since, /^\d+\.\d+$/, name);
  });

  it('says so in the error: message, hint, JSON', () => {
    const error = new IommufdError('IOMMU_VIOMMU_ALLOC', -25, { dev_id: 3 }, undefined, '6.12.95');
    const lacking = { what: 'IOMMU_VIOMMU_ALLOC', since: '6.13', running: '6.12.95' };
    assert.deepEqual(error.unsupported, lacking);
    assert.equal(error.code, 'ENOTTY');
    assert.equal(error.hint, tellUnsupported(lacking));
    assert.match(
      error.message,
      /dev_id 3\)\n {2}hint: this kernel is too old: IOMMU_VIOMMU_ALLOC came with Linux 6\.13, this is Linux 6\.12\.95\. Instead: /,
    );
    assert.deepEqual(JSON.parse(JSON.stringify(error)).unsupported, lacking);
    assert.equal(new IommufdError('IOMMU_VIOMMU_ALLOC', -25).unsupported, undefined);
  });

  it('is not said of a call that has no way around it', () => {
    const told = tellUnsupported({ what: 'IOMMU_VEVENTQ_ALLOC', since: '6.15', running: '6.12' });
    assert.equal(told, 'this kernel is too old: IOMMU_VEVENTQ_ALLOC came with Linux 6.15, this is Linux 6.12');
  });

  it('can be tried on an emulated host, which says which Linux it is', () => {
    assert.equal(createEmulatedHost().release, '7.3-emulated');
    assert.equal(createEmulatedHost({ linux: '6.12' }).release, '6.12-emulated');
    assert.throws(() => createEmulatedHost({ linux: '6.11' as never }), { code: 'ERR_OUT_OF_RANGE' });
    // The patches are younger than that.
    assert.throws(() => createEmulatedHost({ linux: '6.12', uapi: 'vqueue-v3' }), { code: 'ERR_OUT_OF_RANGE' });
  });
});
