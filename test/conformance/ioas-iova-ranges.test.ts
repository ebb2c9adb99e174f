// IOMMU_IOAS_IOVA_RANGES.
import assert from 'node:assert/strict';
import type { Ioas } from '../../lib/index.js';
import { IOMMU_IOAS_IOVA_RANGES, iommu_iova_range } from '../../lib/uapi/index.js';
import { IOVA, reserve, U64_MAX } from '../rig/address-space.js';
import { MOCK_APERTURE, MOCK_PAGE_SIZE } from '../rig/mock.js';
import { type Bench, conformance, NO_ID, refused } from '../rig/suite.js';

const ALL = { start: 0n, last: U64_MAX };

/** The call with room for this many ranges; the room is filled with ones before. */
function ask(t: Bench, ioas_id: number, slots: number, room = slots) {
  const bytes = new Uint8Array(room * iommu_iova_range.size).fill(0xff);
  const input = { ioas_id, num_iovas: slots };
  const { code, out } = t.ioctl(IOMMU_IOAS_IOVA_RANGES, input, room > 0 ? { allowed_iovas: bytes } : {});
  const view = new DataView(bytes.buffer);
  const ranges = Array.from({ length: room }, (_, i) => iommu_iova_range.decode(view, i * iommu_iova_range.size));
  return { code, count: out.num_iovas, alignment: out.out_iova_alignment, ranges };
}

/** Reserves `count` separate pages, which leaves count + 1 ranges. */
function fragment(t: Bench, ioas: Ioas, count: number): void {
  for (let i = 1n; i <= BigInt(count); i++) assert.equal(reserve(t, ioas.id, i * 0x10000n, 0x1000n), 'ok');
}

