// Registers of a vIOMMU: the mmap pair, what the kernel maps, and the windows that callers get.
import assert from 'node:assert/strict';
import { iommu_viommu_selftest, test_mock_domain } from '../../lib/emulated/hardware/selftest/uapi.js';
import {
  IOMMU_HWPT_ALLOC,
  IOMMU_IOAS_ALLOC,
  IOMMU_VIOMMU_ALLOC,
  iommufd_hwpt_alloc_flags,
} from '../../lib/uapi/index.js';
import type { Region } from '../../lib/unsafe.js';
import {
  assertUnmapped,
  type Guest,
  makeGuest,
  makeViommu,
  rawMmap,
  VIOMMU_TYPE,
  viommuData,
  wholeRegion,
} from '../rig/guest.js';
import { testCmd } from '../rig/mock.js';
import { type Bench, conformance, portOf, refused } from '../rig/suite.js';

const IN_DATA = 0x8765_4321;

/** The raw pair, and a page's size. */
function pairOf(t: Bench, guest: Guest) {
  return { ...guest.viommu.mmapRegion, page: BigInt(t.rig.seam.pageSize) };
}

/** A vIOMMU made without any object, on an iommufd opened the same way: its fd can go first. */
function rawViommu(t: Bench, inData: number): { fd: number; offset: bigint; length: bigint } {
  const { seam } = t.rig;
  const fd = seam.open('/dev/iommu', 2);
  assert(fd >= 0);
  const { out_ioas_id: ioas } = t.ioctl(IOMMU_IOAS_ALLOC, {}, {}, fd).out;
  const { out_idev_id: dev_id } = testCmd(portOf(t, fd), 'IOMMU_TEST_OP_MOCK_DOMAIN', test_mock_domain, { id: ioas });
  const flags = iommufd_hwpt_alloc_flags.values.IOMMU_HWPT_ALLOC_NEST_PARENT;
  const { out_hwpt_id: hwpt_id } = t.ioctl(IOMMU_HWPT_ALLOC, { flags, dev_id, pt_id: ioas }, {}, fd).out;
  const data = viommuData(inData);
  const input = { type: VIOMMU_TYPE, dev_id, hwpt_id, data_len: data.length };
  assert.equal(t.ioctl(IOMMU_VIOMMU_ALLOC, input, { data_uptr: data }, fd).code, 'ok');
  const { out_mmap_offset: offset, out_mmap_length: length } = iommu_viommu_selftest.decode(
    new DataView(data.buffer),
    0,
  );
  return { fd, offset, length };
}

