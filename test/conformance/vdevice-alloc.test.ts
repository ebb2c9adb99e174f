// IOMMU_VDEVICE_ALLOC: a device's virtual id on a vIOMMU, one each way.
import assert from 'node:assert/strict';
import { test_mock_domain } from '../../lib/emulated/hardware/selftest/uapi.js';
import {
  IOMMU_HWPT_ALLOC,
  IOMMU_IOAS_ALLOC,
  IOMMU_VDEVICE_ALLOC,
  IOMMU_VIOMMU_ALLOC,
  iommufd_hwpt_alloc_flags,
} from '../../lib/uapi/index.js';
import { type Guest, makeGuest, makeNested, makeViommu, VIOMMU_TYPE } from '../rig/guest.js';
import { testCmd } from '../rig/mock.js';
import { type Bench, conformance, NO_ID, portOf, refused } from '../rig/suite.js';

const U64_MAX = 0xffff_ffff_ffff_ffffn;

interface VdeviceInput {
  readonly flags?: number;
  readonly viommu_id?: number;
  readonly dev_id?: number;
  readonly virt_id?: bigint;
}

/** The call past the objects; what it makes is destroyed at once. */
function tryAlloc(t: Bench, guest: Guest, input: VdeviceInput): string {
  const usual = { viommu_id: guest.viommu.id, dev_id: guest.device.id, virt_id: 1n };
  const { code, out } = t.ioctl(IOMMU_VDEVICE_ALLOC, { ...usual, ...input });
  if (code === 'ok') assert.equal(t.destroyId(out.out_vdevice_id), 'ok');
  return code;
}

/** A device and its vDEVICE without any object, so that the device can go first. */
function rawVdevice(t: Bench) {
  const ioas = t.ioctl(IOMMU_IOAS_ALLOC, {}).out.out_ioas_id;
  const made = testCmd(portOf(t), 'IOMMU_TEST_OP_MOCK_DOMAIN', test_mock_domain, { id: ioas });
  const flags = iommufd_hwpt_alloc_flags.values.IOMMU_HWPT_ALLOC_NEST_PARENT;
  const hwpt = t.ioctl(IOMMU_HWPT_ALLOC, { flags, dev_id: made.out_idev_id, pt_id: ioas }).out.out_hwpt_id;
  const input = { type: VIOMMU_TYPE, dev_id: made.out_idev_id, hwpt_id: hwpt };
  const viommu = t.ioctl(IOMMU_VIOMMU_ALLOC, input).out.out_viommu_id;
  const alloc = (dev_id: number, virt_id: bigint) =>
    t.ioctl(IOMMU_VDEVICE_ALLOC, { viommu_id: viommu, dev_id, virt_id });
  const { code, out } = alloc(made.out_idev_id, 7n);
  assert.equal(code, 'ok');
  return { ioas, stdev: made.out_stdev_id, viommu, hwpt, vdevice: out.out_vdevice_id, alloc };
}

