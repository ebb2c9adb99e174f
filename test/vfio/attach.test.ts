// Devices under an IOMMU that translates: attached to address spaces and page tables, moved while attached, detached.
import assert from 'node:assert/strict';
import { EDU_IOVA } from '../rig/edu.js';
import { NO_ID, refused } from '../rig/suite.js';
import { type VfioBench, vfioCases } from '../rig/vfio.js';

const needs = 'edu';

function start(t: VfioBench) {
  return { nic: t.bound('edu'), ioas: t.iommufd.allocIoas() };
}

vfioCases('vfio-attach', (test) => {
  test(
    'ioas',
    'attached to an address space, gets a page table that the kernel makes and takes away',
    { needs },
    (t) => {
      const { nic, ioas } = start(t);
      const hwpt = nic.attach(ioas);
      assert.equal(hwpt.type, 'hwpt-paging');
      assert.equal(nic.device.attachedTo(), hwpt);
      assert.match(refused('EBUSY', () => ioas.destroy()).message, /held by/);
      nic.detach();
      assert.equal(nic.device.attachedTo(), undefined);
      assert.equal(hwpt.destroyed, true);
      ioas.destroy();
    },
  );
  test('page-table', 'attaches to a page table of its own, which it then holds', { needs }, (t) => {
    const { nic, ioas } = start(t);
    const hwpt = ioas.allocHwpt(nic.device);
    assert.equal(nic.attach(hwpt), hwpt);
    assert.match(refused('EBUSY', () => hwpt.destroy()).message, new RegExp(`attached device ${nic.device.id}`));
    nic.detach();
    hwpt.destroy();
    ioas.destroy();
  });
  test('again', 'attached again to the same address space, nothing changes', { needs }, (t) => {
    const { nic, ioas } = start(t);
    const hwpt = nic.attach(ioas);
    assert.equal(nic.attach(ioas), hwpt);
    nic.detach();
    nic.detach();
    assert.equal(nic.device.attachedTo(), undefined);
  });
  test('replace', 'moves to another page table without being detached', { needs }, (t) => {
    const { nic, ioas } = start(t);
    const other = t.iommufd.allocIoas();
    const first = nic.attach(ioas);
    const second = nic.attach(other);
    assert.notEqual(second, first);
    assert.equal(first.destroyed, true);
    ioas.destroy();
    const third = other.allocHwpt(nic.device);
    nic.attach(third);
    assert.deepEqual([second.destroyed, nic.device.attachedTo()], [true, third]);
  });
  test('replace-refused', 'what it is attached to stays where it cannot move', { needs }, (t) => {
    const { nic, ioas } = start(t);
    const hwpt = nic.attach(ioas);
    const stale = t.iommufd.allocIoas();
    const { id } = stale;
    assert.equal(t.destroyId(id), 'ok');
    refused('ENOENT', () => nic.attach(stale));
    assert.equal(nic.device.attachedTo(), hwpt);
    assert.equal(t.destroyId(NO_ID), 'ENOENT');
  });
  test('async', 'attaches on the thread pool too', { needs }, async (t) => {
    const { nic, ioas } = start(t);
    const hwpt = await nic.attachAsync(ioas);
    assert.equal(nic.device.attachedTo(), hwpt);
  });
  test('two-devices', 'two devices share the page table of an address space', { needs: ['edu', 'pair0'] }, (t) => {
    const { nic, ioas } = start(t);
    const other = t.bound('pair0');
    const hwpt = nic.attach(ioas);
    assert.equal(other.attach(ioas), hwpt);
    nic.detach();
    assert.equal(hwpt.destroyed, false);
    other.detach();
    assert.equal(hwpt.destroyed, true);
  });
  test('group', 'devices of one group have one page table', { needs: ['pair0', 'pair1'] }, (t) => {
    const [one, other] = [t.bound('pair0'), t.bound('pair1')];
    const [ioas, another] = [t.iommufd.allocIoas(), t.iommufd.allocIoas()];
    const hwpt = one.attach(ioas);
    refused('EINVAL', () => other.attach(another));
    assert.equal(other.device.attachedTo(), undefined);
    assert.equal(other.attach(ioas), hwpt);
  });
  test('group-close', 'devices of one group move together, and all is closed', { needs: ['pair0', 'pair1'] }, (t) => {
    const [one, other] = [t.bound('pair0'), t.bound('pair1')];
    const ioas = t.iommufd.allocIoas();
    const [first, second] = [ioas.allocHwpt(one.device), ioas.allocHwpt(one.device)];
    one.attach(first);
    other.attach(first);
    one.attach(second);
    t.iommufd.close();
    assert.deepEqual([first.destroyed, second.destroyed], [true, true]);
  });

  test('two-contexts', 'devices of one group belong to one iommufd', { needs: ['pair0', 'pair1'] }, (t) => {
    t.bound('pair0');
    const other = t.open('pair1');
    refused('EPERM', () => other.bind(t.openIommufd()));
    other.bind(t.iommufd);
  });
  test(
    'range',
    'what the IOMMU cannot translate is not mapped once a device is attached',
    { needs, dependsOnHardware: true },
    (t) => {
      const { nic, ioas } = start(t);
      nic.attach(ioas);
      const { ranges } = ioas.iovaRanges();
      const last = ranges.at(-1)?.last ?? 0n;
      assert(ranges.length > 0 && last < 2n ** 64n - 0x1_0000n, `${ranges.length} ranges up to ${last}`);
      const page = (last + 1n) & ~0xfffn;
      refused('EINVAL', () => ioas.map(t.memory(), { iova: page }));
      ioas.map(t.memory(), { iova: EDU_IOVA });
    },
  );
  test('narrow', 'an address space with a mapping that its IOMMU cannot translate is refused', { needs }, (t) => {
    const { nic, ioas } = start(t);
    ioas.map(t.memory(), { iova: 2n ** 62n });
    refused('EADDRINUSE', () => nic.attach(ioas));
    assert.equal(nic.device.attachedTo(), undefined);
    ioas.unmap(2n ** 62n, 0x1_0000n);
    nic.attach(ioas);
  });
  test('closed', 'closing the device detaches it', { needs }, (t) => {
    const { nic, ioas } = start(t);
    const hwpt = nic.attach(ioas);
    nic.close();
    assert.equal(hwpt.destroyed, true);
    ioas.destroy();
    refused('ERR_IOMMUFD_DESTROYED', () => nic.attach(t.iommufd.allocIoas()));
  });
});
