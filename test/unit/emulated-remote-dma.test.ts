// DMA of an emulated machine's devices to the memory of programs outside of it: what is mapped by address and by file, and
// what the kernel's mock tells of pages.
import assert from 'node:assert/strict';
import * as selftest from '../../lib/emulated/hardware/selftest/uapi.js';
import { FETCH, TableMemory } from '../../lib/emulated/hardware/table-memory.js';
import * as uapi from '../../lib/uapi/index.js';
import { MAP, PAGE, PROT } from '../rig/mapped-program.js';
import { APERTURE, type Guest, guestStage } from '../rig/remote-guest.js';
import { needsPrograms } from '../rig/remote-stage.js';

const EIO = -5;
const ENOMEM = -12;
const EFAULT = -14;
const EINVAL = -22;
const MOCK_PAGE = 2048;

function pattern(length: number, seed: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 7 + seed) & 0xff);
}
function dmaRead(mock: { dmaRead(iova: bigint, into: Uint8Array): number }, iova: bigint, length: number) {
  const bytes = new Uint8Array(length);
  const rc = mock.dmaRead(iova, bytes);
  return rc === 0 ? bytes : rc;
}
function checkMap(guest: Guest, fd: number, id: number, address: number, length: number, iova: bigint) {
  const input = { id, iova, length: BigInt(length), uptr: BigInt(address) };
  const answer = guest.test(fd, 'IOMMU_TEST_OP_MD_CHECK_MAP', selftest.test_check_map, input);
  return typeof answer === 'number' ? answer : 0;
}
function checkRefs(guest: Guest, fd: number, address: number, length: number, refs: number) {
  const input = { uptr: BigInt(address), length: BigInt(length), refs };
  const answer = guest.test(fd, 'IOMMU_TEST_OP_MD_CHECK_REFS', selftest.test_check_refs, input);
  return typeof answer === 'number' ? answer : 0;
}
function unmapAll(guest: Guest, fd: number, ioas_id: number): void {
  guest.must(fd, uapi.IOMMU_IOAS_UNMAP, { ioas_id, iova: 0n, length: 2n ** 64n - 1n });
}