conformance('vdevice-alloc', (test) => {
  test('alloc', 'a vDEVICE is made, and knows its vIOMMU, device and virtual id', (t) => {
    const { viommu, device } = makeGuest(t);
    const vdevice = viommu.allocVdevice(device, { virtId: 0x20 });
    assert.equal(vdevice.type, 'vdevice');
    assert.equal(vdevice.virtId, 0x20n);
    assert.equal(vdevice.viommu, viommu);
    assert.equal(vdevice.device, device);
    assert.deepEqual(vdevice.parents, [viommu, device]);
    assert.deepEqual(viommu.heldBy, [vdevice.describe()]);
    assert.deepEqual(device.heldBy, [vdevice.describe()]);
  });

  test('virt-id-range', 'a virtual id may be any 64-bit number', (t) => {
    const { viommu, device } = makeGuest(t);
    for (const virtId of [0, 0n, 2 ** 53 - 1, 1n << 63n, U64_MAX]) {
      const vdevice = viommu.allocVdevice(device, { virtId });
      assert.equal(vdevice.virtId, BigInt(virtId));
      vdevice.destroy();
    }
  });

  test('device-taken', 'a second vDEVICE of a device is EEXIST', (t) => {
    const { viommu, device } = makeGuest(t);
    viommu.allocVdevice(device, { virtId: 1 });
    assert.match(refused('EEXIST', () => viommu.allocVdevice(device, { virtId: 2 })).message, /has a vDEVICE already/);
  });

  test('device-taken-elsewhere', 'on another vIOMMU too', (t) => {
    const { viommu, device, parent } = makeGuest(t);
    viommu.allocVdevice(device, { virtId: 1 });
    const other = makeViommu(parent, device);
    refused('EEXIST', () => other.allocVdevice(device, { virtId: 1 }));
    other.destroy();
  });

  test('virt-id-taken', 'a virtual id that is taken on the vIOMMU is EEXIST, for all 64 bits', (t) => {
    const { viommu, device } = makeGuest(t);
    const other = t.mockDevice().device;
    for (const virtId of [0n, 1n, 1n << 32n, U64_MAX]) {
      const vdevice = viommu.allocVdevice(device, { virtId });
      refused('EEXIST', () => viommu.allocVdevice(other, { virtId }));
      vdevice.destroy();
    }
  });

  test('virt-id-high-bits', 'ids that differ above bit 31 are different ids', (t) => {
    const { viommu, device } = makeGuest(t);
    viommu.allocVdevice(device, { virtId: 1n });
    assert.equal(viommu.allocVdevice(t.mockDevice().device, { virtId: (1n << 32n) + 1n }).virtId, (1n << 32n) + 1n);
  });

  test('virt-id-per-viommu', 'each vIOMMU has virtual ids of its own', (t) => {
    const { viommu, device, parent } = makeGuest(t);
    const other = t.mockDevice().device;
    const second = makeViommu(parent, other);
    viommu.allocVdevice(device, { virtId: 9 });
    assert.equal(second.allocVdevice(other, { virtId: 9 }).virtId, 9n);
  });

  test('refused-leaves-nothing', 'a refused vDEVICE takes neither device nor virtual id', (t) => {
    const { viommu, device } = makeGuest(t);
    const other = t.mockDevice().device;
    const first = viommu.allocVdevice(device, { virtId: 1 });
    refused('EEXIST', () => viommu.allocVdevice(other, { virtId: 1 }));
    refused('EEXIST', () => viommu.allocVdevice(device, { virtId: 2 }));
    const second = viommu.allocVdevice(other, { virtId: 2 });
    assert.equal(second.id, first.id + 1);
    second.destroy();
    first.destroy();
    viommu.destroy();
    other.destroy();
  });

  test('again', 'device and virtual id can be used again after destroy', (t) => {
    const { viommu, device } = makeGuest(t);
    const first = viommu.allocVdevice(device, { virtId: 1 });
    first.destroy();
    first.destroy();
    assert.equal(viommu.allocVdevice(device, { virtId: 1 }).id, first.id);
  });

  test('unknown-viommu', 'no such vIOMMU is ENOENT; an id of another kind too', (t) => {
    const guest = makeGuest(t);
    for (const viommu_id of [NO_ID, guest.parent.id, guest.device.id]) {
      assert.equal(tryAlloc(t, guest, { viommu_id }), 'ENOENT');
    }
  });

  test('unknown-device', 'no such device is ENOENT; an id of another kind too', (t) => {
    const guest = makeGuest(t);
    for (const dev_id of [NO_ID, guest.mock.stdevId, guest.ioas.id]) {
      assert.equal(tryAlloc(t, guest, { dev_id }), 'ENOENT');
    }
  });

  test('device-before-virt-id', 'a device that has one is refused whatever the id', (t) => {
    const guest = makeGuest(t);
    const vdevice = guest.viommu.allocVdevice(guest.device, { virtId: 1 });
    for (const virt_id of [1n, 2n]) assert.equal(tryAlloc(t, guest, { virt_id }), 'EEXIST');
    vdevice.destroy();
    assert.equal(tryAlloc(t, guest, {}), 'ok');
  });

  test('holds-viommu', 'while it lives, destroying its vIOMMU is EBUSY', (t) => {
    const { viommu, device } = makeGuest(t);
    const vdevice = viommu.allocVdevice(device, { virtId: 1 });
    const error = refused('EBUSY', () => viommu.destroy());
    assert(error.message.includes(`held by ${vdevice.describe()}`), error.message);
    vdevice.destroy();
    viommu.destroy();
  });

  test(
    'holds-device',
    'while it lives, destroying its device is ERR_IOMMUFD_BUSY: the kernel would leave its id unusable',
    (t) => {
      const { viommu, device } = makeGuest(t);
      const vdevice = viommu.allocVdevice(device, { virtId: 1 });
      assert.throws(() => device.destroy(), {
        name: 'UsageError',
        code: 'ERR_IOMMUFD_BUSY',
        message: `${device.describe()} is held by ${vdevice.describe()}: destroy that first`,
      });
      assert.equal(device.destroyed, false);
      assert.equal(t.destroyId(vdevice.id), 'ok');
      refused('ENOENT', () => vdevice.destroy());
      device.destroy();
    },
  );

  test('device-dispose', 'disposing of the device takes its vDEVICE first', (t) => {
    const { viommu, device } = makeGuest(t);
    const vdevice = viommu.allocVdevice(device, { virtId: 1 });
    device[Symbol.dispose]();
    assert.deepEqual([vdevice.destroyed, device.destroyed], [true, true]);
    assert.deepEqual(viommu.heldBy, []);
    viommu.destroy();
  });

  test('attach-needs-it', 'a nested page table of a vIOMMU takes a device only with a vDEVICE there', (t) => {
    const { viommu, device } = makeGuest(t);
    const nested = makeNested(viommu, device);
    refused('ENOENT', () => device.attach(nested));
    viommu.allocVdevice(device, { virtId: 1 });
    assert.equal(device.attach(nested), nested);
  });

  test('foreign', 'a device of another iommufd is ERR_IOMMUFD_FOREIGN_CONTEXT', (t) => {
    const { viommu } = makeGuest(t);
    const other = t.mockDevice({}, t.openIommufd()).device;
    assert.throws(() => viommu.allocVdevice(other, { virtId: 1 }), { code: 'ERR_IOMMUFD_FOREIGN_CONTEXT' });
  });

  test('device-gone', 'a device that is gone is ERR_IOMMUFD_DESTROYED', (t) => {
    const { viommu } = makeGuest(t);
    const other = t.mockDevice().device;
    other.destroy();
    assert.throws(() => viommu.allocVdevice(other, { virtId: 1 }), { code: 'ERR_IOMMUFD_DESTROYED' });
  });

  test('tombstone', 'past the objects, a device that goes first takes its vDEVICE with it, and the id is lost', (t) => {
    const raw = rawVdevice(t);
    assert.equal(t.destroyId(raw.stdev), 'ok');
    assert.equal(t.destroyId(raw.vdevice), 'ENOENT');
    const later = Array.from({ length: 4 }, () => t.ioctl(IOMMU_IOAS_ALLOC, {}).out.out_ioas_id);
    assert(!later.includes(raw.vdevice));
    assert(later.some((id) => id > raw.vdevice));
  });

  test('tombstone-releases', 'the vIOMMU and the virtual id are free then', (t) => {
    const raw = rawVdevice(t);
    assert.equal(t.destroyId(raw.stdev), 'ok');
    const again = testCmd(portOf(t), 'IOMMU_TEST_OP_MOCK_DOMAIN', test_mock_domain, { id: raw.ioas });
    const { code, out } = raw.alloc(again.out_idev_id, 7n);
    assert.equal(code, 'ok');
    assert.equal(t.destroyId(raw.viommu), 'EBUSY');
    assert.equal(t.destroyId(out.out_vdevice_id), 'ok');
    assert.equal(t.destroyId(raw.viommu), 'ok');
    assert.equal(t.destroyId(raw.hwpt), 'ok');
  });

  test('struct-size', 'the struct must be whole', (t) => {
    const guest = makeGuest(t);
    const input = { viommu_id: guest.viommu.id, dev_id: guest.device.id, virt_id: 1n };
    const { size } = IOMMU_VDEVICE_ALLOC.layout;
    assert.equal(t.ioctlSized(IOMMU_VDEVICE_ALLOC, input, { size: size - 1 }).code, 'EINVAL');
    const tail = new Uint8Array(8).fill(1);
    assert.equal(t.ioctlSized(IOMMU_VDEVICE_ALLOC, input, { size: size + 8, tail }).code, 'E2BIG');
    assert.deepEqual(guest.viommu.heldBy, []);
    guest.viommu.destroy();
  });
});
