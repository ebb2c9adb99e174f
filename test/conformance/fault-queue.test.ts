// Page requests of devices: delivered by a fault queue, answered through it, and let go with the attachment.
import assert from 'node:assert/strict';
import type { PageFaultGroup } from '../../lib/index.js';
import {
  IOMMU_FAULT_QUEUE_ALLOC,
  IOMMU_HWPT_ALLOC,
  iommu_hwpt_pgfault_perm,
  iommufd_hwpt_alloc_flags,
} from '../../lib/uapi/index.js';
import { faulter, makeFaulter, only } from '../rig/faults.js';
import { makeGuest, makeNested, settle } from '../rig/guest.js';
import { conformance, NO_ID, refused } from '../rig/suite.js';

const PERM = iommu_hwpt_pgfault_perm.values;

/** It asks the page table that comes, not the one that goes (iommufd_hwpt_replace_device in iommufd/device.c). */
const FORGETS = 'keeps requests of a page table that was replaced, and reads the freed attachment later';

conformance('fault-queue', (test) => {
  test('alloc', 'a queue is made on the iommufd, empty', (t) => {
    const queue = t.iommufd.allocFaultQueue();
    assert.equal(queue.type, 'fault-queue');
    assert.deepEqual(queue.parents, []);
    assert(queue.fd >= 0);
    assert.deepEqual(queue.drain(), []);
    queue.destroy();
    queue.destroy();
  });

  test('flags', 'flags are EOPNOTSUPP', (t) => {
    assert.equal(t.ioctl(IOMMU_FAULT_QUEUE_ALLOC, { flags: 1 }).code, 'EOPNOTSUPP');
  });

  test('decoded', 'a page request is decoded: device, address, permissions, group, cookie', (t) => {
    const { device, queue, fault } = makeFaulter(t);
    fault({
      addr: 0x1234_5678_9abc_d000n,
      grpid: 77,
      perm: PERM.IOMMU_PGFAULT_PERM_READ | PERM.IOMMU_PGFAULT_PERM_PRIV,
    });
    const group = only(queue.drain());
    const expected = {
      deviceId: device.id,
      pasid: undefined,
      group: 77,
      permissions: { read: true, write: false, exec: false, privileged: true },
      address: 0x1234_5678_9abc_d000n,
      length: 0,
      last: true,
      cookie: group.cookie,
    };
    assert.deepEqual(group, { cookie: group.cookie, faults: [expected] });
    queue.respond(group, 'success');
  });

  test('permissions', 'each permission is told by itself', (t) => {
    const { queue, fault } = makeFaulter(t);
    const all = { read: false, write: false, exec: false, privileged: false };
    const each: readonly [number, object][] = [
      [0, all],
      [PERM.IOMMU_PGFAULT_PERM_READ, { ...all, read: true }],
      [PERM.IOMMU_PGFAULT_PERM_WRITE, { ...all, write: true }],
      [PERM.IOMMU_PGFAULT_PERM_EXEC, { ...all, exec: true }],
      [PERM.IOMMU_PGFAULT_PERM_PRIV, { ...all, privileged: true }],
    ];
    for (const [perm, expected] of each) {
      fault({ perm });
      const group = only(queue.drain());
      assert.deepEqual(group.faults[0]?.permissions, expected);
      queue.respond(group, 'invalid');
    }
  });

  test('pasid', 'a PASID is told where the request has one: it goes to the nested page table of the device', (t) => {
    const { viommu, device } = makeGuest(t);
    const faultQueue = t.iommufd.allocFaultQueue();
    viommu.allocVdevice(device, { virtId: 1 });
    device.attach(makeNested(viommu, device, { faultQueue }));
    const fault = faulter(t, device.id);
    fault({ pasid: 5, addr: 0x5000n });
    fault({ addr: 0x6000n });
    const groups = faultQueue.drain();
    const seen = groups.map(({ faults }) => [faults[0]?.pasid, faults[0]?.address]);
    assert.deepEqual(seen, [
      [5, 0x5000n],
      [undefined, 0x6000n],
    ]);
    for (const group of groups) faultQueue.respond(group, 'success');
  });

  test('respond-twice', 'a group is answered once: again is EINVAL', (t) => {
    const { queue, fault } = makeFaulter(t);
    fault();
    const group = only(queue.drain());
    queue.respond(group, 'success');
    const error = refused('EINVAL', () => queue.respond(group, 'invalid'));
    assert.match(error.message, /^write: EINVAL/);
  });

  test('respond-cookie', 'the cookie alone will do, in any order', (t) => {
    const { queue, fault } = makeFaulter(t);
    fault({ grpid: 1 });
    fault({ grpid: 2 });
    const [first, second] = queue.drain();
    assert(first !== undefined && second !== undefined && first.cookie !== second.cookie);
    queue.respond(second.cookie, 'invalid');
    queue.respond(first.cookie, 'success');
    refused('EINVAL', () => queue.respond(first.cookie, 'success'));
  });

  test('respond-unknown', 'a cookie that no group has is EINVAL', (t) => {
    const { queue, fault } = makeFaulter(t);
    fault();
    const group = only(queue.drain());
    for (const cookie of [0, group.cookie + 1, 0xffff_ffff]) refused('EINVAL', () => queue.respond(cookie, 'success'));
    queue.respond(group, 'success');
  });

  test('respond-unread', 'a group that was not read cannot be answered', (t) => {
    const { queue, fault } = makeFaulter(t);
    fault();
    const { cookie } = only(queue.drain());
    queue.respond(cookie, 'success');
    fault();
    refused('EINVAL', () => queue.respond(cookie, 'success'));
    queue.respond(only(queue.drain()), 'success');
  });

  test('many', 'many page requests arrive in order, each with a cookie of its own', (t) => {
    const { queue, fault } = makeFaulter(t);
    const count = 3000;
    for (let i = 0; i < count; i++) fault({ addr: BigInt(i) * 4096n, grpid: i % 512 });
    const groups = queue.drain();
    assert.deepEqual(
      groups.map(({ faults }) => Number(faults[0]?.address) / 4096),
      Array.from({ length: count }, (_, i) => i),
    );
    assert.equal(new Set(groups.map(({ cookie }) => cookie)).size, count);
    for (const group of groups) queue.respond(group, 'success');
  });

  test('two-devices', 'devices on the same page table share its queue, and are told apart', (t) => {
    const { device, queue, hwpt, fault } = makeFaulter(t);
    const other = t.mockDevice().device;
    other.attach(hwpt);
    faulter(t, other.id)();
    fault();
    const groups = queue.drain();
    assert.deepEqual(
      groups.map(({ faults }) => faults[0]?.deviceId),
      [other.id, device.id],
    );
    for (const group of groups) queue.respond(group, 'success');
  });

  test('no-queue', 'a device whose page table has no queue faults in vain', (t) => {
    const { queue } = makeFaulter(t);
    const plain = t.mockDevice().device;
    plain.attach(t.iommufd.allocIoas());
    faulter(t, plain.id)();
    assert.deepEqual(queue.drain(), []);
  });

  test('nest-parent', 'a nesting parent takes no fault queue: EOPNOTSUPP', (t) => {
    const { device, queue, ioas } = makeFaulter(t);
    refused('EOPNOTSUPP', () => ioas.allocHwpt(device, { nestParent: true, faultQueue: queue }));
    assert.equal(queue.heldBy.length, 1);
  });

  test('detach', 'detaching answers what was read and not answered', (t) => {
    t.notOn('6.12', FORGETS);
    const { device, queue, fault } = makeFaulter(t);
    fault();
    const group = only(queue.drain());
    device.detach();
    refused('EINVAL', () => queue.respond(group, 'success'));
  });

  test('detach-unread', 'and takes back what was not read yet', (t) => {
    t.notOn('6.12', FORGETS);
    const { device, queue, fault } = makeFaulter(t);
    fault();
    fault();
    device.detach();
    assert.deepEqual(queue.drain(), []);
  });

  test('detach-other', "but leaves another device's requests alone", (t) => {
    t.notOn('6.12', FORGETS);
    const { device, queue, hwpt, fault } = makeFaulter(t);
    const other = t.mockDevice().device;
    other.attach(hwpt);
    faulter(t, other.id)();
    fault();
    device.detach();
    const group = only(queue.drain());
    assert.equal(group.faults[0]?.deviceId, other.id);
    queue.respond(group, 'success');
  });

  test('held', 'a page table holds its queue: destroying the queue is EBUSY, and closes nothing', (t) => {
    const { queue, hwpt, device, fault } = makeFaulter(t);
    const error = refused('EBUSY', () => queue.destroy());
    assert(error.message.includes(`held by ${hwpt.describe()}`), error.message);
    fault();
    queue.respond(only(queue.drain()), 'success');
    device.detach();
    hwpt.destroy();
    queue.destroy();
  });

  test('held-nested', 'so does a nested page table', (t) => {
    const { viommu, device } = makeGuest(t);
    const faultQueue = t.iommufd.allocFaultQueue();
    const nested = makeNested(viommu, device, { faultQueue });
    assert.deepEqual(nested.parents, [viommu, faultQueue]);
    assert(refused('EBUSY', () => faultQueue.destroy()).message.includes(`held by ${nested.describe()}`));
    nested.destroy();
    faultQueue.destroy();
  });

  test('dispose', 'disposing of the queue takes its page tables and their attachments first', (t) => {
    t.notOn('6.12', FORGETS);
    const { queue, hwpt, device, fault } = makeFaulter(t);
    fault();
    queue[Symbol.dispose]();
    assert.deepEqual([queue.destroyed, hwpt.destroyed, device.attachedTo()], [true, true, undefined]);
  });

  test('unknown-queue', 'a page table with a queue that is none is ENOENT', (t) => {
    const { device, ioas } = makeFaulter(t);
    const flags = iommufd_hwpt_alloc_flags.values.IOMMU_HWPT_FAULT_ID_VALID;
    for (const fault_id of [NO_ID, 0, ioas.id]) {
      const input = { flags, dev_id: device.id, pt_id: ioas.id, fault_id };
      assert.equal(t.ioctl(IOMMU_HWPT_ALLOC, input).code, 'ENOENT');
    }
    assert.equal(ioas.heldBy.length, 1);
  });

  test('gone-queue', 'one that is gone, or of another iommufd, is refused before the kernel is asked', (t) => {
    const { device, ioas } = makeFaulter(t);
    const faultQueue = t.iommufd.allocFaultQueue();
    faultQueue.destroy();
    assert.throws(() => ioas.allocHwpt(device, { faultQueue }), { code: 'ERR_IOMMUFD_DESTROYED' });
    const foreign = t.openIommufd().allocFaultQueue();
    const refusal = { code: 'ERR_IOMMUFD_FOREIGN_CONTEXT' };
    assert.throws(() => ioas.allocHwpt(device, { faultQueue: foreign }), refusal);
  });

  test('iterate', 'the iterator waits for page requests, and leaves nothing behind when left', async (t) => {
    const { queue, fault } = makeFaulter(t);
    const iterator = queue.read();
    const waiting = iterator.next();
    await settle();
    fault({ addr: 0x1000n });
    fault({ addr: 0x2000n });
    const first = (await waiting).value as PageFaultGroup;
    assert.equal(first.faults[0]?.address, 0x1000n);
    queue.respond(first, 'success');
    await iterator.return?.();
    const second = only(queue.drain());
    assert.equal(second.faults[0]?.address, 0x2000n);
    queue.respond(second, 'success');
  });

  test('iterate-abort', 'an aborted wait rejects, and the queue goes on', async (t) => {
    const { queue, fault } = makeFaulter(t);
    const controller = new AbortController();
    const waiting = queue.read({ signal: controller.signal }).next();
    await settle();
    controller.abort();
    await assert.rejects(waiting, { name: 'AbortError' });
    fault();
    for await (const group of queue.read()) {
      queue.respond(group, 'success');
      break;
    }
  });

  test('iterate-busy', 'one iterator at a time; destroying the queue ends it', async (t) => {
    const queue = t.iommufd.allocFaultQueue();
    const waiting = queue.read().next();
    assert.throws(() => queue.read(), { code: 'ERR_IOMMUFD_BUSY' });
    await settle();
    queue.destroy();
    assert.deepEqual(await waiting, { done: true, value: undefined });
    assert.throws(() => queue.respond(1, 'success'), { code: 'ERR_IOMMUFD_DESTROYED' });
  });
});
