// What a machine tells of its devices, and what is missing where a device cannot be used.
import assert from 'node:assert/strict';
import { vfioCases } from '../rig/vfio.js';

vfioCases('vfio-discovery', (test) => {
  // Each machine has others.
  const allDevices = { needs: 'edu', dependsOnHardware: true } as const;
  test('pci', 'a device that is ready, by its address', { needs: 'edu' }, (t) => {
    const address = t.address('edu');
    const report = t.rig.host.findDevice(address);
    const { kind, vendorId, deviceId, classCode, driver, noiommu, ready, missing } = report;
    assert.deepEqual(
      { kind, address: report.address, vendorId, deviceId, classCode, driver, noiommu, ready, missing },
      {
        kind: 'pci',
        address,
        vendorId: 0x1234,
        deviceId: 0x11e8,
        classCode: 0xff00,
        driver: 'vfio-pci',
        noiommu: false,
        ready: true,
        missing: [],
      },
    );
    assert.match(report.cdevName ?? '', /^vfio\d+$/);
    assert.equal(report.node, `/dev/vfio/devices/${report.cdevName}`);
    assert.equal(typeof report.iommuGroup, 'number');
    assert(report.groupMembers.includes(address), 'itself is of its group');
    assert.equal(report.pasidWidth, undefined, 'it is no PCI Express device');
  });

  test('by-node', 'the same device by the path of its node', { needs: 'edu' }, (t) => {
    const report = t.rig.host.findDevice(t.address('edu'));
    assert.deepEqual(t.rig.host.findDevice(report.node ?? ''), report);
  });

  test('no-effect', 'asking changes nothing for whoever has the device', { needs: 'edu' }, (t) => {
    const { host } = t.rig;
    const nic = t.open('edu');
    assert.equal(host.findDevice(t.address('edu')).ready, true, 'open elsewhere');
    nic.bind(t.iommufd);
    assert.equal(host.findDevice(t.address('edu')).ready, true, 'bound elsewhere: only bind tells');
    nic.attach(t.iommufd.allocIoas());
  });

  test('list', 'the devices that VFIO has, each as it is found alone', allDevices, (t) => {
    const { host } = t.rig;
    const list = host.listDevices();
    assert(list.some(({ address }) => address === t.address('edu')));
    for (const report of list) {
      assert.notEqual(report.node, undefined, report.address);
      const alone = host.findDevice(report.node ?? '');
      assert.deepEqual({ ...alone, pasidWidth: undefined }, report);
    }
  });

  test('list-all', 'all devices, those that other drivers have too', allDevices, (t) => {
    const { host } = t.rig;
    const all = host.listDevices({ all: true });
    const names = new Set(all.map(({ address }) => address));
    assert.equal(names.size, all.length, 'each once');
    for (const { address } of host.listDevices()) assert(names.has(address), address);
    for (const { address, ready, cdevName, missing } of all) {
      assert.equal(ready, missing.length === 0, address);
      assert.equal(
        missing.some(({ what }) => what === 'driver'),
        cdevName === undefined,
        address,
      );
    }
  });

  test('mediated', 'a mediated device, by its UUID', { needs: 'serial' }, (t) => {
    const { host } = t.rig;
    const found = host.findDevice(t.address('serial'));
    assert.deepEqual([found.kind, found.ready, found.vendorId], ['mediated', true, undefined]);
    assert.match(found.address, /^[0-9a-f]{8}-/);
    assert.equal(host.findDevice(found.address).node, found.node);
    const device = host.openDevice(found.address);
    t.later(() => device.close());
    device.bind(t.iommufd);
  });

  test('group', 'the functions of one slot are one group here', { needs: ['pair0', 'pair1'] }, (t) => {
    const [a, b] = [t.rig.host.findDevice(t.address('pair0')), t.rig.host.findDevice(t.address('pair1'))];
    assert.equal(a.iommuGroup, b.iommuGroup);
    assert.deepEqual(a.groupMembers, b.groupMembers);
    assert(a.groupMembers.includes(a.address) && a.groupMembers.includes(b.address));
    assert.deepEqual([a.ready, b.ready], [true, true]);
  });

  test('taken-back', 'a device that its driver lost, and what mends it', allDevices, async (t) => {
    const { host } = t.rig;
    const address = t.address('edu');
    await t.requestBack('edu');
    try {
      const { ready, driver, node, missing } = host.findDevice(address);
      assert.deepEqual({ ready, driver, node }, { ready: false, driver: undefined, node: undefined });
      assert.deepEqual(
        missing.map(({ what }) => what),
        ['driver'],
      );
      assert.match(missing[0]?.mend ?? '', /driver_override[\s\S]*drivers_probe/);
      assert.throws(() => host.openDevice(address), {
        code: 'ERR_IOMMUFD_UNAVAILABLE',
        message: /has no driver[\s\S]*drivers_probe/,
      });
      assert(!host.listDevices().some((report) => report.address === address));
    } finally {
      await t.giveBack('edu');
    }
    assert.equal(host.findDevice(address).ready, true);
  });

  test('nowhere', 'names that nothing has', { needs: 'edu' }, (t) => {
    const { host } = t.rig;
    for (const name of ['0000:7f:1f.7', '00000000-0000-0000-0000-00000000dead', '/dev/null', '/dev/vfio/devices/no']) {
      assert.throws(() => host.findDevice(name), { code: 'ERR_IOMMUFD_UNAVAILABLE' }, name);
    }
    assert.throws(() => host.openDevice('0000:7f:1f.7'), { code: 'ERR_IOMMUFD_UNAVAILABLE', message: /lspci/ });
  });
});
