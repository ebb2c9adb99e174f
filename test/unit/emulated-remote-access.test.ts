// Accesses of the emulated kernel to the memory of programs outside of it (iommufd/pages.c), and several programs on one open
// /dev/iommu: what each mapped is its own memory, whoever calls later.
import assert from 'node:assert/strict';
import * as selftest from '../../lib/emulated/hardware/selftest/uapi.js';
import * as uapi from '../../lib/uapi/index.js';
import { MAP, PAGE } from '../rig/mapped-program.js';
import { APERTURE, type Guest, guestStage } from '../rig/remote-guest.js';
import { needsPrograms } from '../rig/remote-stage.js';

const EFAULT = -14;
const EINVAL = -22;
const ENOMEM = -12;
const EBADE = -52;
const { MOCK_ACCESS_RW_WRITE: WRITE, MOCK_ACCESS_RW_SLOW_PATH: SLOW } = selftest.mock_access_rw.values;
const { MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES: PINS } = selftest.mock_flags_access_create.values;
const { MOCK_FLAGS_ACCESS_WRITE: PIN_WRITE } = selftest.mock_flags_access.values;
const UNPRIVILEGED = { ipcLock: false, sysResource: true, sysRawio: false, lockedPages: 4 };

function createAccess(guest: Guest, fd: number, id: number, flags = 0): number {
  return guest.mustTest(fd, 'IOMMU_TEST_OP_CREATE_ACCESS', selftest.test_create_access, { id, flags }).out_access_fd;
}
/** Copies to what is mapped, or from it; 0 or -errno. */
function accessRw(
  guest: Guest,
  fd: number,
  id: number,
  iova: bigint,
  at: number,
  length: number,
  flags: number,
): number {
  const input = { id, iova, length: BigInt(length), uptr: BigInt(at), flags };
  const answer = guest.test(fd, 'IOMMU_TEST_OP_ACCESS_RW', selftest.test_access_rw, input);
  return typeof answer === 'number' ? answer : 0;
}
function accessPages(guest: Guest, fd: number, id: number, iova: bigint, at: number, length: number): number {
  const input = { id, iova, length: BigInt(length), uptr: BigInt(at), flags: PIN_WRITE };
  const answer = guest.test(fd, 'IOMMU_TEST_OP_ACCESS_PAGES', selftest.test_access_pages, input);
  return typeof answer === 'number' ? answer : 0;
}
function pattern(length: number, seed: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 5 + seed) & 0xff);
}

/** A program with memory that is mapped, room for data, and an access. */
async function accessStage({ file = false, flags = MAP.shared as number, attached = false } = {}) {
  const one = await guestStage();
  const { program, guest, fd, ioas } = one;
  const own = file ? await program.must('memfd', 4 * PAGE) : -1;
  const at = await program.map(4 * PAGE, { flags: file ? MAP.shared : flags, fd: own });
  const data = await program.map(4 * PAGE);
  if (attached) one.mockDomain();
  const access = createAccess(guest, fd, ioas);
  const map = (by: Guest): number =>
    file ? by.mapFile(fd, ioas, by.openFile(own), 0, 4 * PAGE, APERTURE) : by.map(fd, ioas, at, 4 * PAGE, APERTURE);
  return { ...one, at, data, access, map };
}
/** Checks that an access reads and writes what lies at an address, around a border of pages. */
function checkRw(guest: Guest, fd: number, access: number, at: number, data: number, flags: number): void {
  for (const [from, length] of [
    [PAGE - 3, 3],
    [PAGE - 3, 7],
    [PAGE, 40],
    [1, 3 * PAGE],
  ] as const) {
    const [there, back] = [pattern(length, from), pattern(length, from + 9)];
    guest.put(at + from, there);
    assert.equal(accessRw(guest, fd, access, APERTURE + BigInt(from), data + 5, length, flags), 0);
    assert.deepEqual(guest.get(data + 5, length), there);
    guest.put(data + 5, back);
    assert.equal(accessRw(guest, fd, access, APERTURE + BigInt(from), data + 5, length, flags | WRITE), 0);
    assert.deepEqual(guest.get(at + from, length), back);
  }
}

