// Resets of a device alone.
import assert from 'node:assert/strict';
import { refused } from '../rig/suite.js';
import { type VfioGroup, vfioCases } from '../rig/vfio.js';

vfioCases('vfio-reset', (test) => {
  test('refused', 'a device that cannot be reset alone says so', { needs: 'edu' }, async (t) => {
    const nic = t.bound('edu');
    nic.config.enable({ memory: true });
    const registers = nic.region('bar0').mmap();
    assert.equal(nic.info.canReset, false);
    assert.match(refused('EINVAL', () => nic.reset()).message, /hotResetInfo/);
    assert.equal(registers.mapped, true);
    registers.read32(0);
    await assert.rejects(nic.resetAsync(), { code: 'EINVAL' });
    assert.equal(registers.mapped, true);
  });
  test('mediated', 'a mediated device is reset by its driver', { needs: 'serial' }, (t) => {
    const port = t.bound('serial');
    port.reset();
    assert.equal(port.interrupts('intx').count, 1);
  });
  resets(test, 'nvme');
  resets(test, 'test');
});

function resets(test: VfioGroup, role: 'nvme' | 'test'): void {
  const options = { needs: role } as const;
  test(role, 'what was mapped before is dead afterwards, and can be mapped anew', options, (t) => {
    const nic = t.bound(role);
    assert.equal(nic.info.canReset, true);
    nic.config.enable({ memory: true });
    const before = nic.region('bar0').mmap();
    before.read32(0);
    nic.reset();
    assert.equal(before.mapped, false);
    assert.match(refused('ERR_IOMMUFD_DESTROYED', () => before.read32(0)).message, /reset/);
    nic.config.enable({ memory: true });
    const after = nic.region('bar0').mmap();
    after.read32(0);
    before.unmap();
    after.unmap();
  });
  test(`async-${role}`, 'on the thread pool, what was mapped before is dead at once', options, async (t) => {
    const nic = t.bound(role);
    nic.config.enable({ memory: true });
    const before = nic.region('bar0').mmap();
    const done = nic.resetAsync();
    refused('ERR_IOMMUFD_DESTROYED', () => before.read32(0));
    refused('ERR_IOMMUFD_BUSY', () => nic.close());
    await done;
    before.unmap();
    nic.config.enable({ memory: true });
    nic.region('bar0').mmap().read32(0);
  });
  test(`interrupts-${role}`, 'interrupts stay connected', options, async (t) => {
    const nic = t.bound(role);
    const [vector] = nic.interrupts('msix').enable({ count: 1 });
    nic.reset();
    vector?.trigger();
    assert.equal(await vector?.wait(), 1n);
  });
}
