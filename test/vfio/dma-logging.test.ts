// A device's own notes of its DMA. The serial port takes all calls, and has nothing to note (samples/vfio-mdev/mtty.c).
import assert from 'node:assert/strict';
import { PAGE_SIZE, refused } from '../rig/suite.js';
import { TestDriver } from '../rig/test-device.js';
import { vfioCases } from '../rig/vfio.js';

const IOVA = 0x400_0000n;
const K = 4096n;

vfioCases('dma-logging', (test) => {
  test('nothing', 'a device without DMA has nothing to report', { needs: 'serial' }, (t) => {
    const { dmaLogging } = t.bound('serial');
    assert.equal(dmaLogging.start({ ranges: [{ iova: IOVA, length: 64n * K }], pageSize: K }), K);
    assert.deepEqual([...dmaLogging.report({ iova: IOVA, length: 64n * K })], []);
    dmaLogging.stop();
  });

  test('written', 'the pages that the device wrote are told, once', { needs: 'test' }, async (t) => {
    const driver = new TestDriver(t.bound('test'));
    const { dmaLogging } = driver.nic;
    const ioas = t.iommufd.allocIoas();
    ioas.map(t.memory(64 * PAGE_SIZE), { iova: IOVA });
    driver.nic.attach(ioas);
    const watched = { iova: IOVA, length: 48n * K };
    const pages = () => [...dmaLogging.report(watched)].map(({ iova, length }) => [(iova - IOVA) / K, length / K]);
    assert.equal(dmaLogging.start({ ranges: [watched] }), K);
    assert.deepEqual(pages(), []);
    assert.equal(await driver.store(IOVA + 3n * K, 1), true);
    assert.equal(await driver.store(IOVA + 10n * K - 1n, 2), true);
    assert.equal(await driver.store(IOVA + 31n * K, 2 * PAGE_SIZE), true);
    assert.equal(await driver.store(IOVA + 50n * K, PAGE_SIZE), true);
    assert.deepEqual(pages(), [
      [3n, 1n],
      [9n, 2n],
      [31n, 2n],
    ]);
    assert.deepEqual(pages(), []);
    dmaLogging.stop();
    refused('EINVAL', () => dmaLogging.report(watched));
  });

  test('coarse', 'a report may be in larger pages, and of a part', { needs: 'test' }, async (t) => {
    const driver = new TestDriver(t.bound('test'));
    const { dmaLogging } = driver.nic;
    const ioas = t.iommufd.allocIoas();
    ioas.map(t.memory(64 * PAGE_SIZE), { iova: IOVA });
    driver.nic.attach(ioas);
    dmaLogging.start({ ranges: [{ iova: IOVA, length: 64n * K }] });
    assert.equal(await driver.store(IOVA + 5n * K, 1), true);
    assert.equal(await driver.store(IOVA + 40n * K, 1), true);
    const [range, none] = dmaLogging.report({ iova: IOVA, length: 32n * K, pageSize: 4n * K });
    assert.deepEqual([range, none], [{ iova: IOVA + 4n * K, length: 4n * K }, undefined]);
    assert.deepEqual(
      [...dmaLogging.report({ iova: IOVA + 32n * K, length: 32n * K })],
      [{ iova: IOVA + 40n * K, length: K }],
    );
    dmaLogging.stop();
  });

  test('started', 'it is started once, and stopped before it is started again', { needs: 'test' }, (t) => {
    const { dmaLogging } = t.bound('test');
    const ranges = [{ iova: IOVA, length: K }];
    dmaLogging.start({ ranges });
    refused('EINVAL', () => dmaLogging.start({ ranges }));
    dmaLogging.stop();
    dmaLogging.start({ ranges });
  });

  test('cannot', 'a device of vfio-pci has no notes', { needs: 'edu' }, (t) => {
    const { dmaLogging } = t.bound('edu');
    const range = { iova: IOVA, length: K };
    assert.match(refused('ENOTTY', () => dmaLogging.start({ ranges: [range] })).message, /dirtyTracking/);
    refused('ENOTTY', () => dmaLogging.stop());
    const error = refused('ENOTTY', () => dmaLogging.report(range));
    assert.match(error.message, /take all pages of the range as written/);
  });

  test('overlap', 'ranges must not overlap', { needs: 'serial' }, (t) => {
    const { dmaLogging } = t.bound('serial');
    const ranges = [
      { iova: IOVA, length: 4n * K },
      { iova: IOVA + 3n * K, length: K },
    ];
    refused('EINVAL', () => dmaLogging.start({ ranges }));
  });

  test('many', '256 ranges are taken, not one more', { needs: 'serial' }, (t) => {
    const { dmaLogging } = t.bound('serial');
    const ranges = Array.from({ length: 257 }, (_, i) => ({ iova: IOVA + BigInt(2 * i) * K, length: K }));
    refused('E2BIG', () => dmaLogging.start({ ranges }));
    assert.equal(dmaLogging.start({ ranges: ranges.slice(1), pageSize: 4096 }), K);
    dmaLogging.stop();
  });

  test('page-size', 'a device that takes what is asked for says so', { needs: 'serial' }, (t) => {
    const { dmaLogging } = t.bound('serial');
    assert.equal(dmaLogging.start({ ranges: [{ iova: 0n, length: 2n ** 21n }], pageSize: 2n ** 21n }), 2n ** 21n);
    assert.deepEqual([...dmaLogging.report({ iova: 0n, length: 2n ** 21n, pageSize: 2n ** 20n })], []);
  });

  test('arguments', 'what cannot be is refused before the kernel is asked', { needs: 'serial' }, (t) => {
    const { dmaLogging } = t.bound('serial');
    const start = (iova: bigint, length: bigint, pageSize = K) =>
      dmaLogging.start({ ranges: [{ iova, length }], pageSize });
    assert.throws(() => start(IOVA + 1n, K), RangeError);
    assert.throws(() => start(IOVA, K + 1n), RangeError);
    assert.throws(() => start(IOVA, 0n), RangeError);
    assert.throws(() => start(2n ** 64n - K, K), RangeError);
    assert.throws(() => start(IOVA, K, 2048n), RangeError);
    assert.throws(() => start(IOVA, 3n * K, 3n * K), RangeError);
    assert.throws(() => dmaLogging.start({ ranges: [] }), RangeError);
    assert.throws(() => dmaLogging.start({ ranges: 7 as unknown as [] }), TypeError);
    assert.throws(() => dmaLogging.report({ iova: IOVA, length: K, pageSize: 2048 }), RangeError);
  });
});