describe('DMA to the memory of another process', () => {
  needsPrograms();

  for (const scatter of [false, true]) {
    it(`reaches it at any border${scatter ? ', where memory is scattered' : ''}`, async () => {
      const { guest, program, fd, ioas, mock, attach } = await guestStage({ scatter });
      const at = await program.map(8 * PAGE);
      attach();
      assert.equal(guest.map(fd, ioas, at, 8 * PAGE, APERTURE), 0);
      for (const [offset, length] of [
        [0, 1],
        [PAGE - 1, 2],
        [100, 3 * PAGE],
        [PAGE, PAGE],
        [4 * PAGE - 8, 2 * PAGE + 16],
      ] as const) {
        const [there, back] = [pattern(length, offset), pattern(length, offset + 1)];
        guest.put(at + offset, there);
        assert.deepEqual(dmaRead(mock, APERTURE + BigInt(offset), length), there);
        assert.equal(mock.dmaWrite(APERTURE + BigInt(offset), back), 0);
        assert.deepEqual(guest.get(at + offset, length), back);
      }
      await program.fill(at, PAGE, 9);
      assert.deepEqual(dmaRead(mock, APERTURE, PAGE), new Uint8Array(PAGE).fill(9));
      assert.equal(dmaRead(mock, APERTURE + BigInt(8 * PAGE - 1), 2), EFAULT);
    });
  }

  it('goes on after the program unmapped it, and after the program ended', async () => {
    const { guest, program, memory, fd, ioas, mock, attach } = await guestStage();
    const at = await program.map(4 * PAGE);
    await program.fill(at, 4 * PAGE, 1);
    attach();
    assert.equal(guest.map(fd, ioas, at, 4 * PAGE, APERTURE), 0);
    memory.aboutToUnmap(at, 2 * PAGE);
    await program.must('unmap', at, 2 * PAGE);
    assert.deepEqual(dmaRead(mock, APERTURE, 4 * PAGE), new Uint8Array(4 * PAGE).fill(1));
    assert.equal(mock.dmaWrite(APERTURE + 5n, pattern(3 * PAGE, 2)), 0);
    assert.deepEqual(guest.get(at + 2 * PAGE, 5 + PAGE), pattern(3 * PAGE, 2).subarray(2 * PAGE - 5));
    memory.aboutToExit();
    await program.end();
    memory.exited();
    assert.deepEqual(dmaRead(mock, APERTURE + 5n, 3 * PAGE), pattern(3 * PAGE, 2));
    assert.equal(dmaRead(mock, APERTURE + BigInt(4 * PAGE), 1), EFAULT);
  });

  it('is refused to memory that is not there, or not to be written', async () => {
    const { guest, program, fd, ioas, mock, attach } = await guestStage();
    const at = await program.map(8 * PAGE, { flags: MAP.shared });
    attach();
    await program.must('unmap', at + 4 * PAGE, 4 * PAGE);
    assert.equal(guest.map(fd, ioas, at, 8 * PAGE, APERTURE), EFAULT);
    await program.must('protect', at, PAGE, PROT.read);
    assert.equal(guest.map(fd, ioas, at, 4 * PAGE, APERTURE), EFAULT);
    assert.equal(guest.map(fd, ioas, at, 4 * PAGE, APERTURE, false), 0);
    assert.deepEqual(dmaRead(mock, APERTURE, PAGE), new Uint8Array(PAGE));
    assert.equal(mock.dmaWrite(APERTURE, new Uint8Array(1)), EFAULT);
    await program.must('unmap', at, 4 * PAGE);
    assert.equal(guest.map(fd, ioas, at, PAGE, APERTURE * 2n), EFAULT);
    for (const address of [0, 2 ** 47, 2 ** 52]) {
      assert.equal(guest.map(fd, ioas, address, PAGE, APERTURE * 2n), EFAULT, `${address}`);
    }
  });

  for (const kind of ['anonymous', 'file'] as const) {
    it(`has every page where it belongs, pinned once, at every alignment: ${kind}`, async () => {
      const { guest, program, fd, ioas, mockDomain } = await guestStage();
      const size = 4 * PAGE;
      const own = kind === 'file' ? await program.must('memfd', size) : -1;
      const at = await program.map(size, { flags: MAP.shared, fd: own });
      const file = kind === 'file' ? guest.openFile(own) : -1;
      const domain = mockDomain();
      assert(typeof domain !== 'number');
      assert.equal(checkRefs(guest, fd, at, size, 0), 0);
      for (let start = 0; start < size; start += MOCK_PAGE) {
        for (let end = start + MOCK_PAGE; end < size; end += MOCK_PAGE) {
          const length = end - start;
          const rc =
            file < 0
              ? guest.map(fd, ioas, at + start, length, APERTURE)
              : guest.mapFile(fd, ioas, file, start, length, APERTURE);
          assert.equal(rc, 0);
          assert.equal(checkMap(guest, fd, domain.hwpt, at + start, length, APERTURE), 0, `${start} .. ${end}`);
          const [first, last] = [Math.floor(start / PAGE), Math.floor(end / PAGE)];
          assert.equal(checkRefs(guest, fd, at + first * PAGE, (last - first) * PAGE, 1), 0, `${start} .. ${end}`);
          unmapAll(guest, fd, ioas);
        }
      }
      assert.equal(checkRefs(guest, fd, at, size, 0), 0);
      assert.equal(checkRefs(guest, fd, at, size, 1), EIO);
      assert.equal(guest.map(fd, ioas, at, PAGE, APERTURE), 0);
      assert.equal(checkMap(guest, fd, domain.hwpt, at + PAGE, PAGE, APERTURE), EINVAL);
      assert.equal(checkMap(guest, fd, domain.hwpt, 2 ** 46, PAGE, APERTURE), EFAULT);
      // Twice pinned by two mappings.
      assert.equal(guest.map(fd, ioas, at, PAGE, APERTURE * 2n), 0);
      assert.equal(checkRefs(guest, fd, at, PAGE, 2), 0);
      if (file >= 0) guest.machine.files.close(file);
    });
  }

  it('reaches a private copy of a file, which stays the same page when it is written', async () => {
    const { guest, program, fd, ioas, mockDomain } = await guestStage();
    const own = await program.must('memfd', PAGE);
    const shared = await program.map(PAGE, { fd: own, flags: MAP.shared });
    await program.fill(shared, PAGE, 3);
    const at = await program.map(PAGE, { fd: own, flags: MAP.private });
    const domain = mockDomain();
    assert(typeof domain !== 'number');
    assert.equal(guest.map(fd, ioas, at, PAGE, APERTURE, false), 0);
    assert.equal(checkMap(guest, fd, domain.hwpt, at, PAGE, APERTURE), 0);
    await program.fill(at, PAGE, 1);
    assert.equal(checkMap(guest, fd, domain.hwpt, at, PAGE, APERTURE), 0);
    assert.equal(checkMap(guest, fd, domain.hwpt, shared, PAGE, APERTURE), EINVAL);
  });

  it('reaches a file after all mappings of it and the program are gone', async () => {
    const { guest, program, memory, fd, ioas, mock, attach } = await guestStage();
    const own = await program.must('memfd', 2 * PAGE);
    const at = await program.map(2 * PAGE, { fd: own, flags: MAP.shared });
    await program.fill(at, 2 * PAGE, 4);
    const file = guest.openFile(own);
    attach();
    assert.equal(guest.mapFile(fd, ioas, file, PAGE, 2 * PAGE, APERTURE), EINVAL);
    assert.equal(guest.mapFile(fd, ioas, file, 0, 2 * PAGE, APERTURE), 0);
    guest.machine.files.close(file);
    assert.deepEqual(dmaRead(mock, APERTURE, 1), Uint8Array.of(4));
    await program.kill();
    memory.exited();
    assert.equal(mock.dmaWrite(APERTURE + BigInt(PAGE), Uint8Array.of(5)), 0);
    assert.deepEqual(dmaRead(mock, APERTURE + BigInt(PAGE - 1), 3), Uint8Array.of(4, 5, 4));
  });

  it('is refused where pinned pages would be more than may be locked, and is counted by process', async () => {
    const rights = { ipcLock: false, sysResource: false, sysRawio: false, lockedPages: 3 };
    const { guest, program, fd, ioas, attach } = await guestStage({ rights });
    const at = await program.map(4 * PAGE);
    attach();
    assert.equal(guest.map(fd, ioas, at, 4 * PAGE, APERTURE), ENOMEM);
    assert.deepEqual(guest.process.charged, { user: 0, mm: 0 });
    assert.equal(guest.memory.watchesUnmap, false);
    assert.equal(guest.map(fd, ioas, at, 3 * PAGE, APERTURE), 0);
    assert.deepEqual(guest.process.charged, { user: 3, mm: 0 });
    assert.deepEqual(guest.machine.process.caller.charged, guest.process.charged);
    unmapAll(guest, fd, ioas);
    assert.deepEqual(guest.process.charged, { user: 0, mm: 0 });
  });

  it('is noted in a bitmap that lies in the program too', async () => {
    const { guest, program, fd, ioas, mock, node } = await guestStage();
    const at = await program.map(16 * PAGE);
    const bits = await program.map(3 * PAGE);
    await program.must('unmap', bits + 2 * PAGE, PAGE);
    const { out_devid } = guest.must(node, uapi.VFIO_DEVICE_BIND_IOMMUFD, { iommufd: fd });
    const { IOMMU_HWPT_ALLOC_DIRTY_TRACKING: flags } = uapi.iommufd_hwpt_alloc_flags.values;
    const { out_hwpt_id } = guest.must(fd, uapi.IOMMU_HWPT_ALLOC, { flags, dev_id: out_devid, pt_id: ioas });
    guest.must(node, uapi.VFIO_DEVICE_ATTACH_IOMMUFD_PT, { pt_id: out_hwpt_id });
    guest.must(fd, uapi.IOMMU_OPTION, {
      option_id: uapi.iommufd_option.values.IOMMU_OPTION_HUGE_PAGES,
      op: uapi.iommufd_option_ops.values.IOMMU_OPTION_OP_SET,
      object_id: ioas,
    });
    assert.equal(guest.map(fd, ioas, at, 16 * PAGE, APERTURE), 0);
    guest.must(fd, uapi.IOMMU_HWPT_SET_DIRTY_TRACKING, { hwpt_id: out_hwpt_id, flags: 1 });
    const dirty = (data: number) => {
      const range = { iova: APERTURE, length: BigInt(16 * PAGE), page_size: BigInt(PAGE) };
      return guest.ioctl(fd, uapi.IOMMU_HWPT_GET_DIRTY_BITMAP, { hwpt_id: out_hwpt_id, ...range, data: BigInt(data) });
    };
    await program.fill(bits, 2 * PAGE, 0x40);
    mock.dmaWrite(APERTURE + BigInt(PAGE - 1), new Uint8Array(2));
    mock.dmaWrite(APERTURE + BigInt(9 * PAGE), new Uint8Array(1));
    // Across two pages, of which bits that are set stay.
    assert(typeof dirty(bits + PAGE - 1) !== 'number');
    assert.deepEqual(guest.get(bits + PAGE - 2, 4), Uint8Array.of(0x40, 0x43, 0x42, 0x40));
    assert(typeof dirty(bits) !== 'number');
    assert.deepEqual(guest.get(bits, 2), Uint8Array.of(0x40, 0x40));
    // Where the bitmap ends, the rest is lost, as where it cannot be written.
    mock.dmaWrite(APERTURE, new Uint8Array(16 * PAGE));
    assert(typeof dirty(bits + 2 * PAGE - 1) !== 'number');
    assert.equal(guest.get(bits + 2 * PAGE - 1, 1)[0], 0xff);
    await program.must('protect', bits, PAGE, PROT.read);
    await program.fill(bits + PAGE, PAGE, 0x40);
    mock.dmaWrite(APERTURE, new Uint8Array(16 * PAGE));
    assert(typeof dirty(bits + PAGE - 1) !== 'number');
    // As they were before.
    assert.deepEqual(guest.get(bits + PAGE - 1, 2), Uint8Array.of(0x43, 0x40));
    // Nor what comes before a page that is missing.
    mock.dmaWrite(APERTURE, new Uint8Array(1));
    assert(typeof dirty(bits + 2 * PAGE) !== 'number');
    assert(typeof dirty(0) !== 'number');
  });

  it('finds tables there, and nothing of them is remembered', async () => {
    const { guest, program, remote } = await guestStage();
    const at = await program.map(2 * PAGE);
    await program.fill(at, 2 * PAGE, 1);
    guest.memory.enter();
    const frames: number[] = [];
    assert.equal(
      guest.memory.foreign.pages(at / PAGE, 2, true, (i, frame) => {
        frames[i] = frame;
      }),
      0,
    );
    const tables = new TableMemory(remote.physical);
    tables.stage2 = { frame: (page) => frames[page] ?? -1, translate: () => assert.fail('nobody asks for bytes') };
    for (const byte of [1, 2, 0x83]) {
      await program.fill(at + PAGE, PAGE, byte);
      assert.equal(tables.load(2 * PAGE - 8), FETCH.done);
      const word = (byte * 0x0101_0101) | 0;
      assert.deepEqual([tables.low, tables.high], [word, word]);
    }
    guest.put(at + 8, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8));
    assert.equal(tables.load(8), FETCH.done);
    assert.deepEqual([tables.low, tables.high], [0x0403_0201, 0x0807_0605]);
    assert.equal(tables.load(2 * PAGE), FETCH.stage2Fault);
  });
});
