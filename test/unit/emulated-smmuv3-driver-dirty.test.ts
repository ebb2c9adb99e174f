// Dirty pages of the kernel's stage-1 tables on an SMMUv3: hardware notes writes in the entries from their making on
// (io-pgtable-arm.c), and an entry may stand for 4 KiB, 2 MiB or 1 GiB.
import assert from 'node:assert/strict';
import { createEmulatedHost, type EmulatedHost } from '../../lib/emulated-host.js';
import type { Iommufd } from '../../lib/index.js';
import { hostSeam, uapi } from '../../lib/unsafe.js';
import { ADDRESS, closeAll, later, MiB, PAGE, pattern } from './emulated-smmuv3-driver-stage.js';

const BITMAP = uapi.iommu_hwpt_get_dirty_bitmap;
const IOVA = 0x4000_0000n;

/** A device at a page table that tracks what it writes; memory is mapped at IOVA. */
function tracked({ size = MiB, hugePages = true, scatter = false } = {}) {
  const host = createEmulatedHost({ machine: 'arm-smmuv3', devices: [{ address: ADDRESS }], memory: { scatter } });
  const iommufd = host.openIommufd();
  later(() => iommufd.close());
  const nic = host.openDevice(ADDRESS);
  const device = nic.bind(iommufd);
  const ioas = iommufd.allocIoas();
  if (!hugePages) ioas.hugePages = false;
  const ram = host.allocateMemory(size);
  later(() => ram.free());
  ioas.map(ram, { iova: IOVA });
  const table = ioas.allocHwpt(device, { dirtyTracking: true });
  nic.attach(table);
  const hardware = host.device(ADDRESS);
  /** Pages of `length` bytes from IOVA + `from` on that are dirty, by their index. */
  const dirty = (length = size, from = 0, clear = true): number[] => {
    const start = IOVA + BigInt(from);
    const bitmap = table.dirtyBitmap({ iova: start, length: BigInt(length) });
    bitmap.read({ clear });
    const pages = Array.from({ length: length / PAGE }, (_, i) => i);
    const found = pages.filter((i) => bitmap.isDirty(start + BigInt(i * PAGE)));
    bitmap.free();
    return found;
  };
  const write = (at: number, length = 4) => hardware.dmaWrite(IOVA + BigInt(at), pattern(length));
  return { host, iommufd, ioas, ram, nic, device, table, hardware, dirty, write };
}

/** IOMMU_HWPT_GET_DIRTY_BITMAP of up to 32 pages. */
function dirtyBits(host: EmulatedHost, iommufd: Iommufd, table: number, iova: bigint, pages: number): number {
  const { arena } = hostSeam(host);
  const mark = arena.mark();
  const [at, bits] = [arena.take(BITMAP.size), arena.take(8)];
  arena.view.setBigUint64(bits, 0n);
  const fields = { hwpt_id: table, iova, length: BigInt(pages * PAGE), page_size: BigInt(PAGE) };
  BITMAP.encode(arena.view, at, { ...fields, size: BITMAP.size, data: arena.addressOf(bits) });
  assert.equal(hostSeam(host).ioctl(iommufd.fd, uapi.IOMMU_HWPT_GET_DIRTY_BITMAP.request, at), 0);
  const found = arena.view.getUint32(bits, true);
  arena.release(mark);
  return found;
}

const range = (first: number, end: number) => Array.from({ length: end - first }, (_, i) => first + i);

