// dma-bufs of the emulated vfio-pci, and what iommufd does with them: mapping, DMA to the registers behind, revoking.
import assert from 'node:assert/strict';
import { DmaBufFile } from '../../lib/emulated/kernel/dma-buf.js';
import { PageStore } from '../../lib/emulated/kernel/pages.js';
import type { VfioPci } from '../../lib/emulated/kernel/vfio-pci/vfio-pci.js';
import { VFIO_DEVICE_RESET } from '../../lib/uapi/vfio-ioctls.js';
import { CONFIG, PciBench, poke } from './fake-pci.js';

const [ENOMEM, EFAULT, ENODEV, EINVAL, EMFILE, EOPNOTSUPP] = [-12, -14, -19, -22, -24, -95];
const [GET, SET] = [1 << 16, 1 << 17];
const DMA_BUF = 11;
const PAGE = 4096;

type Range = readonly [offset: bigint, length: bigint];

function exportRanges(bench: PciBench, driver: VfioPci, index: number, ranges: readonly Range[], flags = 0): number {
  const argument = bench.argument(16 + ranges.length * 16, [index, 0, flags, ranges.length]);
  ranges.forEach(([offset, length], i) => {
    argument.view.setBigUint64(16 + i * 16, offset, true);
    argument.view.setBigUint64(24 + i * 16, length, true);
  });
  return driver.feature(GET | DMA_BUF, argument, argument.bytes.length);
}
function fileOf(bench: PciBench, fd: number): DmaBufFile {
  const file = bench.files.get(fd);
  assert(file instanceof DmaBufFile, `${fd} is no dma-buf`);
  return file;
}

