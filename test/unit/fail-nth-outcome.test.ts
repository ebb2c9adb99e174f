// What passes for an answer to an allocation that failed in the lane, and what does not.
import assert from 'node:assert/strict';
import { IommufdError, UsageError } from '../../lib/index.js';
import type { FailureKind } from '../rig/fail-nth.js';
import { checkError, checkResult } from '../rig/fail-nth-outcome.js';

const ENOENT = -2;
const ENOMEM = -12;
const ENOSPC = -28;

const check = (kind: FailureKind, error: unknown) => () =>
  checkError('here', { kinds: [kind], call: 'ioctl', result: ENOMEM }, error);
const refused = (syscall: string, errno: number) => new IommufdError(syscall, errno, { length: 1n });

describe('answers to allocations that failed', () => {
  it('are ENOMEM, told by the library', () => {
    assert.doesNotThrow(check('failslab', refused('IOMMU_IOAS_MAP', ENOMEM)));
    assert.doesNotThrow(check('fail_page_alloc', refused('mmap', ENOMEM)));
    assert.throws(check('failslab', refused('IOMMU_IOAS_MAP', ENOENT)), /here.*ENOENT/);
    assert.throws(check('failslab', new UsageError('ERR_IOMMUFD_UNAVAILABLE', 'there is no such device')), /here/);
    assert.throws(check('failslab', new Error('ENOMEM')), /here/);
    assert.throws(check('failslab', undefined), /here/);
  });

  it('are others where Linux has others', () => {
    assert.doesNotThrow(check('failslab', refused('memfd_create', ENOSPC)));
    assert.throws(check('failslab', refused('mmap', ENOSPC)), /ENOSPC/);
    assert.doesNotThrow(check('fail_iommufd', refused('IOMMU_IOAS_MAP', ENOENT)), "at iommufd's own points");
    assert.throws(check('fail_iommufd', refused('IOMMU_IOAS_MAP', ENOSPC)), /ENOSPC/);
  });

  it('are the same as ever where an operation works all the same', () => {
    const report = { address: '0000:01:00.0', groupMembers: ['0000:01:00.0'], missing: [] };
    assert.doesNotThrow(() => checkResult('here', [report], [{ ...report }]));
    assert.throws(() => checkResult('here', [], [report]), /here/);
    assert.throws(() => checkResult('here', [{ ...report, missing: ['driver'] }], [report]), /here/);
    assert.throws(() => checkResult('here', undefined, report), /here/);
  });

  it('that are objects have ids of their own', () => {
    assert.doesNotThrow(() => checkResult('here', new Map([[1, 2]]), new Map()));
    assert.doesNotThrow(() => checkResult('here', 0x1000n, 0x2000n));
  });
});
