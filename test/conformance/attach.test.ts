// Attaching devices to page tables and address spaces, replacing, detaching, and what the kernel makes for it.
import assert from 'node:assert/strict';
import { test_mock_domain, test_mock_domain_replace } from '../../lib/emulated/hardware/selftest/uapi.js';
import { MOCK_APERTURE, MOCK_PAGE_SIZE } from '../rig/mock.js';
import { ask, checkMap, checkPins, NOWHERE, nestedOptions, nestingParent } from '../rig/mock-checks.js';
import { type Bench, conformance, NO_ID, refused } from '../rig/suite.js';

const IOVA = MOCK_APERTURE.start;

function start(t: Bench) {
  const mock = t.mockDevice();
  return { mock, device: mock.device, ioas: t.iommufd.allocIoas() };
}

/** Attaches a mock device (its selftest id) past the objects. */
function replace(t: Bench, id: number, pt_id: number) {
  return ask(t, 'IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE', test_mock_domain_replace, { id, pt_id });
}

conformance('attach', (test) => {
  test('page-table', 'attaches a device to a page table, which it then holds', (t) => {
    const { device, ioas } = start(t);
    const hwpt = ioas.allocHwpt(device);
    assert.equal(device.attachedTo(), undefined);
    assert.equal(device.attach(hwpt), hwpt);
    assert.equal(device.attachedTo(), hwpt);
    assert.match(refused('EBUSY', () => hwpt.destroy()).message, new RegExp(`attached device ${device.id}`));
    assert.equal(hwpt.destroyed, false);
    device.detach();
    assert.equal(device.attachedTo(), undefined);
    hwpt.destroy();
  });
  test('ioas', 'attached to an IOAS, gets a page table that the kernel makes', (t) => {
    const { device, ioas } = start(t);
    const ram = t.memory();
    ioas.map(ram, { iova: IOVA });
    const hwpt = device.attach(ioas);
    assert.equal(hwpt.type, 'hwpt-paging');
    assert.deepEqual([hwpt.type === 'hwpt-paging' && hwpt.auto, hwpt.parents], [true, [ioas]]);
    assert.equal(device.attachedTo(), hwpt);
    assert.equal(checkMap(t, hwpt, IOVA, ram.address, BigInt(ram.size)), 'ok');
    assert.equal(checkPins(t, ram.address, BigInt(ram.size), 1), 'ok');
  });
  test('auto-borrowed', 'does not give such a page table to its user to destroy', (t) => {
    const { device, ioas } = start(t);
    const hwpt = device.attach(ioas);
    refused('ERR_IOMMUFD_BORROWED', () => hwpt.destroy());
    assert.equal(hwpt.destroyed, false);
    assert.equal(t.destroyId(hwpt.id), 'EBUSY');
    assert.equal(t.destroyId(ioas.id), 'EBUSY');
  });
  test('auto-goes', 'takes such a page table away with its device, and unpins', (t) => {
    const { device, ioas } = start(t);
    const ram = t.memory();
    ioas.map(ram, { iova: IOVA });
    const hwpt = device.attach(ioas);
    device.detach();
    assert.equal(hwpt.destroyed, true);
    assert.equal(t.destroyId(hwpt.id), 'ENOENT');
    assert.equal(checkPins(t, ram.address, BigInt(ram.size), 0), 'ok');
    ioas.destroy();
  });
  test('auto-shared', 'shares such a page table between devices, until the last goes', (t) => {
    const { device, ioas } = start(t);
    const other = t.mockDevice().device;
    const hwpt = device.attach(ioas);
    assert.equal(other.attach(ioas), hwpt);
    device.detach();
    assert.equal(hwpt.destroyed, false);
    assert.equal(t.destroyId(hwpt.id), 'EBUSY');
    other.detach();
    assert.equal(hwpt.destroyed, true);
  });
  test('auto-again', 'keeps such a page table when the device is attached to the same IOAS again', (t) => {
    const { device, ioas } = start(t);
    const hwpt = device.attach(ioas);
    assert.equal(device.attach(ioas), hwpt);
    assert.equal(hwpt.destroyed, false);
    assert.equal(hwpt.heldBy.length, 1);
  });
  test('auto-not-manual', 'never uses a page table made by hand for an IOAS', (t) => {
    const { device, ioas } = start(t);
    const manual = ioas.allocHwpt(device);
    const hwpt = device.attach(ioas);
    assert.notEqual(hwpt.id, manual.id);
    manual.destroy();
  });
  test('auto-no-parent', 'makes such a page table no nesting parent', (t) => {
    const { device, ioas } = start(t);
    const hwpt = device.attach(ioas);
    assert(hwpt.type === 'hwpt-paging');
    assert.equal(hwpt.nestParent, false);
    refused('EINVAL', () => hwpt.allocNestedHwpt(device, nestedOptions()));
  });
  test('replace', 'attached again, replaces what was attached', (t) => {
    const { device, ioas } = start(t);
    const [first, second] = [ioas.allocHwpt(device), t.iommufd.allocIoas().allocHwpt(device)];
    device.attach(first);
    assert.equal(device.attach(second), second);
    assert.equal(device.attachedTo(), second);
    first.destroy();
    refused('EBUSY', () => second.destroy());
  });
  test('replace-auto', 'takes the kernel’s page table away when it is replaced', (t) => {
    const { device, ioas } = start(t);
    const auto = device.attach(ioas);
    const hwpt = ioas.allocHwpt(device);
    device.attach(hwpt);
    assert.equal(auto.destroyed, true);
    assert.equal(t.destroyId(auto.id), 'ENOENT');
  });
  test('replace-self', 'attached to the same page table again, is attached once', (t) => {
    const { device, ioas } = start(t);
    const hwpt = ioas.allocHwpt(device);
    device.attach(hwpt);
    device.attach(hwpt);
    assert.equal(hwpt.heldBy.length, 1);
    device.detach();
    hwpt.destroy();
  });
  test('refusal-keeps', 'keeps what was attached when replacing is refused', (t) => {
    const { device, ioas } = start(t);
    const hwpt = ioas.allocHwpt(device);
    device.attach(hwpt);
    const bad = t.iommufd.allocIoas();
    bad.map(t.memory(), { iova: 0 });
    refused('EADDRINUSE', () => device.attach(bad));
    assert.equal(device.attachedTo(), hwpt);
    assert.equal(t.destroyId(hwpt.id), 'EBUSY');
    bad.destroy();
  });
  test('try-attach', 'answers page table or refusal', (t) => {
    const { device, ioas } = start(t);
    const good = device.tryAttach(ioas);
    assert.deepEqual([good.refusal, good.attached], [undefined, device.attachedTo()]);
    const bad = t.iommufd.allocIoas();
    bad.map(t.memory(), { iova: 0 });
    const { attached, refusal } = device.tryAttach(bad);
    assert.deepEqual([attached, refusal?.code], [undefined, 'EADDRINUSE']);
  });
  test('try-attach-misuse', 'does not answer, but throws misuse', (t) => {
    const { device, ioas } = start(t);
    ioas.destroy();
    refused('ERR_IOMMUFD_DESTROYED', () => device.tryAttach(ioas));
  });
  test('async', 'attaches on the thread pool alike', async (t) => {
    const { device, ioas } = start(t);
    const hwpt = ioas.allocHwpt(device);
    assert.equal(await device.attachAsync(hwpt), hwpt);
    assert.equal(device.attachedTo(), hwpt);
    const bad = t.iommufd.allocIoas();
    bad.map(t.memory(), { iova: 0 });
    await assert.rejects(device.attachAsync(bad), { code: 'EADDRINUSE' });
    await assert.rejects(device.attachAsync({} as never), { code: 'ERR_INVALID_ARG_TYPE' });
    assert.equal(device.attachedTo(), hwpt);
  });
  test('async-close', 'is waited for by closeAsync, which detaches', async (t) => {
    const iommufd = t.openIommufd();
    const { device } = t.mockDevice({}, iommufd);
    const attached = device.attachAsync(iommufd.allocIoas());
    refused('ERR_IOMMUFD_BUSY', () => iommufd.close());
    await iommufd.closeAsync();
    assert.equal((await attached).destroyed, true);
  });
  test('detach-again', 'is detached twice without harm', (t) => {
    const { device, ioas } = start(t);
    device.detach();
    device.attach(ioas);
    device.detach();
    device.detach();
    ioas.destroy();
  });
  test('ranges-narrow', 'narrows the IOVA ranges while a device is attached', (t) => {
    const { device, ioas } = start(t);
    const before = ioas.iovaRanges();
    assert.deepEqual(before, { ranges: [{ start: 0n, last: 0xffff_ffff_ffff_ffffn }], alignment: 1n });
    device.attach(ioas);
    assert.deepEqual(ioas.iovaRanges(), { ranges: [{ ...MOCK_APERTURE }], alignment: BigInt(MOCK_PAGE_SIZE) });
    device.detach();
    assert.deepEqual(ioas.iovaRanges(), before);
  });
  test('ranges-map', 'lets nothing be mapped outside the ranges while attached', (t) => {
    const { device, ioas } = start(t);
    const ram = t.memory();
    device.attach(ioas);
    for (const iova of [0n, IOVA - 0x1_0000n, MOCK_APERTURE.last + 1n])
      refused('EINVAL', () => ioas.map(ram, { iova }));
    const iova = ioas.map(ram);
    assert(iova >= MOCK_APERTURE.start && iova + BigInt(ram.size) - 1n <= MOCK_APERTURE.last);
    device.detach();
    assert.equal(ioas.map(ram, { iova: 0n }), 0n);
  });
  test('refused-mapping', 'refuses an IOAS that has memory where the device cannot reach', (t) => {
    const { device, ioas } = start(t);
    const ram = t.memory();
    const before = ioas.iovaRanges();
    ioas.map(ram, { iova: IOVA - 0x1000n });
    const error = refused('EADDRINUSE', () => device.attach(ioas));
    assert.match(error.message, /hint:/);
    assert.deepEqual(ioas.iovaRanges(), before);
    ioas.unmapAll();
    device.attach(ioas);
  });
  test('refused-allowed', 'refuses a device that takes promised IOVAs away', (t) => {
    const { device, ioas } = start(t);
    ioas.allowIovas([
      { start: IOVA, last: IOVA + 0xffffn },
      { start: 0n, last: 0xffffn },
    ]);
    refused('EADDRINUSE', () => device.attach(ioas));
    ioas.allowIovas([{ start: IOVA, last: IOVA + 0xffffn }]);
    device.attach(ioas);
    refused('EADDRINUSE', () => ioas.allowIovas([{ start: 0n, last: 0xffffn }]));
  });
  test('refused-pinning', 'refuses an IOAS whose memory is not there, and pins nothing', (t) => {
    const { device, ioas } = start(t);
    const ram = t.memory();
    ioas.map(ram, { iova: IOVA });
    ioas.unsafeMapAddress(NOWHERE, { iova: IOVA + 0x10_0000n, length: 0x1000 });
    refused('EFAULT', () => device.attach(ioas));
    assert.equal(device.attachedTo(), undefined);
    assert.equal(checkPins(t, ram.address, BigInt(ram.size), 0), 'ok');
    ioas.destroy();
  });
  test('refused-dirty', 'refuses a page table that tracks pages where the device’s IOMMU cannot', (t) => {
    const { device, ioas } = start(t);
    const plain = t.mockDevice({ noDirty: true }).device;
    const hwpt = ioas.allocHwpt(device, { dirtyTracking: true });
    refused('EINVAL', () => plain.attach(hwpt));
    assert.equal(plain.attachedTo(), undefined);
    hwpt.destroy();
  });
  test('two-devices', 'attaches several devices to one page table', (t) => {
    const { device, ioas } = start(t);
    const other = t.mockDevice().device;
    const hwpt = ioas.allocHwpt(device);
    device.attach(hwpt);
    other.attach(hwpt);
    assert.equal(hwpt.heldBy.length, 2);
    device.detach();
    assert.match(refused('EBUSY', () => hwpt.destroy()).message, new RegExp(`attached device ${other.id}`));
    other.detach();
    hwpt.destroy();
  });
  test('unbind', 'lets its page table go when the device is unbound', (t) => {
    const { device, ioas } = start(t);
    const hwpt = ioas.allocHwpt(device);
    device.attach(hwpt);
    device.destroy();
    assert.deepEqual([device.destroyed, hwpt.heldBy], [true, []]);
    hwpt.destroy();
    refused('ERR_IOMMUFD_DESTROYED', () => device.attach(ioas));
    refused('ERR_IOMMUFD_DESTROYED', () => device.detach());
  });
  test('unbind-auto', 'takes the kernel’s page table away when the device is unbound', (t) => {
    const { device, ioas } = start(t);
    const auto = device.attach(ioas);
    device.destroy();
    assert.equal(auto.destroyed, true);
    ioas.destroy();
  });
  test('device-by-id', 'does not let the device be destroyed by its id', (t) => {
    const { device, ioas } = start(t);
    device.attach(ioas);
    assert.equal(t.destroyId(device.id), 'EBUSY');
    assert.equal(device.hwInfo().capabilities.dirtyTracking, true);
  });
  test('dispose', 'detaches devices when the page table is disposed', (t) => {
    const { device, ioas } = start(t);
    const hwpt = ioas.allocHwpt(device);
    device.attach(hwpt);
    hwpt[Symbol.dispose]();
    assert.deepEqual([hwpt.destroyed, device.attachedTo()], [true, undefined]);
  });
  test('dispose-ioas', 'detaches devices when the IOAS is disposed', (t) => {
    const { device, ioas } = start(t);
    const auto = device.attach(ioas);
    ioas[Symbol.dispose]();
    assert.deepEqual([ioas.destroyed, auto.destroyed, device.attachedTo()], [true, true, undefined]);
  });
  test('raw-first', 'attaches a device that has nothing attached', (t) => {
    const { device, ioas } = start(t);
    const hwpt = ioas.allocHwpt(device);
    const { code, out } = ask(t, 'IOMMU_TEST_OP_MOCK_DOMAIN', test_mock_domain, { id: hwpt.id });
    assert.deepEqual([code, out.out_hwpt_id], ['ok', hwpt.id]);
    assert.equal(t.destroyId(hwpt.id), 'EBUSY');
    assert.equal(t.destroyId(out.out_stdev_id), 'ok');
    hwpt.destroy();
  });
  test('raw-first-refused', 'leaves no page table of a refused first attach behind', (t) => {
    const { ioas } = start(t);
    ioas.map(t.memory(), { iova: 0 });
    assert.equal(ask(t, 'IOMMU_TEST_OP_MOCK_DOMAIN', test_mock_domain, { id: ioas.id }).code, 'EADDRINUSE');
    ioas.destroy();
  });
  test('raw-types', 'refuses what is neither IOAS nor page table', (t) => {
    const { mock, device } = start(t);
    const { parent } = nestingParent(t);
    const queue = t.iommufd.allocFaultQueue();
    const viommu = parent.allocViommu(device, { type: 0xdead_beef });
    for (const { id } of [device, queue, viommu]) assert.equal(replace(t, mock.stdevId, id).code, 'EINVAL');
    assert.equal(replace(t, mock.stdevId, NO_ID).code, 'ENOENT');
    assert.equal(replace(t, mock.stdevId, 0).code, 'ENOENT');
  });
  test('misuse', 'names wrong arguments before the kernel is asked', (t) => {
    const { device, ioas } = start(t);
    const other = t.openIommufd();
    refused('ERR_INVALID_ARG_TYPE', () => device.attach(ioas.id as never));
    refused('ERR_INVALID_ARG_TYPE', () => device.attach(t.iommufd.allocFaultQueue() as never));
    refused('ERR_UNKNOWN_OPTION', () => device.attach(ioas, { PASID: 1 } as never));
    refused('ERR_IOMMUFD_FOREIGN_CONTEXT', () => device.attach(other.allocIoas()));
    assert.equal(device.attachedTo(), undefined);
  });
  test('adopted', 'leaves a device that somebody else bound to him', (t) => {
    const { device, ioas } = start(t);
    const adopted = t.iommufd.adoptDevice(device.id);
    refused('ERR_IOMMUFD_UNAVAILABLE', () => adopted.attach(ioas));
    adopted.detach();
    adopted.destroy();
    assert.equal(device.hwInfo().type, 0xfeed_beef);
  });
});
