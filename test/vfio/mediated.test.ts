// Mediated devices: drivers in the kernel that reach memory through an address space, with no IOMMU between.
import assert from 'node:assert/strict';
import {
  VFIO_DEVICE_ATTACH_IOMMUFD_PT as ATTACH,
  VFIO_DEVICE_DETACH_IOMMUFD_PT as DETACH,
} from '../../lib/uapi/index.js';
import { NO_ID, refused } from '../rig/suite.js';
import { type VfioBench, vfioCases } from '../rig/vfio.js';

const needs = 'serial';
/** The scratch register of a 16550: what is written is read. */
const SCRATCH = 7;

function start(t: VfioBench) {
  return { port: t.bound('serial'), ioas: t.iommufd.allocIoas() };
}

vfioCases('vfio-mediated', (test) => {
  test('attach', 'is attached to an address space itself, which it then holds', { needs }, (t) => {
    const { port, ioas } = start(t);
    assert.equal(port.attach(ioas), ioas);
    assert.equal(port.device.attachedTo(), ioas);
    assert.deepEqual(t.iommufd.objects, [port.device, ioas]);
    assert.match(refused('EBUSY', () => ioas.destroy()).message, new RegExp(`attached device ${port.device.id}`));
    port.detach();
    assert.equal(port.device.attachedTo(), undefined);
    ioas.destroy();
  });
  test('replace', 'moves to another address space', { needs }, (t) => {
    const { port, ioas } = start(t);
    const other = t.iommufd.allocIoas();
    port.attach(ioas);
    assert.equal(port.attach(ioas), ioas);
    assert.equal(port.attach(other), other);
    ioas.destroy();
    refused('EBUSY', () => other.destroy());
    other[Symbol.dispose]();
    assert.deepEqual([other.destroyed, port.device.attachedTo()], [true, undefined]);
  });
  test('async', 'is attached on the thread pool too', { needs }, async (t) => {
    const { port, ioas } = start(t);
    assert.equal(await port.attachAsync(ioas), ioas);
    port.close();
    ioas.destroy();
  });
  test('mapped', 'is attached where memory is mapped, which can be unmapped then', { needs }, (t) => {
    const { port, ioas } = start(t);
    const iova = ioas.map(t.memory(), { iova: 0x200_0000n });
    port.attach(ioas);
    assert.equal(ioas.unmap(iova, 0x10000n), 0x10000n);
    ioas.map(t.memory(), { iova: 0x300_0000n });
  });
  test('no-page-table', 'has no page tables, and no hardware info', { needs }, (t) => {
    const { port, ioas } = start(t);
    assert.match(refused('ENOENT', () => port.device.hwInfo()).message, /without an IOMMU/);
    assert.match(refused('ENOENT', () => ioas.allocHwpt(port.device)).message, /without an IOMMU/);
    assert.deepEqual(t.iommufd.objects, [port.device, ioas]);
  });
  test('page-table', 'is attached to no page table', { needs: ['serial', 'edu'] }, (t) => {
    const { port, ioas } = start(t);
    const hwpt = ioas.allocHwpt(t.bound('edu').device);
    assert.match(refused('ENOENT', () => port.attach(hwpt)).message, /without an IOMMU/);
    port.attach(ioas);
    refused('ENOENT', () => port.attach(hwpt));
    assert.equal(port.device.attachedTo(), ioas);
    assert.equal(port.tryAttach(hwpt).refusal?.code, 'ENOENT');
  });
  test('beside', 'shares an address space with a device that has an IOMMU', { needs: ['serial', 'edu'] }, (t) => {
    const { port, ioas } = start(t);
    const nic = t.bound('edu');
    const hwpt = nic.attach(ioas);
    assert.equal(hwpt.type, 'hwpt-paging');
    assert.equal(port.attach(ioas), ioas);
    nic.detach();
    assert.equal(hwpt.destroyed, true);
    refused('EBUSY', () => ioas.destroy());
    port.detach();
    ioas.destroy();
  });
  test('pasid', 'has no PASIDs', { needs }, (t) => {
    const { port, ioas } = start(t);
    assert.match(refused('EOPNOTSUPP', () => port.attach(ioas, { pasid: 1 })).message, /PASID/);
    assert.equal(t.ioctl(DETACH, { flags: 1, pasid: 1 }, {}, port.fd).code, 'EOPNOTSUPP');
  });
  test('attach-raw', 'answers the id it was given, and takes ids of address spaces only', { needs }, (t) => {
    const { port, ioas } = start(t);
    const attach = (pt_id: number) => t.ioctl(ATTACH, { pt_id }, {}, port.fd);
    assert.equal(attach(NO_ID).code, 'ENOENT');
    assert.equal(attach(port.device.id).code, 'ENOENT');
    assert.deepEqual([attach(ioas.id).code, attach(ioas.id).out.pt_id], ['ok', ioas.id]);
    assert.equal(attach(NO_ID).code, 'ENOENT');
    for (let i = 0; i < 2; i++) assert.equal(t.ioctl(DETACH, {}, {}, port.fd).code, 'ok');
  });
  test('id', 'its id names nothing that could be destroyed, or asked', { needs }, (t) => {
    const { port } = start(t);
    assert.equal(t.destroyId(port.device.id), 'EBUSY');
    assert.equal(port.device.destroyed, false);
  });
  test('token', 'takes no token', { needs }, (t) => {
    const port = t.open('serial');
    refused('EINVAL', () => port.bind(t.iommufd, { vfToken: new Uint8Array(16) }));
    port.bind(t.iommufd);
  });
  test('two', 'two of them have an address space each, or one for both', { needs: ['serial', 'serial1'] }, (t) => {
    const { port, ioas } = start(t);
    const other = t.bound('serial1');
    assert.notEqual(port.device.id, other.device.id);
    port.attach(ioas);
    other.attach(ioas);
    assert.equal(ioas.heldBy.length, 2);
    port.detach();
    assert.deepEqual(ioas.heldBy, [`attached ${other.device.describe()}`]);
  });
  test('registers', 'has registers, which its driver answers for', { needs }, (t) => {
    const { port } = start(t);
    const uart = port.region('bar0');
    assert.deepEqual([uart.size, uart.mmapAreas], [8, []]);
    for (const value of [0x5a, 0xa5]) {
      uart.write8(SCRATCH, value);
      assert.equal(uart.read8(SCRATCH), value);
    }
    refused('ERR_IOMMUFD_UNAVAILABLE', () => uart.mmap());
    refused('ERR_OUT_OF_RANGE', () => uart.read8(8));
  });
});
