// Memory of a device as dma-bufs: exported, mapped for another device, and revoked.
import assert from 'node:assert/strict';
import { createEmulatedHost } from '../../lib/emulated-host.js';
import { UsageError, type VfioDevice } from '../../lib/index.js';
import { EDU_IOVA, Edu } from '../rig/edu.js';
import { PAGE, PAGE_SIZE, refused } from '../rig/suite.js';
import { TestDriver } from '../rig/test-device.js';
import { type VfioBench, vfioCases } from '../rig/vfio.js';

/** Gives back the inverse of what was written to it: proof that DMA arrived there. */
const LIVENESS = 4;

/** A second edu whose registers the first one can reach. */
function peer(t: VfioBench): VfioDevice {
  const nic = t.bound('pair0');
  nic.config.enable({ memory: true });
  return nic;
}

/** An edu with these 32 bits in its buffer, attached to an empty address space. */
async function eduWith(t: VfioBench, value: number) {
  const edu = new Edu(t.bound('edu'));
  const ioas = t.iommufd.allocIoas();
  edu.nic.attach(ioas);
  const ram = t.memory(PAGE_SIZE);
  ram.write(0, new Uint8Array(new Uint32Array([value]).buffer));
  ioas.map(ram, { iova: EDU_IOVA });
  await edu.load(EDU_IOVA, 4);
  ioas.unmapAll();
  return { edu, ioas };
}