conformance('mmap', (test) => {
  test('region', 'the pair is a page-aligned offset, not 0, and the length of the registers', (t) => {
    const { offset, length, page } = pairOf(t, makeGuest(t));
    assert.equal(length, 2n * page);
    assert.notEqual(offset, 0n);
    assert.equal(offset % page, 0n);
  });

  test('exact', 'the kernel maps the pair as it was told', (t) => {
    const { offset, length } = pairOf(t, makeGuest(t));
    assert.equal(rawMmap(t, offset, length), 'ok');
    assert.equal(rawMmap(t, offset, length), 'ok');
  });

  test('shorter', 'a shorter length is ENXIO', (t) => {
    const { offset, page } = pairOf(t, makeGuest(t));
    assert.equal(rawMmap(t, offset, page), 'ENXIO');
  });

  test('longer', 'a longer length is ENXIO', (t) => {
    const { offset, length, page } = pairOf(t, makeGuest(t));
    assert.equal(rawMmap(t, offset, length + page), 'ENXIO');
  });

  test('inside', 'an offset inside the region is ENXIO, whatever the length', (t) => {
    const { offset, length, page } = pairOf(t, makeGuest(t));
    assert.equal(rawMmap(t, offset + page, length - page), 'ENXIO');
    assert.equal(rawMmap(t, offset + page, length), 'ENXIO');
  });

  test('unknown', 'an offset that was not handed out is ENXIO', (t) => {
    const { offset, length } = pairOf(t, makeGuest(t));
    assert.equal(rawMmap(t, 0n, length), 'ENXIO');
    assert.equal(rawMmap(t, offset + length, length), 'ENXIO');
    assert.equal(rawMmap(t, 1n << 40n, length), 'ENXIO');
  });

  test('none-yet', 'an iommufd that handed out nothing maps nothing', (t) => {
    const { offset, length } = pairOf(t, makeGuest(t));
    assert.equal(rawMmap(t, offset, length, t.openIommufd().fd), 'ENXIO');
  });

  test('gone', 'the pair of a vIOMMU that was destroyed is ENXIO', (t) => {
    const guest = makeGuest(t);
    const { offset, length } = pairOf(t, guest);
    guest.viommu.destroy();
    assert.equal(rawMmap(t, offset, length), 'ENXIO');
  });

  test('refused-no-holder', 'a refused mmap does not hold the vIOMMU', (t) => {
    const guest = makeGuest(t);
    const { offset, page } = pairOf(t, guest);
    rawMmap(t, offset, page);
    guest.viommu.destroy();
  });

  test('content', 'the first register is the in_data of the vIOMMU', (t) => {
    const { viommu } = makeGuest(t, { inData: IN_DATA });
    const registers = viommu.mmap();
    assert.equal(registers.length, wholeRegion(t));
    assert.equal(registers.read32(0), IN_DATA);
    assert.equal(registers.read32(4), 0);
    registers.unmap();
  });

  test('window-length', 'a window has any length up to the region: bytes, not pages', (t) => {
    const { viommu } = makeGuest(t, { inData: IN_DATA });
    for (const length of [1, 4, 64, 4095, 4097n, wholeRegion(t)]) {
      const window = viommu.mmap({ length });
      assert.equal(window.length, Number(length));
      assert.equal(window.read8(0), IN_DATA & 0xff);
      assert.throws(() => window.read8(Number(length)), { code: 'ERR_OUT_OF_RANGE' });
      window.unmap();
    }
  });

  test('window-too-long', 'a window longer than the region, or empty, is a RangeError and maps nothing', (t) => {
    const { viommu } = makeGuest(t);
    for (const length of [0, 0n, wholeRegion(t) + 1, 2n ** 53n, 2 ** 40]) {
      assert.throws(() => viommu.mmap({ length }), {
        name: 'RangeError',
        code: 'ERR_OUT_OF_RANGE',
        message: /^length/,
      });
    }
    assert.deepEqual(viommu.heldBy, []);
    viommu.destroy();
  });

  test('shared', 'windows show the same registers', (t) => {
    const { viommu } = makeGuest(t);
    const first = viommu.mmap();
    const second = viommu.mmap({ length: 64 });
    first.write32(16, 0xabcd);
    assert.equal(second.read32(16), 0xabcd);
    assert.equal(second.address, first.address);
  });

  test('shared-release', 'the mapping goes with its last window, and can be made again', (t) => {
    const { viommu } = makeGuest(t, { inData: 3 });
    const first = viommu.mmap();
    const second = viommu.mmap({ length: 64 });
    first.unmap();
    assertUnmapped(first);
    assert.equal(second.read32(0), 3);
    refused('EBUSY', () => viommu.destroy());
    second.unmap();
    const third = viommu.mmap();
    third.write32(0, 4);
    assert.equal(third.read32(0), 4);
    third.unmap();
    viommu.destroy();
  });

  test('raw-shared', 'a mapping past the objects shows the same registers', (t) => {
    const { viommu } = makeGuest(t, { inData: 9 });
    const registers = viommu.mmap();
    registers.write32(32, 77);
    const { offset, length } = viommu.mmapRegion;
    const region = t.rig.seam.mapMmio(t.iommufd.fd, Number(offset), Number(length)) as Region;
    t.later(() => region.free());
    assert.equal(region.read32(0), 9);
    assert.equal(region.read32(32), 77);
  });

  test('busy', 'while mapped, destroying the vIOMMU is EBUSY, and the message names the mmap', (t) => {
    const { viommu } = makeGuest(t, { inData: 1 });
    const window = viommu.mmap();
    viommu.mmap({ length: 4 });
    const error = refused('EBUSY', () => viommu.destroy());
    assert.match(error.message, /held by mmap of viommu \d+ \(2 window\(s\)\)/);
    assert.match(error.message, /unmap its MMIO/);
    assert.equal(window.read32(0), 1);
  });

  test('busy-raw', 'a mapping that the object does not know of makes it EBUSY too', (t) => {
    const { viommu } = makeGuest(t);
    const { offset, length } = viommu.mmapRegion;
    const region = t.rig.seam.mapMmio(t.iommufd.fd, Number(offset), Number(length)) as Region;
    refused('EBUSY', () => viommu.destroy());
    assert.equal(region.free(), 0);
    viommu.destroy();
  });

  test('viommu-dispose', 'disposing of the vIOMMU takes its windows first', (t) => {
    const { viommu } = makeGuest(t);
    const windows = [viommu.mmap(), viommu.mmap({ length: 8 })];
    viommu[Symbol.dispose]();
    assert.equal(viommu.destroyed, true);
    for (const window of windows) assertUnmapped(window);
  });

  test('close', 'closing the iommufd takes live windows with it', (t) => {
    const iommufd = t.openIommufd();
    const window = makeGuest(t, {}, iommufd).viommu.mmap();
    const sub = window.subregion(0, 8);
    iommufd.close();
    assertUnmapped(window);
    assertUnmapped(sub);
    window.unmap();
  });

  test('queue-pair', 'a hardware queue tells the pair of its vIOMMU, and maps any length of it', (t) => {
    const guest = makeGuest(t, { inData: 11 });
    const queue = guest.queue(0);
    assert.deepEqual(queue.mmapRegion, guest.viommu.mmapRegion);
    const window = queue.mmap({ length: 64 });
    assert.equal(window.length, 64);
    assert.equal(window.read32(0), 11);
    assert.equal(queue.mmap().length, wholeRegion(t));
    for (const length of [0, wholeRegion(t) + 1]) {
      assert.throws(() => queue.mmap({ length }), { name: 'RangeError', code: 'ERR_OUT_OF_RANGE' });
    }
  });

  test('queue-destroy', 'a mapping does not hold the queue: it may go, and the registers stay', (t) => {
    const guest = makeGuest(t, { inData: 12 });
    const queue = guest.queue(0);
    const window = queue.mmap();
    assert.deepEqual(queue.heldBy, []);
    queue.destroy();
    assert.equal(window.read32(0), 12);
    assert.throws(() => queue.mmap(), { code: 'ERR_IOMMUFD_DESTROYED' });
    refused('EBUSY', () => guest.viommu.destroy());
    window.unmap();
    guest.viommu.destroy();
  });

  test('two-viommus', 'two vIOMMUs have regions of their own that do not overlap', (t) => {
    const guest = makeGuest(t, { inData: 1 });
    const other = makeViommu(guest.parent, guest.device, 2);
    const [a, b] = [guest.viommu.mmapRegion, other.mmapRegion];
    assert(a.offset + a.length <= b.offset || b.offset + b.length <= a.offset);
    const [first, second] = [guest.viommu.mmap(), other.mmap()];
    first.write32(0, 100);
    assert.equal(second.read32(0), 2);
    assert.equal(rawMmap(t, a.offset < b.offset ? a.offset : b.offset, a.length + b.length), 'ENXIO');
  });

  test('two-iommufds', 'two iommufds have pages of their own, whatever their offsets', (t) => {
    const first = makeGuest(t, { inData: 21 }).viommu.mmap();
    const second = makeGuest(t, { inData: 22 }, t.openIommufd()).viommu.mmap();
    assert.equal(first.read32(0), 21);
    assert.equal(second.read32(0), 22);
    second.write32(8, 5);
    assert.equal(first.read32(8), 0);
  });

  test('survives-close', 'a mapping past the objects keeps registers and iommufd alive after its fd is closed', (t) => {
    t.needs(IOMMU_VIOMMU_ALLOC);
    const { seam } = t.rig;
    const { fd, offset, length } = rawViommu(t, 0x77);
    const region = seam.mapMmio(fd, Number(offset), Number(length)) as Region;
    assert.equal(seam.close(fd), 0);
    assert.equal(region.read32(0), 0x77);
    region.write32(4, 0x88);
    assert.equal(region.read32(4), 0x88);
    assert.equal(region.free(), 0);
  });
});