describe("dirty pages of the emulated SMMUv3's tables", () => {
  afterEach(closeAll);

  it('are those that were written, once tracking has begun', () => {
    const { table, hardware, dirty, write } = tracked();
    table.setDirtyTracking(true);
    assert.deepEqual(dirty(), []);
    write(3 * PAGE);
    write(5 * PAGE + 4090, 12);
    hardware.dmaRead(IOVA + BigInt(9 * PAGE), 4);
    assert.deepEqual(dirty(MiB, 0, false), [3, 5, 6]);
    assert.deepEqual(dirty(4 * PAGE), [3]);
    assert.deepEqual(dirty(), [5, 6]);
    assert.deepEqual(dirty(), []);
  });

  it('are all that are writable before: entries are made dirty', () => {
    const { dirty, write } = tracked({ size: 8 * PAGE });
    assert.deepEqual(dirty(), range(0, 8));
    assert.deepEqual(dirty(), []);
    // Whether it is said to track or not makes no difference to the hardware.
    write(2 * PAGE);
    assert.deepEqual(dirty(), [2]);
  });

  it('are those of new mappings, if they can be written', () => {
    const { host, ioas, table } = tracked();
    table.setDirtyTracking(true);
    const more = host.allocateMemory(2 * PAGE);
    later(() => more.free());
    const at = IOVA + BigInt(2 * MiB);
    ioas.map(more, { iova: at });
    ioas.map(more, { iova: at + BigInt(2 * PAGE), writable: false });
    const bitmap = table.dirtyBitmap({ iova: at, length: BigInt(4 * PAGE) }).read();
    assert.equal(bitmap.dirtyPages, 2);
    assert.equal(bitmap.isDirty(at + BigInt(2 * PAGE)), false);
    bitmap.free();
    ioas.unmap(at, BigInt(2 * PAGE));
    ioas.map(more, { iova: at, writable: false });
    assert.equal(table.dirtyBitmap({ iova: at, length: BigInt(2 * PAGE) }).read().dirtyPages, 0);
  });

  it('come by the entry, which is as large as the memory allows', () => {
    const { table, dirty, write } = tracked({ size: 6 * MiB });
    table.setDirtyTracking(true);
    write(3 * MiB);
    assert.deepEqual(dirty(), range(512, 1024));
    write(4 * MiB);
    assert.deepEqual(dirty(2 * MiB, 4 * MiB), range(0, 512));
    assert.deepEqual(dirty(), []);
  });

  it('come by the single page without large ones, or where memory is scattered', () => {
    for (const options of [{ hugePages: false }, { scatter: true }]) {
      const { table, dirty, write } = tracked({ size: 4 * MiB, ...options });
      table.setDirtyTracking(true);
      write(3 * MiB);
      assert.deepEqual(dirty(), [768]);
      closeAll();
    }
  });

  it('are looked for in steps of entries, from where it begins', () => {
    const { table, dirty, write } = tracked({ size: 6 * MiB });
    table.setDirtyTracking(true);
    // From the middle of an entry on, the kernel takes each to begin where it stands, and so to end.
    write(0);
    assert.deepEqual(dirty(3 * MiB, MiB), range(0, 512));
    write(2 * MiB);
    assert.deepEqual(dirty(2 * MiB, MiB), []);
    assert.deepEqual(dirty(), range(512, 1024));
  });

  it('are not looked for behind memory of a device that is gone, nor does tracking begin', () => {
    const host = createEmulatedHost({
      machine: 'arm-smmuv3',
      devices: [{ address: ADDRESS }, { address: '0000:02:00.0', model: 'edu' }],
    });
    const iommufd = host.openIommufd();
    later(() => iommufd.close());
    const nic = host.openDevice(ADDRESS);
    const other = host.openDevice('0000:02:00.0');
    other.bind(iommufd);
    other.config.enable({ memory: true });
    const ioas = iommufd.allocIoas();
    const table = ioas.allocHwpt(nic.bind(iommufd), { dirtyTracking: true });
    const ram = host.allocateMemory(2 * PAGE);
    later(() => ram.free());
    const at = (page: number) => IOVA + BigInt(page * PAGE);
    ioas.map(ram, { iova: at(0), length: PAGE });
    ioas.mapDmaBuf(other.region('bar0'), { iova: at(1), length: PAGE });
    ioas.map(ram, { iova: at(2), offset: PAGE, length: PAGE });
    table.setDirtyTracking(true);
    nic.attach(table);
    const hardware = host.device(ADDRESS);
    const write = () => {
      for (const page of [0, 2]) hardware.dmaWrite(at(page), pattern(4));
    };
    // The class would leave out what is gone: the kernel's own answer is of interest here.
    const read = () => dirtyBits(host, iommufd, table.id, at(0), 3);
    assert.equal(read(), 0);
    write();
    assert.equal(read(), 0b101);
    write();
    other.config.enable({ memory: false });
    assert.equal(read(), 0b001);
    assert.throws(() => table.setDirtyTracking(true), { code: 'EINVAL' });
  });

  it('are those that PASIDs write as well', () => {
    const host = createEmulatedHost({ machine: 'arm-smmuv3', devices: [{ address: ADDRESS, pasid: true }] });
    const iommufd = host.openIommufd();
    later(() => iommufd.close());
    const nic = host.openDevice(ADDRESS);
    const ioas = iommufd.allocIoas();
    const table = ioas.allocHwpt(nic.bind(iommufd), { dirtyTracking: true, pasid: true });
    const ram = host.allocateMemory(MiB);
    later(() => ram.free());
    ioas.map(ram, { iova: IOVA });
    table.setDirtyTracking(true);
    nic.attach(table, { pasid: 4 });
    host.device(ADDRESS).dmaWrite(IOVA, pattern(4), { pasid: 4 });
    assert.equal(table.dirtyBitmap({ iova: IOVA, length: BigInt(MiB) }).read().dirtyPages, 1);
  });
});