vfioCases('dma-buf', (test) => {
  test('export', 'a BAR, or a part of it, is a file', { needs: 'edu' }, (t) => {
    const nic = t.bound('edu');
    nic.config.enable({ memory: true });
    const bar = nic.region('bar0');
    const whole = bar.exportDmaBuf();
    assert.equal(whole.length, bar.size);
    const part = bar.exportDmaBuf({ offset: PAGE, length: 2n * PAGE });
    assert.equal(part.length, 2 * PAGE_SIZE);
    const parts = bar.exportDmaBuf({
      ranges: [
        { offset: 0, length: PAGE },
        { offset: 4n * PAGE, length: PAGE },
      ],
    });
    assert.equal(parts.length, 2 * PAGE_SIZE);
    assert.notEqual(whole.fd, part.fd);
    part.close();
    assert.throws(() => part.fd, { code: 'ERR_IOMMUFD_DESTROYED' });
    nic.close();
    assert.equal(whole.closed, true);
  });

  test('bounds', 'parts are whole pages inside the BAR', { needs: 'edu' }, (t) => {
    const nic = t.bound('edu');
    const bar = nic.region('bar0');
    for (const range of [
      { offset: 1 },
      { offset: bar.size },
      { length: 0 },
      { length: 100 },
      { offset: PAGE_SIZE, length: bar.size },
      { offset: bar.size + PAGE_SIZE },
    ]) {
      assert.throws(() => bar.exportDmaBuf(range), RangeError);
    }
    assert.throws(() => bar.exportDmaBuf({ ranges: [] }), RangeError);
    assert.throws(() => bar.exportDmaBuf({ offset: 0, ranges: [{}] }), RangeError);
    assert.throws(() => bar.exportDmaBuf({ ranges: 1 as unknown as [] }), TypeError);
  });

  test('map', 'a BAR is mapped for another device, and unmapped', { needs: ['edu', 'pair0'] }, (t) => {
    const ioas = t.iommufd.allocIoas();
    t.bound('edu').attach(ioas);
    const bar = peer(t).region('bar0');
    const mapping = ioas.mapDmaBuf(bar, { iova: EDU_IOVA });
    assert.equal(mapping.iova, EDU_IOVA);
    assert.equal(mapping.length, BigInt(bar.size));
    assert.equal(mapping.mapped, true);
    assert.equal(mapping.revoked, false);
    refused('EEXIST', () => ioas.mapDmaBuf(bar, { iova: EDU_IOVA }));
    mapping.unmap();
    assert.equal(mapping.mapped, false);
    mapping.unmap();
    assert.equal(ioas.mappingCount, 0);
    const chosen = ioas.mapDmaBuf(bar, { length: PAGE });
    assert.equal(ioas.unmap(chosen.iova, PAGE), PAGE);
    assert.equal(chosen.mapped, false);
  });

  test('peer', 'DMA of one device reaches registers of another', { needs: ['edu', 'pair0'] }, async (t) => {
    const other = peer(t);
    const { edu, ioas } = await eduWith(t, 0x1122_3344);
    const mapping = ioas.mapDmaBuf(other.region('bar0'), { iova: EDU_IOVA, length: PAGE });
    other.region('bar0').write32(LIVENESS, 0);
    await edu.store(EDU_IOVA + BigInt(LIVENESS), 4);
    assert.equal(other.region('bar0').read32(LIVENESS), ~0x1122_3344 >>> 0);
    mapping.unmap();
    other.region('bar0').write32(LIVENESS, 0);
    await edu.store(EDU_IOVA + BigInt(LIVENESS), 4);
    assert.equal(other.region('bar0').read32(LIVENESS), 0xffff_ffff, 'it is unmapped, and DMA arrives still');
  });

  test('memory-off', 'turning memory off revokes', { needs: ['edu', 'pair0'] }, async (t) => {
    const other = peer(t);
    const { edu, ioas } = await eduWith(t, 0x5566_7788);
    const bar = other.region('bar0');
    const mapping = ioas.mapDmaBuf(bar, { iova: EDU_IOVA, length: PAGE });
    bar.write32(LIVENESS, 0);
    other.config.enable({ memory: false });
    assert.equal(mapping.revoked, true);
    assert.equal(await mapping.whenRevoked, 'memory off');
    assert.equal(mapping.mapped, true);
    refused('EEXIST', () => ioas.mapDmaBuf(edu.nic.region('bar0'), { iova: EDU_IOVA, length: PAGE }));
    other.config.enable({ memory: true });
    await edu.store(EDU_IOVA + BigInt(LIVENESS), 4);
    assert.equal(bar.read32(LIVENESS), 0xffff_ffff, 'what is revoked stays so');
    mapping.unmap();
    const again = ioas.mapDmaBuf(bar, { iova: EDU_IOVA, length: PAGE });
    await edu.store(EDU_IOVA + BigInt(LIVENESS), 4);
    assert.equal(bar.read32(LIVENESS), ~0x5566_7788 >>> 0);
    again.unmap();
  });

  test('memory-is-off', 'memory that is off cannot be mapped', { needs: ['edu', 'pair0'] }, (t) => {
    const other = t.bound('pair0');
    other.config.enable({ memory: false });
    const ioas = t.iommufd.allocIoas();
    const error = refused('ENODEV', () => ioas.mapDmaBuf(other.region('bar0'), { length: PAGE }));
    assert.match(error.message, /memory is off/);
    assert.equal(ioas.mappingCount, 0);
    other.config.enable({ memory: true });
    ioas.mapDmaBuf(other.region('bar0'), { iova: EDU_IOVA, length: PAGE }).unmap();
  });

  test('low-power', 'sleep revokes', { needs: 'edu' }, async (t) => {
    const nic = t.bound('edu');
    nic.config.enable({ memory: true });
    const ioas = t.iommufd.allocIoas();
    const mapping = ioas.mapDmaBuf(nic.region('bar0'), { iova: EDU_IOVA });
    nic.lowPower.enter();
    assert.equal(await mapping.whenRevoked, 'low power');
    nic.lowPower.exit();
    assert.equal(mapping.revoked, true);
    mapping.unmap();
  });

  for (const role of ['nvme', 'test'] as const) {
    test(`reset-${role}`, 'a reset revokes', { needs: role }, async (t) => {
      const nic = t.bound(role);
      nic.config.enable({ memory: true });
      const ioas = t.iommufd.allocIoas();
      const file = nic.region('bar0').exportDmaBuf({ length: PAGE });
      const mapping = ioas.mapDmaBuf(nic.region('bar0'), { iova: EDU_IOVA, length: PAGE });
      nic.reset();
      assert.equal(await mapping.whenRevoked, 'reset');
      mapping.unmap();
      // The file itself is good again: the kernel gives it back after the reset, with the memory.
      assert.equal(ioas.unsafeMapFd(file.fd, 0, { iova: EDU_IOVA, length: PAGE }), EDU_IOVA);
      ioas.unmapAll();
    });
  }

  test('closed', 'closing the device revokes', { needs: 'edu' }, async (t) => {
    const nic = t.bound('edu');
    nic.config.enable({ memory: true });
    const ioas = t.iommufd.allocIoas();
    const mapping = ioas.mapDmaBuf(nic.region('bar0'), { iova: EDU_IOVA });
    nic.close();
    assert.equal(await mapping.whenRevoked, 'closed');
    assert.equal(mapping.mapped, true);
    mapping.unmap();
    assert.equal(mapping.mapped, false);
  });

  test('attach-later', 'a device is attached after a mapping was revoked', { needs: ['edu', 'pair0'] }, (t) => {
    const other = peer(t);
    const ioas = t.iommufd.allocIoas();
    const mapping = ioas.mapDmaBuf(other.region('bar0'), { iova: EDU_IOVA, length: PAGE });
    other.config.enable({ memory: false });
    const edu = t.bound('edu');
    edu.attach(ioas);
    edu.detach();
    mapping.unmap();
  });

  test('by-fd', 'a dma-buf maps by its fd, in one range only', { needs: 'edu' }, (t) => {
    const nic = t.bound('edu');
    nic.config.enable({ memory: true });
    const ioas = t.iommufd.allocIoas();
    const bar = nic.region('bar0');
    const one = bar.exportDmaBuf({ length: 4n * PAGE });
    assert.equal(ioas.unsafeMapFd(one.fd, PAGE, { iova: EDU_IOVA, length: PAGE }), EDU_IOVA);
    refused('EINVAL', () => ioas.unsafeMapFd(one.fd, PAGE, { length: 4n * PAGE }));
    const two = bar.exportDmaBuf({ ranges: [{ length: PAGE }, { offset: 4n * PAGE, length: PAGE }] });
    refused('EOPNOTSUPP', () => ioas.unsafeMapFd(two.fd, 0, { length: PAGE }));
    ioas.unmapAll();
  });

  test('arguments', 'only regions of devices of this host can be mapped', { needs: 'edu' }, (t) => {
    const nic = t.bound('edu');
    nic.config.enable({ memory: true });
    const ioas = t.iommufd.allocIoas();
    const bar = nic.region('bar0');
    const pretender = { exportDmaBuf: () => bar.exportDmaBuf() };
    assert.throws(() => ioas.mapDmaBuf(pretender), TypeError);
    assert.throws(() => ioas.mapDmaBuf(undefined as unknown as typeof bar), TypeError);
    assert.throws(() => ioas.mapDmaBuf(bar, { readable: false, writable: false }), RangeError);
    assert.throws(() => ioas.mapDmaBuf(bar, { iovas: 1 } as object), TypeError);
    const foreign = createEmulatedHost().openIommufd();
    assert.throws(
      () => foreign.allocIoas().mapDmaBuf(bar),
      (error: unknown) => error instanceof UsageError && error.code === 'ERR_IOMMUFD_FOREIGN_HOST',
    );
    foreign.close();
    assert.equal(ioas.mappingCount, 0);
  });

  for (const role of ['nvme', 'test'] as const) {
    test(`no-bar-${role}`, 'what is no memory BAR cannot be exported', { needs: role }, (t) => {
      const nic = t.bound(role);
      const error = refused('ENODEV', () => nic.region('config').exportDmaBuf({ length: PAGE }));
      assert.match(error.message, /not a BAR/);
    });
  }

  test('dirty', 'a revoked mapping hides no written page behind it', { needs: ['test', 'pair0'] }, async (t) => {
    const other = peer(t);
    const driver = new TestDriver(t.bound('test'));
    const ioas = t.iommufd.allocIoas();
    const hwpt = ioas.allocHwpt(driver.nic.device, { dirtyTracking: true });
    driver.nic.attach(hwpt);
    hwpt.setDirtyTracking(true);
    ioas.map(t.memory(PAGE_SIZE), { iova: EDU_IOVA });
    const mapping = ioas.mapDmaBuf(other.region('bar0'), { iova: EDU_IOVA + PAGE, length: PAGE });
    ioas.map(t.memory(PAGE_SIZE), { iova: EDU_IOVA + 2n * PAGE });
    const bitmap = hwpt.dirtyBitmap({ iova: EDU_IOVA, length: 3n * PAGE });
    other.config.enable({ memory: false });
    assert.equal(mapping.revoked, true);
    assert.equal(await driver.store(EDU_IOVA + 2n * PAGE, 4), true);
    assert.equal(await driver.store(EDU_IOVA + PAGE, 4), false, 'DMA reaches what is revoked');
    assert.deepEqual([...bitmap.read().ranges()], [{ iova: EDU_IOVA + 2n * PAGE, length: PAGE }]);
    bitmap.free();
  });
});
