// VFIO_IOMMU_GET_INFO on /dev/iommu.
import assert from 'node:assert/strict';
import {
  VFIO_IOMMU_GET_INFO,
  VFIO_SET_IOMMU,
  vfio_extension,
  vfio_iommu_type1_info,
  vfio_iommu_type1_info_cap_iova_range,
  vfio_iommu_type1_info_dma_avail,
  vfio_iova_range,
} from '../../lib/uapi/index.js';
import { reserve, U64_MAX } from '../rig/address-space.js';
import { MOCK_APERTURE } from '../rig/mock.js';
import { type Bench, codeOf, conformance, PAGE } from '../rig/suite.js';
import { compatIoas } from '../rig/vfio-compat.js';

const INFO = vfio_iommu_type1_info;
const RANGES = vfio_iommu_type1_info_cap_iova_range;
const PGSIZES_AND_CAPS = 3;
/** Where the capabilities come to lie: behind the struct, and behind the first one. */
const FIRST = 24;
const SECOND = 40;
const FILLER = 0xaa;

/** Asks with that much room, and answers all the bytes, with what lies behind them. */
function ask(t: Bench, argsz: number): { code: string; view: DataView } {
  const { seam } = t.rig;
  const { arena } = seam;
  const mark = arena.mark();
  const at = arena.take(512);
  arena.bytes.fill(FILLER, at, at + 512);
  arena.view.setUint32(at, argsz, true);
  const code = codeOf(seam.ioctl(t.iommufd.fd, VFIO_IOMMU_GET_INFO.request, at));
  const bytes = arena.bytes.slice(at, at + 512);
  arena.release(mark);
  return { code, view: new DataView(bytes.buffer) };
}

/** Bytes that nobody wrote, from an offset on. */
function isUntouched(view: DataView, from: number): boolean {
  return new Uint8Array(view.buffer).subarray(from).every((byte) => byte === FILLER);
}

/** All ranges that can be mapped. */
function rangesOf(view: DataView): unknown {
  const { header, nr_iovas } = RANGES.decode(view, SECOND);
  assert.deepEqual(header, { id: 1, version: 1, next: 0 });
  const at = SECOND + RANGES.size;
  return Array.from({ length: nr_iovas }, (_, i) => vfio_iova_range.decode(view, at + i * vfio_iova_range.size));
}

conformance('vfio-compat-info', (test) => {
  test('short', 'fewer bytes than the first version had are EINVAL', (t) => {
    compatIoas(t);
    for (const argsz of [0, 15]) {
      const { code, view } = ask(t, argsz);
      assert.equal(code, 'EINVAL');
      assert(isUntouched(view, 4));
    }
  });

  test('first-version', 'the first version: page sizes, and how much there is to tell', (t) => {
    compatIoas(t);
    const { code, view } = ask(t, 16);
    assert.equal(code, 'ok');
    const { argsz, flags, iova_pgsizes } = INFO.decode(view, 0);
    assert.deepEqual([argsz, flags, iova_pgsizes], [72, PGSIZES_AND_CAPS, U64_MAX - PAGE + 1n]);
    assert(isUntouched(view, 16));
  });

  test('chain', 'all of it', (t) => {
    compatIoas(t);
    const { code, view } = ask(t, 72);
    assert.equal(code, 'ok');
    assert.deepEqual([INFO.decode(view, 0).argsz, INFO.decode(view, 0).cap_offset], [72, FIRST]);
    const avail = vfio_iommu_type1_info_dma_avail.decode(view, FIRST);
    assert.deepEqual(avail, { header: { id: 3, version: 1, next: SECOND }, avail: 0xffff_ffff });
    assert.deepEqual(rangesOf(view), [{ start: 0n, end: U64_MAX }]);
    assert(isUntouched(view, 72));
  });

  test(
    'room',
    'whatever room there is, nothing behind it is written, and no chain is told of that is not whole',
    (t) => {
      compatIoas(t);
      for (let argsz = 16; argsz <= 80; argsz++) {
        const { code, view } = ask(t, argsz);
        assert.equal(code, 'ok');
        assert(isUntouched(view, Math.max(16, argsz)), `${argsz} bytes`);
        assert.equal(view.getUint32(0, true), 72);
        if (argsz >= 24)
          assert.equal(view.getUint32(INFO.at.cap_offset, true), argsz < 72 ? 0 : FIRST, `${argsz} bytes`);
        // A capability that fits is written, and told where the next one would be.
        if (argsz >= FIRST + 12 && argsz < SECOND) assert.equal(view.getUint32(FIRST + 4, true), 0);
        if (argsz >= SECOND && argsz < 72) assert.equal(view.getUint32(FIRST + 4, true), SECOND);
      }
    },
  );

  test('ranges', 'what a device cannot use, and what is reserved, is left out', (t) => {
    const ioas = compatIoas(t);
    const { start, last } = MOCK_APERTURE;
    ioas.allocHwpt(t.mockDevice().device);
    assert.equal(reserve(t, ioas.id, start + 4n * PAGE, PAGE), 'ok');
    const { view } = ask(t, 500);
    assert.equal(view.getUint32(0, true), 88);
    assert.deepEqual(rangesOf(view), [
      { start, end: start + 4n * PAGE - 1n },
      { start: start + 5n * PAGE, end: last },
    ]);
    // The first range is written where it fits, whatever becomes of the rest.
    const some = ask(t, 72).view;
    assert.equal(some.getBigUint64(SECOND + RANGES.size, true), start);
    assert(new Uint8Array(some.buffer).subarray(SECOND, SECOND + RANGES.size).every((byte) => byte === FILLER));
  });

  test('page-sizes', 'page sizes are those of the page tables, without what is smaller than a page', (t) => {
    const ioas = compatIoas(t);
    const sizes = () => INFO.decode(ask(t, 24).view, 0).iova_pgsizes;
    assert.equal(
      t.rig.seam.ioctlValue(t.iommufd.fd, VFIO_SET_IOMMU.request, vfio_extension.values.VFIO_TYPE1_IOMMU),
      0,
    );
    assert.equal(sizes(), U64_MAX - PAGE + 1n);
    ioas.allocHwpt(t.mockDevice().device);
    assert.equal(sizes(), t.onLinux('6.12') ? PAGE : 2n ** 37n - PAGE);
  });
});
