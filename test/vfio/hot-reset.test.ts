// Resets of a bus or slot, which all devices on it go through: who must own them, and what becomes of them.
import assert from 'node:assert/strict';
import { refused } from '../rig/suite.js';
import { vfioCases } from '../rig/vfio.js';

const needs = ['pair0', 'pair1'] as const;

vfioCases('vfio-hot-reset', (test) => {
  test('root-bus', 'a device on a root bus has no bridge that could reset it', { needs: 'edu' }, (t) => {
    const nic = t.bound('edu');
    assert.match(refused('ENODEV', () => nic.hotResetInfo()).message, /no bridge/);
    refused('ENODEV', () => nic.hotReset());
  });
  test('mediated', 'a mediated device has no bus', { needs: 'serial' }, (t) => {
    const port = t.bound('serial');
    refused('ENOTTY', () => port.hotResetInfo());
    refused('ENOTTY', () => port.hotReset());
  });
  test('info', 'tells which devices go together, and whose they are', { needs }, (t) => {
    const [first, second] = [t.bound('pair0'), t.bound('pair1')];
    assert.deepEqual(first.hotResetInfo(), {
      possible: true,
      devices: [
        { address: t.address('pair0'), id: first.device.id, owned: true },
        { address: t.address('pair1'), id: second.device.id, owned: true },
      ],
      blockers: [],
    });
  });
  test('info-group', 'a device that nobody opened belongs to who has its IOMMU group', { needs }, (t) => {
    const first = t.bound('pair0');
    const { possible, devices } = first.hotResetInfo();
    assert.equal(possible, true);
    assert.deepEqual(devices[1], { address: t.address('pair1'), owned: true });
  });
  test('both', 'what was mapped of either is dead afterwards', { needs }, (t) => {
    const both = [t.bound('pair0'), t.bound('pair1')] as const;
    const before = both.map((nic) => {
      nic.config.enable({ memory: true });
      const registers = nic.region('bar0').mmap();
      registers.write32(0x04, 0x1234);
      assert.equal(registers.read32(0x04), ~0x1234 >>> 0);
      return registers;
    });
    both[0].hotReset();
    for (const registers of before) {
      assert.equal(registers.mapped, false);
      assert.match(refused('ERR_IOMMUFD_DESTROYED', () => registers.read32(0)).message, /reset/);
    }
    for (const nic of both) {
      nic.config.enable({ memory: true });
      assert.equal(nic.region('bar0').mmap().read32(0), 0x0100_00ed);
    }
  });
  test('one', 'works with one of them open, too', { needs }, (t) => {
    const nic = t.bound('pair1');
    nic.config.enable({ memory: true });
    const registers = nic.region('bar0').mmap();
    nic.hotReset();
    assert.equal(registers.mapped, false);
  });
  test('blocked', 'names the device that prevents it, and leaves all as it was', { needs }, async (t) => {
    const other = t.address('pair1');
    await t.requestBack('pair1');
    try {
      const nic = t.bound('pair0');
      nic.config.enable({ memory: true });
      const registers = nic.region('bar0').mmap();
      const info = nic.hotResetInfo();
      assert.deepEqual([info.possible, info.blockers], [false, [other]]);
      assert.match(refused('EINVAL', () => nic.hotReset()).message, new RegExp(other));
      assert.equal(registers.mapped, true);
      assert.equal(registers.read32(0), 0x0100_00ed);
    } finally {
      await t.giveBack('pair1');
    }
    const nic = t.bound('pair1');
    assert.equal(nic.hotResetInfo().possible, true);
  });
});
