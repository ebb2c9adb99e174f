// Page tables of a device's PASIDs, each on its own.
import assert from 'node:assert/strict';
import {
  mock_iommu,
  test_pasid_attach,
  test_pasid_check,
  test_pasid_detach,
  test_pasid_replace,
} from '../../lib/emulated/hardware/selftest/uapi.js';
import type { MockDevice } from '../rig/mock.js';
import { ask, nestedOptions, SELFTEST } from '../rig/mock-checks.js';
import { type Bench, conformance, NO_ID, refused } from '../rig/suite.js';

const WIDTH = mock_iommu.values.MOCK_PASID_WIDTH;
/** Attaching something else to this PASID fails once, as if memory had run out. */
const FAILING = SELFTEST.IOMMU_TEST_PASID_RESERVED;

/** A device with PASIDs, itself attached to a page table that goes with them. */
function start(t: Bench) {
  const mock = t.mockDevice({ pasid: true });
  const { device } = mock;
  const ioas = t.iommufd.allocIoas();
  const own = ioas.allocHwpt(device, { pasid: true });
  device.attach(own);
  const make = () => t.iommufd.allocIoas().allocHwpt(device, { pasid: true });
  return { mock, device, ioas, own, make };
}

/** Whether the kernel has this page table (0: none) for the PASID. */
function check(t: Bench, mock: MockDevice, pasid: number, hwpt: { id: number } | undefined): string {
  const input = { id: mock.stdevId, pasid, hwpt_id: hwpt?.id ?? 0 };
  return ask(t, 'IOMMU_TEST_OP_PASID_CHECK_HWPT', test_pasid_check, input).code;
}

function rawAttach(t: Bench, mock: MockDevice, pasid: number, pt_id: number): string {
  return ask(t, 'IOMMU_TEST_OP_PASID_ATTACH', test_pasid_attach, { id: mock.stdevId, pasid, pt_id }).code;
}
function rawReplace(t: Bench, mock: MockDevice, pasid: number, pt_id: number): string {
  return ask(t, 'IOMMU_TEST_OP_PASID_REPLACE', test_pasid_replace, { id: mock.stdevId, pasid, pt_id }).code;
}
function rawDetach(t: Bench, mock: MockDevice, pasid: number): string {
  return ask(t, 'IOMMU_TEST_OP_PASID_DETACH', test_pasid_detach, { id: mock.stdevId, pasid }).code;
}

