// Letting devices sleep (drivers/vfio/pci/vfio_pci_core.c).
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { setTimeout as pause, setImmediate as turn } from 'node:timers/promises';
import { refused } from '../rig/suite.js';
import { type Role, type VfioBench, vfioCases } from '../rig/vfio.js';

/** Waits until Linux has let the device sleep; it does that in its own time, the emulated kernel in a turn or two. */
async function asleep(t: VfioBench, role: Role): Promise<void> {
  const path = `/sys/bus/pci/devices/${t.address(role)}/power/runtime_status`;
  if (t.rig.name === 'emulated') for (let i = 0; i < 3; i++) await turn();
  else while (readFileSync(path, 'utf8').trim() !== 'suspended') await pause(5);
}

vfioCases('low-power', (test) => {
  test('entry', 'a device is let go to sleep once, and woken any number of times', { needs: 'edu' }, (t) => {
    const { lowPower } = t.bound('edu');
    lowPower.exit();
    lowPower.enter();
    assert.match(refused('EINVAL', () => lowPower.enter()).message, /exit\(\) comes first/);
    lowPower.exit();
    lowPower.exit();
    lowPower.enter();
    lowPower.exit();
  });

  test('registers', 'mapped registers are dead from the entry on', { needs: 'edu' }, (t) => {
    const nic = t.bound('edu');
    nic.config.enable({ memory: true });
    const registers = nic.region('bar0').mmap();
    const identity = registers.read32(0);
    nic.lowPower.enter();
    assert.throws(() => registers.read32(0), { code: 'ERR_IOMMUFD_DESTROYED' });
    nic.lowPower.exit();
    assert.throws(() => registers.read32(0), { code: 'ERR_IOMMUFD_DESTROYED' });
    registers.unmap();
    assert.equal(nic.region('bar0').mmap().read32(0), identity);
  });

  test('calls', 'an access through the file works all the same', { needs: 'edu' }, (t) => {
    const nic = t.bound('edu');
    nic.config.enable({ memory: true });
    nic.lowPower.enter();
    assert.equal(nic.config.vendorId, 0x1234);
    nic.lowPower.exit();
  });

  test('wakeup-fd', 'the wake-up wants an eventfd', { needs: 'edu' }, (t) => {
    const nic = t.bound('edu');
    refused('EINVAL', () => nic.lowPower.enterWithWakeup(t.iommufd.fd));
    refused('EBADF', () => nic.lowPower.enterWithWakeup(0x3fff_0000));
    assert.throws(() => nic.lowPower.enterWithWakeup(-1), RangeError);
    assert.throws(() => nic.lowPower.enterWithWakeup({} as unknown as number), TypeError);
    const eventfd = t.rig.host.createEventfd();
    t.later(() => eventfd.close());
    // A second call would be refused or not: it wakes the device, which ends the first one where it slept.
    nic.lowPower.enterWithWakeup(eventfd);
    nic.lowPower.exit();
  });

  for (const role of ['nvme', 'test'] as const) {
    test(
      `wakeup-${role}`,
      'a device that slept tells when it wakes up, and stays awake',
      { needs: role },
      async (t) => {
        const nic = t.bound(role);
        const { vendorId } = nic.config;
        const eventfd = t.rig.host.createEventfd();
        t.later(() => eventfd.close());
        nic.lowPower.enterWithWakeup(eventfd);
        await asleep(t, role);
        assert.equal(eventfd.drain(), 0n);
        assert.equal(nic.config.vendorId, vendorId);
        assert.equal(await eventfd.wait(), 1n);
        // It is over: entering is not refused, and without a wake-up nobody is told.
        nic.lowPower.enter();
        await asleep(t, role);
        assert.equal(nic.config.vendorId, vendorId);
        nic.lowPower.exit();
        assert.equal(eventfd.drain(), 0n);
      },
    );
  }

  test('mediated', 'a mediated device has no power to save', { needs: 'serial' }, (t) => {
    const { lowPower } = t.bound('serial');
    refused('ENOTTY', () => lowPower.enter());
    refused('ENOTTY', () => lowPower.exit());
  });
});
