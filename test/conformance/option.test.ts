// IOMMU_OPTION.
import assert from 'node:assert/strict';
import { IOMMU_OPTION, iommufd_option, iommufd_option_ops } from '../../lib/uapi/index.js';
import { IOVA, translation } from '../rig/address-space.js';
import { conformance, NO_ID, PAGE, PAGE_SIZE, refused } from '../rig/suite.js';

const { IOMMU_OPTION_RLIMIT_MODE: RLIMIT_MODE, IOMMU_OPTION_HUGE_PAGES: HUGE_PAGES } = iommufd_option.values;
const { IOMMU_OPTION_OP_SET: SET, IOMMU_OPTION_OP_GET: GET } = iommufd_option_ops.values;

conformance('option', (test) => {
  test('huge-pages', 'huge pages are on at first, and can be turned off and on', (t) => {
    const ioas = t.iommufd.allocIoas();
    assert.equal(ioas.hugePages, true);
    ioas.hugePages = false;
    assert.equal(ioas.hugePages, false);
    ioas.hugePages = false;
    ioas.hugePages = true;
    assert.equal(ioas.hugePages, true);
  });

  test('huge-pages-own', 'it is an option of one address space', (t) => {
    const [a, b] = [t.iommufd.allocIoas(), t.iommufd.allocIoas()];
    a.hugePages = false;
    assert.equal(b.hugePages, true);
  });

  test('huge-pages-alignment', 'without huge pages everything is aligned to pages', (t) => {
    const ioas = t.iommufd.allocIoas();
    ioas.hugePages = false;
    assert.equal(ioas.iovaRanges().alignment, PAGE);
    refused('EINVAL', () => ioas.map(t.memory(), { iova: IOVA + 0x800n }));
  });

  test('huge-pages-misaligned', 'turning them off over a mapping not aligned to pages is EADDRINUSE', (t) => {
    const ioas = t.iommufd.allocIoas();
    ioas.map(t.memory(), { iova: IOVA + 0x800n, length: PAGE_SIZE });
    refused('EADDRINUSE', () => {
      ioas.hugePages = false;
    });
    assert.equal(ioas.hugePages, true);
  });

  test('huge-pages-mapped', 'they cannot be turned off once a page table has something mapped', (t) => {
    const ioas = t.iommufd.allocIoas();
    ioas.map(t.memory(), { iova: IOVA });
    const hwpt = ioas.allocHwpt(t.mockDevice().device);
    const error = refused('EINVAL', () => {
      ioas.hugePages = false;
    });
    assert.match(error.message, /hint: /);
    ioas.unmapAll();
    ioas.hugePages = false;
    const ram = t.memory();
    ioas.map(ram, { iova: IOVA });
    assert.equal(translation(t, hwpt, IOVA, ram, 0, ram.size), 'ok');
    // On again is always possible.
    ioas.hugePages = true;
  });

  test('huge-pages-value', 'a value other than 0 and 1 is EINVAL', (t) => {
    const { id } = t.iommufd.allocIoas();
    const input = { option_id: HUGE_PAGES, op: SET, object_id: id };
    for (const val64 of [2n, 1n << 32n]) assert.equal(t.ioctl(IOMMU_OPTION, { ...input, val64 }).code, 'EINVAL');
    assert.throws(
      () => {
        t.iommufd.allocIoas().hugePages = 1 as never;
      },
      { code: 'ERR_INVALID_ARG_TYPE' },
    );
  });

  test('huge-pages-get', 'getting writes the value back, whatever was there', (t) => {
    const { id } = t.iommufd.allocIoas();
    const { code, out } = t.ioctl(IOMMU_OPTION, { option_id: HUGE_PAGES, op: GET, object_id: id, val64: 77n });
    assert.equal(code, 'ok');
    assert.equal(out.val64, 1n);
  });

  test('huge-pages-id', 'an unknown address space is ENOENT, before the operation is looked at', (t) => {
    const queue = t.iommufd.allocFaultQueue();
    for (const object_id of [0, NO_ID, queue.id]) {
      assert.equal(t.ioctl(IOMMU_OPTION, { option_id: HUGE_PAGES, op: 7, object_id }).code, 'ENOENT');
    }
  });

  test('bad-op', 'an unknown operation is EOPNOTSUPP', (t) => {
    assert.equal(t.ioctl(IOMMU_OPTION, { option_id: RLIMIT_MODE, op: 2 }).code, 'EOPNOTSUPP');
    const { id } = t.iommufd.allocIoas();
    assert.equal(t.ioctl(IOMMU_OPTION, { option_id: HUGE_PAGES, op: 2, object_id: id }).code, 'EOPNOTSUPP');
  });

  test('bad-option', 'an unknown option is EOPNOTSUPP', (t) => {
    const { id } = t.iommufd.allocIoas();
    for (const option_id of [2, 0xffff_ffff]) {
      assert.equal(t.ioctl(IOMMU_OPTION, { option_id, op: GET, object_id: id }).code, 'EOPNOTSUPP');
    }
  });

  test('reserved', 'refuses a reserved field that is not 0, first of all', (t) => {
    for (const option_id of [RLIMIT_MODE, HUGE_PAGES, 99]) {
      const input = { option_id, op: GET, object_id: NO_ID, __reserved: 1 };
      assert.equal(t.ioctl(IOMMU_OPTION, input).code, 'EOPNOTSUPP');
    }
  });

  test('rlimit-get', 'the user pays at first', (t) => {
    const { code, out } = t.ioctl(IOMMU_OPTION, { option_id: RLIMIT_MODE, op: GET, val64: 5n });
    assert.equal(code, 'ok');
    assert.equal(out.val64, 0n);
  });

  test('rlimit-object', 'the mode is of the whole file: an object id is EOPNOTSUPP', (t) => {
    const { id } = t.iommufd.allocIoas();
    for (const op of [GET, SET]) {
      assert.equal(t.ioctl(IOMMU_OPTION, { option_id: RLIMIT_MODE, op, object_id: id }).code, 'EOPNOTSUPP');
    }
  });

  test('rlimit-value', 'a value other than 0 and 1 is EINVAL, and changes nothing', (t) => {
    t.iommufd.rlimitMode = 'process';
    const input = { option_id: RLIMIT_MODE, op: SET, val64: 2n };
    assert.equal(t.ioctl(IOMMU_OPTION, input).code, 'EINVAL');
    assert.equal(t.iommufd.rlimitMode, 'process');
  });

  test('rlimit-order', 'that an object exists is noticed before the value', (t) => {
    t.iommufd.allocIoas();
    assert.equal(t.ioctl(IOMMU_OPTION, { option_id: RLIMIT_MODE, op: SET, val64: 2n }).code, 'EBUSY');
  });
});