describe('dma-bufs of the emulated vfio-pci', () => {
  it('are parts of a memory BAR, in whole pages', () => {
    const bench = new PciBench();
    const { driver } = bench.open();
    const fd = exportRanges(bench, driver, 0, [[0x1000n, 0x2000n]]);
    assert.equal(fileOf(bench, fd).size, 0x2000);
    for (const ranges of [
      [[0n, 0n]],
      [[0x800n, 0x1000n]],
      [[0n, 0x1800n]],
      [[0x3000n, 0x2000n]],
      [[0n, 2n ** 63n]],
      [
        [0n, 2n ** 64n - 4096n],
        [0n, 0x1000n],
      ],
    ] as Range[][]) {
      assert.equal(exportRanges(bench, driver, 0, ranges), EINVAL);
    }
    assert.equal(exportRanges(bench, driver, 0, [[2n ** 64n - 4096n, 0x1000n]]), -75, 'EOVERFLOW');
    assert.equal(exportRanges(bench, driver, 0, []), EINVAL);
    assert.equal(exportRanges(bench, driver, 0, [[0n, 0x1000n]], 1), EINVAL);
    assert.equal(exportRanges(bench, driver, 4, [[0n, 0x1000n]]), EINVAL);
    for (const index of [1, 6, 7, 0xffff_ffff]) {
      assert.equal(exportRanges(bench, driver, index, [[0n, 0x1000n]]), ENODEV);
    }
  });

  it('are refused for memory that is not there, and where all fds are taken', () => {
    const bench = new PciBench();
    const { driver } = bench.open();
    assert.equal(driver.feature(GET | DMA_BUF, bench.argument(16, [0, 0, 0, 1]), 16), EFAULT);
    assert.equal(driver.feature(GET | DMA_BUF, bench.argument(16, [0, 0, 0, 0xffff_ffff]), 16), ENOMEM);
    assert.equal(driver.feature(GET | DMA_BUF, bench.argument(8, [0, 0]), 16), EFAULT);
    assert.equal(driver.feature(GET | DMA_BUF, bench.argument(16), 15), EINVAL);
    assert.equal(driver.feature(SET | DMA_BUF, bench.argument(16), 16), EINVAL);
    while (bench.eventfd().fd >= 0);
    assert.equal(exportRanges(bench, driver, 0, [[0n, 0x1000n]]), EMFILE);
  });

  it('lead to the registers, by words', () => {
    const bench = new PciBench();
    const { driver, fn } = bench.open();
    const file = fileOf(bench, exportRanges(bench, driver, 0, [[0x1000n, 0x2000n]]));
    const frame = file.attach({ revoke: () => {} });
    const address = frame * PAGE + PAGE + 0x11;
    assert(bench.physical.write(address, Uint8Array.of(1, 2, 3, 4, 5, 6, 7)));
    assert.deepEqual(fn.accesses.splice(0), ['w1 0:2011=1', 'w2 0:2012=302', 'w4 0:2014=7060504']);
    assert(bench.physical.read(address - 1, new Uint8Array(9)));
    assert.deepEqual(fn.accesses, ['r4 0:2010', 'r4 0:2014', 'r1 0:2018']);
    assert(!bench.physical.read((frame + 100) * PAGE, new Uint8Array(1)));
  });

  it('are revoked while memory is off, by resets, in low power, and for good by closing', () => {
    const bench = new PciBench();
    const { driver } = bench.open();
    const file = fileOf(bench, exportRanges(bench, driver, 0, [[0n, 0x1000n]]));
    let revoked = 0;
    const attach = () => {
      const importer = { revoke: () => revoked++ };
      return file.attach(importer);
    };
    assert(attach() > 0);
    poke(driver, CONFIG + 4, 2, 0);
    assert.equal(revoked, 1);
    assert.equal(attach(), ENODEV);
    assert.equal(fileOf(bench, exportRanges(bench, driver, 0, [[0n, 0x1000n]])).attach({ revoke: () => {} }), ENODEV);
    poke(driver, CONFIG + 4, 2, 2);
    assert(attach() > 0);
    const before = revoked;
    driver.ioctl(VFIO_DEVICE_RESET.request, bench.argument(0));
    assert(revoked > before);
    assert(attach() > 0);
    driver.powerGet();
    driver.feature(SET | 3, bench.argument(0), 0);
    driver.powerPut();
    assert.equal(attach(), ENODEV);
    driver.powerGet();
    driver.feature(SET | 5, bench.argument(0), 0);
    driver.powerPut();
    assert(attach() > 0);
    driver.closeDevice();
    assert.equal(attach(), ENODEV);
    driver.openDevice(bench.binding());
    poke(driver, CONFIG + 4, 2, 0);
    poke(driver, CONFIG + 4, 2, 2);
    assert.equal(attach(), ENODEV);
  });

  it('of several parts cannot be mapped by an iommufd', () => {
    const bench = new PciBench();
    const { driver } = bench.open();
    const fd = exportRanges(bench, driver, 0, [
      [0n, 0x1000n],
      [0x2000n, 0x1000n],
    ]);
    assert.equal(fileOf(bench, fd).attach({ revoke: () => {} }), EOPNOTSUPP);
  });

  it('are pages that nobody pins or pays for, and that lead nowhere once they are revoked', () => {
    const bench = new PciBench();
    const { driver } = bench.open();
    const file = fileOf(bench, exportRanges(bench, driver, 0, [[0x1000n, 0x2000n]]));
    const pages = new PageStore(bench.process);
    const told: number[] = [];
    pages.onRevoked = (slot) => told.push(slot);
    const slot = pages.fromDmaBuf(file, 1, 1, true);
    assert(slot >= 0 && pages.isDmaBuf(slot) && !pages.isFile(slot));
    assert.equal(pages.pin(slot, 0, 0), 0);
    assert.deepEqual(bench.process.charged, { user: 0, mm: 0 });
    const frame = pages.frame(slot, 0);
    assert(bench.physical.read(frame * PAGE, new Uint8Array(4)));
    assert.equal(pages.copy(slot, 0, new Uint8Array(4), false, false), EINVAL);
    poke(driver, CONFIG + 4, 2, 0);
    assert.deepEqual(told, [slot]);
    assert(pages.isRevoked(slot));
    assert.equal(pages.frame(slot, 0), -1);
    poke(driver, CONFIG + 4, 2, 2);
    assert.equal(pages.frame(slot, 0), -1, 'it does not come back');
    pages.unpin(slot, 0, 0);
    pages.drop(slot);
    assert(!pages.isDmaBuf(slot));
  });
});
