// PASIDs of a device: page tables of their own beside that of its plain DMA.
import assert from 'node:assert/strict';
import {
  VFIO_DEVICE_ATTACH_IOMMUFD_PT as ATTACH,
  VFIO_DEVICE_DETACH_IOMMUFD_PT as DETACH,
} from '../../lib/uapi/index.js';
import { refused } from '../rig/suite.js';
import { type VfioBench, vfioCases } from '../rig/vfio.js';

/** The emulated machine's device with PASIDs. */
const needs = 'test';

function start(t: VfioBench) {
  const nic = t.bound('test');
  const ioas = t.iommufd.allocIoas();
  return { nic, ioas, hwpt: ioas.allocHwpt(nic.device, { pasid: true }) };
}

vfioCases('vfio-pasid', (test) => {
  // The IOMMU tells of itself.
  test('none', 'a device without PASIDs is attached by none', { needs: 'edu', dependsOnHardware: true }, (t) => {
    const nic = t.bound('edu');
    const ioas = t.iommufd.allocIoas();
    assert.equal(nic.device.hwInfo().maxPasidLog2, 0);
    refused('EINVAL', () => nic.attach(ioas, { pasid: 1 }));
    refused('EINVAL', () => nic.attach(ioas.allocHwpt(nic.device), { pasid: 1 }));
    assert.equal(nic.device.attachedTo({ pasid: 1 }), undefined);
    nic.detach({ pasid: 1 });
    assert.equal(t.ioctl(DETACH, { flags: 1, pasid: 1 }, {}, nic.fd).code, 'ok', 'not attached is fine');
  });
  test('misuse', 'a PASID has 20 bits, and 0 is plain DMA', { needs: 'edu' }, (t) => {
    const nic = t.bound('edu');
    const ioas = t.iommufd.allocIoas();
    for (const pasid of [0, 2 ** 20, -1, 1.5]) {
      refused('ERR_OUT_OF_RANGE', () => nic.attach(ioas, { pasid }));
      refused('ERR_OUT_OF_RANGE', () => nic.detach({ pasid }));
    }
    refused('ERR_INVALID_ARG_TYPE', () => nic.attach(ioas, { pasid: 1n as never }));
  });
  test('attach', 'is attached by PASIDs, each on its own', { needs }, (t) => {
    const { nic, ioas, hwpt } = start(t);
    const other = ioas.allocHwpt(nic.device, { pasid: true });
    assert.equal(nic.attach(hwpt, { pasid: 1 }), hwpt);
    assert.equal(nic.attach(other, { pasid: 2 }), other);
    assert.equal(nic.device.attachedTo(), undefined);
    assert.deepEqual(hwpt.heldBy, [`attached ${nic.device.describe()} PASID 1`]);
    refused('EBUSY', () => hwpt.destroy());
    nic.detach({ pasid: 1 });
    nic.detach({ pasid: 1 });
    hwpt.destroy();
    assert.equal(nic.device.attachedTo({ pasid: 2 }), other);
  });
  test('replace', 'moves one PASID to another page table', { needs }, (t) => {
    const { nic, ioas, hwpt } = start(t);
    const other = ioas.allocHwpt(nic.device, { pasid: true });
    nic.attach(hwpt, { pasid: 7 });
    nic.attach(other, { pasid: 7 });
    assert.equal(nic.device.attachedTo({ pasid: 7 }), other);
    hwpt.destroy();
  });
  test('beside', 'goes with plain DMA where both page tables are for PASIDs', { needs }, (t) => {
    const { nic, ioas, hwpt } = start(t);
    nic.attach(hwpt);
    nic.attach(hwpt, { pasid: 1 });
    const plain = ioas.allocHwpt(nic.device);
    refused('EINVAL', () => nic.attach(plain));
    refused('EINVAL', () => nic.attach(plain, { pasid: 2 }));
    assert.equal(nic.device.attachedTo(), hwpt);
    nic.detach({ pasid: 1 });
    nic.attach(plain);
  });
  test('close', 'closing the device lets all of them go', { needs }, (t) => {
    const { nic, hwpt } = start(t);
    for (const pasid of [1, 2, 3]) nic.attach(hwpt, { pasid });
    nic.close();
    assert.deepEqual(hwpt.heldBy, []);
    hwpt.destroy();
  });
  test('too-wide', 'a PASID that the IOMMU has no bits for is refused', { needs }, (t) => {
    const { nic, hwpt } = start(t);
    const { maxPasidLog2 } = nic.device.hwInfo();
    assert(maxPasidLog2 > 0);
    const { code } = t.ioctl(ATTACH, { flags: 1, pt_id: hwpt.id, pasid: 2 ** maxPasidLog2 }, {}, nic.fd);
    assert.equal(code, 'EINVAL');
  });
});