conformance('pasid', (test) => {
  test('attach', 'attaches a PASID beside the device itself', (t) => {
    const { mock, device, own, make } = start(t);
    const hwpt = make();
    assert.equal(check(t, mock, 100, undefined), 'ok');
    assert.equal(device.attach(hwpt, { pasid: 100 }), hwpt);
    assert.equal(check(t, mock, 100, hwpt), 'ok');
    assert.equal(check(t, mock, 100, own), 'EINVAL');
    assert.deepEqual([device.attachedTo({ pasid: 100 }), device.attachedTo()], [hwpt, own]);
  });
  test('holds', 'holds the page table, which says so', (t) => {
    const { device, make } = start(t);
    const hwpt = make();
    device.attach(hwpt, { pasid: 5 });
    assert.match(refused('EBUSY', () => hwpt.destroy()).message, new RegExp(`attached device ${device.id} PASID 5`));
    device.detach({ pasid: 5 });
    hwpt.destroy();
  });
  test('replace', 'attached again, replaces what was attached', (t) => {
    const { mock, device, make } = start(t);
    const [first, second] = [make(), make()];
    device.attach(first, { pasid: 7 });
    assert.equal(device.attach(second, { pasid: 7 }), second);
    assert.equal(check(t, mock, 7, second), 'ok');
    first.destroy();
    refused('EBUSY', () => second.destroy());
  });
  test('detach', 'detaches the PASID, and not the device', (t) => {
    const { mock, device, own, make } = start(t);
    device.attach(make(), { pasid: 7 });
    device.detach({ pasid: 7 });
    device.detach({ pasid: 7 });
    assert.equal(check(t, mock, 7, undefined), 'ok');
    assert.deepEqual([device.attachedTo({ pasid: 7 }), device.attachedTo()], [undefined, own]);
  });
  test('independent', 'keeps PASIDs apart', (t) => {
    const { mock, device, make } = start(t);
    const [one, two] = [make(), make()];
    device.attach(one, { pasid: 1 });
    device.attach(two, { pasid: 2 });
    device.attach(one, { pasid: 3 });
    device.detach({ pasid: 1 });
    assert.deepEqual(
      [check(t, mock, 1, undefined), check(t, mock, 2, two), check(t, mock, 3, one)],
      ['ok', 'ok', 'ok'],
    );
    assert.equal(one.heldBy.length, 1);
  });
  test('two-devices', 'keeps the PASIDs of devices apart', (t) => {
    const { mock, device, make, own } = start(t);
    const other = t.mockDevice({ pasid: true });
    other.device.attach(own);
    const hwpt = make();
    device.attach(hwpt, { pasid: 9 });
    assert.equal(check(t, other, 9, undefined), 'ok');
    other.device.attach(own, { pasid: 9 });
    assert.deepEqual([check(t, mock, 9, hwpt), check(t, other, 9, own)], ['ok', 'ok']);
    other.device.destroy();
  });
  test('same-table', 'attaches device and PASID to the same page table', (t) => {
    const { mock, device, own } = start(t);
    device.attach(own, { pasid: 4 });
    assert.equal(check(t, mock, 4, own), 'ok');
    assert.equal(own.heldBy.length, 2);
  });
  test('first-and-last', 'takes every PASID the device has', (t) => {
    const { mock, device, make } = start(t);
    const hwpt = make();
    for (const pasid of [1, 2 ** WIDTH - 1]) {
      device.attach(hwpt, { pasid });
      assert.equal(check(t, mock, pasid, hwpt), 'ok');
    }
  });
  test('out-of-range', 'refuses a PASID beyond those of the device', (t) => {
    const { mock, make } = start(t);
    const hwpt = make();
    for (const pasid of [2 ** WIDTH, 0xffff_ffff]) assert.equal(rawAttach(t, mock, pasid, hwpt.id), 'EINVAL');
    hwpt.destroy();
  });
  test('no-pasids', 'refuses a device without PASIDs', (t) => {
    const mock = t.mockDevice();
    const hwpt = t.iommufd.allocIoas().allocHwpt(mock.device, { pasid: true });
    mock.device.attach(hwpt);
    refused('EINVAL', () => mock.device.attach(hwpt, { pasid: 1 }));
    assert.equal(mock.device.attachedTo({ pasid: 1 }), undefined);
    assert.equal(check(t, mock, 1, undefined), 'ok');
  });
  test('table-without', 'refuses a page table that was not made for PASIDs', (t) => {
    const { mock, device, ioas } = start(t);
    const hwpt = ioas.allocHwpt(device);
    assert.match(refused('EINVAL', () => device.attach(hwpt, { pasid: 1 })).message, /pasid: true/);
    assert.equal(check(t, mock, 1, undefined), 'ok');
    hwpt.destroy();
  });
  test('ioas', 'refuses an IOAS: the page table the kernel makes is not for PASIDs', (t) => {
    const { device, mock } = start(t);
    const ioas = t.iommufd.allocIoas();
    assert.equal(device.tryAttach(ioas, { pasid: 1 }).refusal?.code, 'EINVAL');
    assert.equal(check(t, mock, 1, undefined), 'ok');
    ioas.destroy();
  });
  test('device-without', 'refuses a PASID while the device is attached to a page table not for PASIDs', (t) => {
    const { device, ioas, make } = start(t);
    device.attach(ioas.allocHwpt(device));
    const hwpt = make();
    refused('EINVAL', () => device.attach(hwpt, { pasid: 1 }));
    hwpt.destroy();
  });
  test('device-with-pasids', 'refuses such a page table for a device while it has PASIDs attached', (t) => {
    const { device, ioas, own, make } = start(t);
    device.attach(make(), { pasid: 1 });
    const plain = ioas.allocHwpt(device);
    refused('EINVAL', () => device.attach(plain));
    assert.equal(device.attachedTo(), own);
    device.detach({ pasid: 1 });
    device.attach(plain);
  });
  test('rollback', 'keeps the old page table when the driver fails half-way through replacing', (t) => {
    const { mock, device, make } = start(t);
    const [first, second] = [make(), make()];
    device.attach(first, { pasid: FAILING });
    assert.equal(device.tryAttach(second, { pasid: FAILING }).refusal?.code, 'ENOMEM');
    assert.equal(device.attachedTo({ pasid: FAILING }), first);
    assert.equal(check(t, mock, FAILING, first), 'ok');
    second.destroy();
    assert.equal(t.destroyId(first.id), 'EBUSY');
  });
  test('rollback-again', 'can be replaced after a failure', (t) => {
    const { mock, device, make } = start(t);
    const [first, second] = [make(), make()];
    device.attach(first, { pasid: FAILING });
    refused('ENOMEM', () => device.attach(second, { pasid: FAILING }));
    device.attach(second, { pasid: FAILING });
    assert.equal(check(t, mock, FAILING, second), 'ok');
    first.destroy();
  });
  test('nested', 'attaches a nested page table made for PASIDs', (t) => {
    const { mock, device } = start(t);
    const parent = t.iommufd.allocIoas().allocHwpt(device, { nestParent: true });
    const nested = parent.allocNestedHwpt(device, { ...nestedOptions(), pasid: true });
    device.attach(nested, { pasid: 3 });
    assert.equal(check(t, mock, 3, nested), 'ok');
    const plain = parent.allocNestedHwpt(device, nestedOptions());
    refused('EINVAL', () => device.attach(plain, { pasid: 3 }));
    assert.equal(device.attachedTo({ pasid: 3 }), nested);
  });
  test('async', 'attaches on the thread pool alike', async (t) => {
    const { mock, device, make } = start(t);
    const hwpt = make();
    assert.equal(await device.attachAsync(hwpt, { pasid: 6 }), hwpt);
    assert.equal(check(t, mock, 6, hwpt), 'ok');
  });
  test('unbind', 'lets the page tables of all PASIDs go when the device is unbound', (t) => {
    const { device, own, make } = start(t);
    const [one, two] = [make(), make()];
    device.attach(one, { pasid: 1 });
    device.attach(two, { pasid: 2 });
    device.destroy();
    for (const hwpt of [one, two, own]) hwpt.destroy();
  });
  test('dispose', 'is detached when its page table is disposed', (t) => {
    const { mock, device, make } = start(t);
    const hwpt = make();
    device.attach(hwpt, { pasid: 8 });
    hwpt[Symbol.dispose]();
    assert.equal(device.attachedTo({ pasid: 8 }), undefined);
    assert.equal(check(t, mock, 8, undefined), 'ok');
  });
  test('raw-attach-twice', 'refuses to attach what is attached', (t) => {
    const { mock, make } = start(t);
    const [one, two] = [make(), make()];
    assert.equal(rawAttach(t, mock, 11, one.id), 'ok');
    assert.equal(rawAttach(t, mock, 11, one.id), 'EBUSY');
    assert.equal(rawAttach(t, mock, 11, two.id), 'EBUSY');
    assert.equal(check(t, mock, 11, one), 'ok');
    assert.equal(rawDetach(t, mock, 11), 'ok');
  });
  test('raw-replace-nothing', 'refuses to replace where nothing is attached', (t) => {
    const { mock, make } = start(t);
    assert.equal(rawReplace(t, mock, 11, make().id), 'EINVAL');
    assert.equal(check(t, mock, 11, undefined), 'ok');
  });
  test('raw-detach-nothing', 'detaches where nothing is attached without harm', (t) => {
    const { mock } = start(t);
    assert.equal(rawDetach(t, mock, 11), 'ok');
  });
  test('raw-types', 'refuses what is no page table', (t) => {
    const { mock, device } = start(t);
    assert.equal(rawAttach(t, mock, 11, NO_ID), 'ENOENT');
    assert.equal(rawAttach(t, mock, 11, device.id), 'EINVAL');
    assert.equal(rawAttach(t, mock, 11, t.iommufd.allocFaultQueue().id), 'EINVAL');
    assert.equal(check(t, mock, 11, undefined), 'ok');
  });
  test('misuse', 'names PASIDs that no device can have before the kernel is asked', (t) => {
    const { device, make } = start(t);
    const hwpt = make();
    for (const pasid of [0, -1, 1.5, 2 ** 20]) refused('ERR_OUT_OF_RANGE', () => device.attach(hwpt, { pasid }));
    refused('ERR_INVALID_ARG_TYPE', () => device.attach(hwpt, { pasid: '1' as never }));
    refused('ERR_OUT_OF_RANGE', () => device.detach({ pasid: 0 }));
    refused('ERR_OUT_OF_RANGE', () => device.attachedTo({ pasid: 2 ** 20 }));
    hwpt.destroy();
  });
});
