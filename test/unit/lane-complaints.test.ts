// What a lane takes for a defect in the log of its kernel.
import assert from 'node:assert/strict';
import { complaints } from '../vm/machine.js';
import { parametersOf, unforgiven } from '../vm/suites.js';

const LOG = `[    1.0] iommu: Default domain type: Translated
[    2.0] WARNING: drivers/iommu/iommu.c:157 at 0xffffffff8d3854a6, CPU#1: node/85
[    3.0] WARNING: drivers/iommu/iommufd/device.c:9 at 0xffffffff8d3854a6, CPU#1: node/85
[    4.0] Oops: general protection fault: 0000 [#1] SMP in drivers/iommu/iommu.c`;

describe('the log of a machine', () => {
  it('holds warnings and crashes, and what is nothing', () => {
    assert.deepEqual(complaints(LOG), LOG.split('\n').slice(1));
  });

  it('is forgiven a warning of known places where memory is made to fail, and nothing else', () => {
    assert.deepEqual(unforgiven('conformance', complaints(LOG)), complaints(LOG));
    assert.deepEqual(unforgiven('soak', complaints(LOG)), complaints(LOG));
    assert.deepEqual(unforgiven('fail-nth', complaints(LOG)), complaints(LOG).slice(1));
  });

  it('is of a kernel that is told more only where memory is made to fail', () => {
    assert.equal(parametersOf('conformance'), '');
    assert.equal(parametersOf('fail-nth'), 'acpi=noirq');
  });
});