conformance('ioas-iova-ranges', (test) => {
  test('fresh', 'a fresh address space can use all IOVAs, and any byte', (t) => {
    assert.deepEqual(t.iommufd.allocIoas().iovaRanges(), { ranges: [ALL], alignment: 1n });
  });

  test('narrowed', 'a page table narrows it to the aperture, and to the page size of its IOMMU', (t) => {
    const ioas = t.iommufd.allocIoas();
    const hwpt = ioas.allocHwpt(t.mockDevice().device);
    const narrow = {
      ranges: [{ start: MOCK_APERTURE.start, last: MOCK_APERTURE.last }],
      alignment: BigInt(MOCK_PAGE_SIZE),
    };
    assert.deepEqual(ioas.iovaRanges(), narrow);
    hwpt.destroy();
    assert.deepEqual(ioas.iovaRanges(), { ranges: [ALL], alignment: 1n });
  });

  test('attached', 'an attached device narrows it until it is detached', (t) => {
    const ioas = t.iommufd.allocIoas();
    const { device } = t.mockDevice();
    device.attach(ioas);
    assert.equal(ioas.iovaRanges().ranges[0]?.start, MOCK_APERTURE.start);
    assert.equal(ioas.iovaRanges().alignment, BigInt(MOCK_PAGE_SIZE));
    device.detach();
    assert.deepEqual(ioas.iovaRanges(), { ranges: [ALL], alignment: 1n });
  });

  test('other-untouched', 'another address space is not narrowed', (t) => {
    const [ioas, other] = [t.iommufd.allocIoas(), t.iommufd.allocIoas()];
    ioas.allocHwpt(t.mockDevice().device);
    assert.deepEqual(other.iovaRanges(), { ranges: [ALL], alignment: 1n });
  });

  test('mappings', 'mappings do not count: only what is reserved is missing', (t) => {
    const ioas = t.iommufd.allocIoas();
    ioas.map(t.memory(), { iova: IOVA });
    assert.deepEqual(ioas.iovaRanges().ranges, [ALL]);
  });

  test('fragments', 'reserved IOVAs cut ranges, in ascending order', (t) => {
    const ioas = t.iommufd.allocIoas();
    assert.equal(reserve(t, ioas.id, 0x30000n, 0x1000n), 'ok');
    assert.equal(reserve(t, ioas.id, 0x10000n, 0x1000n), 'ok');
    assert.deepEqual(ioas.iovaRanges().ranges, [
      { start: 0n, last: 0xffffn },
      { start: 0x11000n, last: 0x2ffffn },
      { start: 0x31000n, last: U64_MAX },
    ]);
    refused('EINVAL', () => ioas.map(t.memory(), { iova: 0x8000n }));
  });

  test('joined', 'neighbouring and overlapping reservations are one gap', (t) => {
    const ioas = t.iommufd.allocIoas();
    for (const start of [0x10000n, 0x11000n, 0x11800n]) assert.equal(reserve(t, ioas.id, start, 0x1000n), 'ok');
    assert.deepEqual(ioas.iovaRanges().ranges, [
      { start: 0n, last: 0xffffn },
      { start: 0x12800n, last: U64_MAX },
    ]);
  });

  test('ends', 'reservations at both ends leave the middle', (t) => {
    const ioas = t.iommufd.allocIoas();
    assert.equal(reserve(t, ioas.id, 0n, 0x1000n), 'ok');
    assert.equal(reserve(t, ioas.id, U64_MAX - 0xfffn, 0x1000n), 'ok');
    assert.deepEqual(ioas.iovaRanges().ranges, [{ start: 0x1000n, last: U64_MAX - 0x1000n }]);
  });

  test('none-left', 'nothing is left when all is reserved', (t) => {
    const ioas = t.iommufd.allocIoas();
    assert.equal(reserve(t, ioas.id, 0n, U64_MAX), 'ok');
    assert.deepEqual(ioas.iovaRanges().ranges, [{ start: U64_MAX, last: U64_MAX }]);
    assert.equal(reserve(t, ioas.id, U64_MAX, 1n), 'ok');
    assert.deepEqual(ioas.iovaRanges().ranges, []);
    assert.equal(ask(t, ioas.id, 0).code, 'ok');
    refused('ENOSPC', () => ioas.map(t.memory()));
  });

  test('many', 'the object asks for more room when there are many ranges', (t) => {
    const ioas = t.iommufd.allocIoas();
    fragment(t, ioas, 50);
    const { ranges } = ioas.iovaRanges();
    assert.equal(ranges.length, 51);
    assert.deepEqual(ranges[50], { start: 50n * 0x10000n + 0x1000n, last: U64_MAX });
  });

  test('emsgsize', 'too little room is EMSGSIZE, with the count, the alignment and as many ranges as fit', (t) => {
    const ioas = t.iommufd.allocIoas();
    fragment(t, ioas, 3);
    const { code, count, alignment, ranges } = ask(t, ioas.id, 2, 3);
    assert.equal(code, 'EMSGSIZE');
    assert.equal(count, 4);
    assert.equal(alignment, 1n);
    assert.deepEqual(ranges.slice(0, 2), [
      { start: 0n, last: 0xffffn },
      { start: 0x11000n, last: 0x1ffffn },
    ]);
    assert.deepEqual(ranges[2], { start: U64_MAX, last: U64_MAX }, 'wrote behind the room given');
  });

  test('zero-slots', 'no room at all tells the count, without a pointer', (t) => {
    const ioas = t.iommufd.allocIoas();
    const { code, count, alignment } = ask(t, ioas.id, 0);
    assert.equal(code, 'EMSGSIZE');
    assert.equal(count, 1);
    assert.equal(alignment, 1n);
  });

  test('exact-and-spare', 'exactly enough room, and more, both work', (t) => {
    const ioas = t.iommufd.allocIoas();
    fragment(t, ioas, 1);
    assert.equal(ask(t, ioas.id, 2).code, 'ok');
    const spare = ask(t, ioas.id, 4);
    assert.equal(spare.code, 'ok');
    assert.equal(spare.count, 2);
    assert.deepEqual(spare.ranges[2], { start: U64_MAX, last: U64_MAX });
  });

  test('bad-pointer', 'room that is not mapped is EFAULT', (t) => {
    const { id } = t.iommufd.allocIoas();
    const input = { ioas_id: id, num_iovas: 1, allowed_iovas: 8n };
    assert.equal(t.ioctl(IOMMU_IOAS_IOVA_RANGES, input).code, 'EFAULT');
  });

  test('reserved', 'refuses a reserved field that is not 0, before the id', (t) => {
    assert.equal(t.ioctl(IOMMU_IOAS_IOVA_RANGES, { ioas_id: NO_ID, __reserved: 1 }).code, 'EOPNOTSUPP');
  });

  test('unknown-ioas', 'an unknown address space is ENOENT', (t) => {
    const queue = t.iommufd.allocFaultQueue();
    for (const id of [0, NO_ID, queue.id]) assert.equal(ask(t, id, 1).code, 'ENOENT');
  });
});
