// IOMMU_IOAS_ALLOC.
import assert from 'node:assert/strict';
import { IOMMU_DESTROY, IOMMU_IOAS_ALLOC, IOMMU_IOAS_IOVA_RANGES } from '../../lib/uapi/index.js';
import { conformance, NO_ID, refused } from '../rig/suite.js';

conformance('ioas-alloc', (test) => {
  test('ids', 'gives every address space an id of its own, never 0', (t) => {
    const ids = Array.from({ length: 20 }, () => t.iommufd.allocIoas().id);
    assert.equal(new Set(ids).size, 20);
    assert(ids.every((id) => id > 0));
  });

  test('id-again', 'gives the id of a destroyed address space to the next one', (t) => {
    const [first, second] = [t.iommufd.allocIoas(), t.iommufd.allocIoas()];
    const { id } = first;
    first.destroy();
    assert.equal(t.iommufd.allocIoas().id, id);
    assert.equal(second.destroyed, false);
  });

  test('flags', 'refuses flags, and makes nothing', (t) => {
    for (const flags of [1, 0x8000_0000]) {
      const { code, out } = t.ioctl(IOMMU_IOAS_ALLOC, { flags });
      assert.equal(code, 'EOPNOTSUPP');
      assert.equal(out.out_ioas_id, 0);
    }
    t.iommufd.rlimitMode = 'process';
  });

  test('id-in', 'does not care what the id field held', (t) => {
    const { code, out } = t.ioctl(IOMMU_IOAS_ALLOC, { out_ioas_id: NO_ID });
    assert.equal(code, 'ok');
    assert.notEqual(out.out_ioas_id, NO_ID);
    assert.equal(t.destroyId(out.out_ioas_id), 'ok');
  });

  test('separate', 'address spaces know nothing of each other', (t) => {
    const [a, b] = [t.iommufd.allocIoas(), t.iommufd.allocIoas()];
    const ram = t.memory();
    a.map(ram, { iova: 0n });
    b.map(ram, { iova: 0n });
    assert.equal(a.unmapAll(), BigInt(ram.size));
    assert.equal(b.mappingCount, 1);
    assert.equal(b.unmapAll(), BigInt(ram.size));
  });

  test('per-file', 'an id means nothing on another iommufd', (t) => {
    const other = t.openIommufd();
    t.iommufd.allocIoas();
    const { out_ioas_id: id } = t.ioctl(IOMMU_IOAS_ALLOC, {}).out;
    assert.equal(t.ioctl(IOMMU_DESTROY, { id }, {}, other.fd).code, 'ENOENT');
    assert.equal(t.ioctl(IOMMU_IOAS_IOVA_RANGES, { ioas_id: id }, {}, other.fd).code, 'ENOENT');
    assert.equal(t.destroyId(id), 'ok');
  });

  test('object', 'the object tells what it is', (t) => {
    const ioas = t.iommufd.allocIoas();
    assert.equal(ioas.type, 'ioas');
    assert.equal(ioas.iommufd, t.iommufd);
    assert.deepEqual(ioas.parents, []);
    assert.deepEqual(ioas.heldBy, []);
    assert.equal(ioas.describe(), `ioas ${ioas.id}`);
    assert.deepEqual(ioas.toJSON(), { type: 'ioas', id: ioas.id, destroyed: false, madeFrom: [], heldBy: [] });
    assert(t.iommufd.objects.includes(ioas));
  });

  test('adopt', 'an address space made by somebody else can be used by its id', (t) => {
    const { out } = t.ioctl(IOMMU_IOAS_ALLOC, {});
    const ioas = t.iommufd.adoptIoas(out.out_ioas_id);
    const ram = t.memory();
    const iova = ioas.map(ram);
    assert.equal(ioas.unmap(iova, ram.size), BigInt(ram.size));
    ioas.destroy();
    assert.equal(t.destroyId(out.out_ioas_id), 'ENOENT');
  });

  test('adopt-unknown', 'an id that is no address space is refused when it is used', (t) => {
    const ioas = t.iommufd.adoptIoas(NO_ID);
    refused('ENOENT', () => ioas.iovaRanges());
    refused('ENOENT', () => ioas.destroy());
    assert.equal(ioas.destroyed, true);
    assert.throws(() => t.iommufd.adoptIoas(-1), { name: 'RangeError', code: 'ERR_OUT_OF_RANGE' });
    assert.throws(() => t.iommufd.adoptIoas('1' as never), { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' });
  });
});