describe('an access to the memory of another process', () => {
  needsPrograms();

  for (const [name, how] of [
    ['private memory', { flags: MAP.private }],
    ['shared memory', {}],
    ['a file', { file: true }],
    ['memory that is pinned', { attached: true }],
    ['a file that is pinned', { file: true, attached: true }],
  ] as const) {
    it(`copies: ${name}`, async () => {
      const { guest, fd, access, at, data, map } = await accessStage(how);
      assert.equal(map(guest), 0);
      checkRw(guest, fd, access, at, data, 0);
      checkRw(guest, fd, access, at, data, SLOW);
    });
  }

  it('reaches what the program has there now, and by the slow path what is pinned', async () => {
    const { program, memory, guest, fd, access, at, data, map } = await accessStage({
      flags: MAP.private,
      attached: true,
    });
    await program.fill(at, 4 * PAGE, 1);
    assert.equal(map(guest), 0);
    memory.aboutToUnmap(at, 4 * PAGE);
    await program.map(4 * PAGE, { at, flags: MAP.private | MAP.fixed });
    await program.fill(at, 4 * PAGE, 2);
    assert.equal(accessRw(guest, fd, access, APERTURE, data, 2 * PAGE, 0), 0);
    assert.equal(await program.peek(data + PAGE), 2);
    assert.equal(accessRw(guest, fd, access, APERTURE, data, 2 * PAGE, SLOW), 0);
    assert.equal(await program.peek(data + PAGE), 1);
    // For less than a page the kernel looks at the process all the same.
    assert.equal(accessRw(guest, fd, access, APERTURE, data, PAGE, SLOW), 0);
    assert.equal(await program.peek(data), 2);
  });

  it('by the slow path, reaches what is there now once nothing is pinned', async () => {
    const { program, memory, guest, fd, ioas, access, at, data, map, mockDomain } = await accessStage({
      flags: MAP.private,
    });
    await program.fill(at, 4 * PAGE, 1);
    assert.equal(map(guest), 0);
    const domain = mockDomain();
    assert(typeof domain !== 'number' && ioas > 0);
    memory.aboutToUnmap(at, 4 * PAGE);
    await program.map(4 * PAGE, { at, flags: MAP.private | MAP.fixed });
    await program.fill(at, 4 * PAGE, 2);
    assert.equal(accessRw(guest, fd, access, APERTURE, data, 2 * PAGE, SLOW), 0);
    assert.equal(guest.get(data, 1)[0], 1);
    guest.must(fd, uapi.IOMMU_DESTROY, { id: domain.stdev });
    assert.equal(accessRw(guest, fd, access, APERTURE, data, 2 * PAGE, SLOW), 0);
    assert.equal(guest.get(data, 1)[0], 2);
  });

  it('is refused where memory is missing on either side', async () => {
    const { program, guest, fd, access, at, data, map } = await accessStage();
    assert.equal(map(guest), 0);
    assert.equal(accessRw(guest, fd, access, APERTURE, 2 ** 46, 8, 0), EFAULT);
    assert.equal(accessRw(guest, fd, access, APERTURE, 2 ** 46, 8, WRITE), EFAULT);
    await program.must('unmap', at + PAGE, PAGE);
    for (const flags of [0, SLOW, WRITE, WRITE | SLOW]) {
      assert.equal(accessRw(guest, fd, access, APERTURE + BigInt(PAGE - 1), data, 2, flags), EFAULT, `${flags}`);
      assert.equal(accessRw(guest, fd, access, APERTURE + BigInt(PAGE), data, 1, flags), EFAULT, `${flags}`);
    }
  });

  it('pins the pages that are there', async () => {
    const { program, memory, guest, fd, ioas, at, map } = await accessStage({ flags: MAP.private });
    const access = createAccess(guest, fd, ioas, PINS);
    assert.equal(map(guest), 0);
    assert.equal(accessPages(guest, fd, access, APERTURE + BigInt(PAGE), at + PAGE, 2 * PAGE), 0);
    assert.equal(accessPages(guest, fd, access, APERTURE + BigInt(PAGE), at, 2 * PAGE), EBADE);
    assert.equal(accessPages(guest, fd, access, APERTURE, 2 ** 46, PAGE), EFAULT);
    assert(memory.watchesUnmap);
    const refs = { uptr: BigInt(at), length: BigInt(PAGE), refs: 0 };
    guest.mustTest(fd, 'IOMMU_TEST_OP_MD_CHECK_REFS', selftest.test_check_refs, refs);
    const pinned = { uptr: BigInt(at + PAGE), length: BigInt(2 * PAGE), refs: 1 };
    guest.mustTest(fd, 'IOMMU_TEST_OP_MD_CHECK_REFS', selftest.test_check_refs, pinned);
    // What lies there later is another page.
    memory.aboutToUnmap(at + PAGE, PAGE);
    await program.map(PAGE, { at: at + PAGE, flags: MAP.private | MAP.fixed });
    assert.equal(accessPages(guest, fd, access, APERTURE + BigInt(PAGE), at + PAGE, 2 * PAGE), EBADE);
  });
});

describe('several processes on one open /dev/iommu', () => {
  needsPrograms();

  it('map memory of their own, which devices reach while they live', async () => {
    const { program, guest, fd, access, at, data, map, mockDomain } = await accessStage();
    const parent = program.pid;
    const child = guest.forked(await program.fork());
    assert.equal(map(child), 0);
    // The other one attaches: pages of the child are pinned.
    assert(typeof mockDomain() !== 'number');
    checkRw(guest, fd, access, at, data, 0);
    assert.equal(accessRw(guest, fd, access, APERTURE, data, 1, WRITE), 0);
    await program.exitChild(parent);
  });

  it('reach private memory of each other by what was mapped', async () => {
    const { program, guest, fd, access, at, data, map } = await accessStage({ flags: MAP.private });
    const parent = program.pid;
    await program.fill(at, 4 * PAGE, 1);
    const child = guest.forked(await program.fork());
    await program.fill(at, 4 * PAGE, 2);
    assert.equal(map(child), 0);
    for (const length of [4, 2 * PAGE]) {
      assert.equal(accessRw(guest, fd, access, APERTURE, data, length, 0), 0);
      assert.equal(guest.get(data, 1)[0], 2);
      assert.equal(accessRw(child, fd, access, APERTURE, data, length, 0), 0);
      assert.equal(child.get(data, 1)[0], 2);
    }
    assert.equal(guest.get(at, 1)[0], 1);
    await program.exitChild(parent);
    // Nothing is pinned, and the memory is gone.
    assert.equal(accessRw(guest, fd, access, APERTURE, data, 4, 0), EFAULT);
    assert.equal(accessRw(guest, fd, access, APERTURE, data, 2 * PAGE, 0), EFAULT);
  });

  for (const attached of [false, true]) {
    it(`leave what ${attached ? 'was' : 'was not'} pinned when they end`, async () => {
      const { program, guest, fd, access, at, data, map, mockDomain } = await accessStage({ attached });
      const parent = program.pid;
      const child = guest.forked(await program.fork());
      assert.equal(map(child), 0);
      child.memory.aboutToExit();
      await program.exitChild(parent);
      child.memory.exited();
      const domain = mockDomain();
      if (!attached) {
        assert.equal(domain, EFAULT);
        return;
      }
      // From one page table to another.
      assert(typeof domain !== 'number');
      checkRw(guest, fd, access, at, data, 0);
    });
  }

  it('hand files over, with what they cost', async () => {
    const { program, guest, fd, ioas, mockDomain } = await guestStage({ rights: UNPRIVILEGED });
    const own = await program.must('memfd', 4 * PAGE);
    const room = await program.map(PAGE);
    mockDomain();
    const parent = program.pid;
    const file = guest.openFile(own);
    assert.equal(guest.mapFile(fd, ioas, file, 0, 2 * PAGE, APERTURE), 0);
    assert.equal(guest.mapFile(fd, ioas, file, PAGE, PAGE, APERTURE * 2n), 0);
    const child = guest.forked(await program.fork());
    assert.deepEqual([guest.process.charged.user, child.process.charged.user], [3, 0]);
    child.must(fd, uapi.IOMMU_IOAS_CHANGE_PROCESS, {});
    assert.deepEqual([guest.process.charged.user, child.process.charged.user], [0, 3]);
    child.must(fd, uapi.IOMMU_IOAS_CHANGE_PROCESS, {});
    assert.deepEqual([guest.process.charged.user, child.process.charged.user], [0, 3]);
    // Too much for the other one: nothing changes.
    guest.process.charged.user = 2;
    assert.equal(guest.ioctl(fd, uapi.IOMMU_IOAS_CHANGE_PROCESS, {}), ENOMEM);
    assert.deepEqual([guest.process.charged.user, child.process.charged.user], [2, 3]);
    guest.process.charged.user = 0;
    // Not with memory that is somebody's.
    assert.equal(child.map(fd, ioas, room, PAGE, APERTURE * 3n), 0);
    assert.equal(guest.ioctl(fd, uapi.IOMMU_IOAS_CHANGE_PROCESS, {}), EINVAL);
    guest.must(fd, uapi.IOMMU_IOAS_UNMAP, { ioas_id: ioas, iova: 0n, length: 2n ** 64n - 1n });
    assert.deepEqual([guest.process.charged.user, child.process.charged.user], [0, 0]);
    await program.exitChild(parent);
  });
});
