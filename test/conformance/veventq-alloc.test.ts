// IOMMU_VEVENTQ_ALLOC: a queue of events of a vIOMMU, and its file.
import assert from 'node:assert/strict';
import { test_trigger_vevent } from '../../lib/emulated/hardware/selftest/uapi.js';
import { IOMMU_VEVENTQ_ALLOC } from '../../lib/uapi/index.js';
import { type Guest, makeGuest, makeViommu, PAYLOAD, plugDevice, UNKNOWN_TYPE, VEVENTQ_TYPE } from '../rig/guest.js';
import { tryTestCmd } from '../rig/mock.js';
import { type Bench, conformance, NO_ID, portOf, refused } from '../rig/suite.js';

const DEPTH_MAX = 2 ** 19;

interface VeventqInput {
  readonly flags?: number;
  readonly viommu_id?: number;
  readonly type?: number;
  readonly veventq_depth?: number;
  readonly __reserved?: number;
}

/** The call past the objects. What it makes is closed and destroyed at the end of the case. */
function alloc(t: Bench, guest: Guest, input: VeventqInput) {
  const usual = { viommu_id: guest.viommu.id, type: VEVENTQ_TYPE, veventq_depth: 4 };
  const answer = t.ioctl(IOMMU_VEVENTQ_ALLOC, { ...usual, ...input });
  if (answer.code === 'ok') {
    const { out_veventq_fd: fd, out_veventq_id: id } = answer.out;
    const flags = t.rig.host.kind === 'kernel' ? t.rig.seam.readText(`/proc/self/fdinfo/${fd}`) : undefined;
    assert.equal(t.rig.seam.own(fd), 0);
    t.later(() => {
      t.rig.seam.close(fd);
      t.destroyId(id);
    });
    return { ...answer, flags };
  }
  return { ...answer, flags: undefined };
}

conformance('veventq-alloc', (test) => {
  test('alloc', 'a queue is made, and knows its vIOMMU and depth', (t) => {
    const { viommu } = makeGuest(t);
    const queue = viommu.allocVeventq({ depth: 4, type: VEVENTQ_TYPE, payloadSize: PAYLOAD });
    assert.equal(queue.type, 'veventq');
    assert.equal(queue.depth, 4);
    assert.equal(queue.viommu, viommu);
    assert.deepEqual(queue.parents, [viommu]);
    assert(queue.fd >= 0);
    assert.deepEqual(queue.drain(), []);
  });

  test('depth-range', 'the depth is 1 to 2^19', (t) => {
    const { viommu } = makeGuest(t);
    for (const depth of [1, DEPTH_MAX]) {
      const queue = viommu.allocVeventq({ depth, type: VEVENTQ_TYPE, payloadSize: PAYLOAD });
      assert.equal(queue.depth, depth);
      queue.destroy();
    }
    const make = () => viommu.allocVeventq({ depth: DEPTH_MAX + 1, type: VEVENTQ_TYPE, payloadSize: PAYLOAD });
    assert.match(refused('EINVAL', make).message, /between 1 and 2\^19/);
  });

  test('depth-raw', 'depth 0 and depths beyond are EINVAL, before the vIOMMU is looked up', (t) => {
    const guest = makeGuest(t);
    for (const veventq_depth of [0, DEPTH_MAX + 1, 0xffff_ffff]) {
      assert.equal(alloc(t, guest, { veventq_depth }).code, 'EINVAL');
      assert.equal(alloc(t, guest, { veventq_depth, viommu_id: NO_ID }).code, 'EINVAL');
    }
  });

  test('flags', 'flags, a reserved field and type 0 are EOPNOTSUPP, before the depth is looked at', (t) => {
    const guest = makeGuest(t);
    for (const bad of [{ flags: 1 }, { __reserved: 1 }, { type: 0 }]) {
      assert.equal(alloc(t, guest, bad).code, 'EOPNOTSUPP');
      assert.equal(alloc(t, guest, { ...bad, veventq_depth: 0, viommu_id: NO_ID }).code, 'EOPNOTSUPP');
    }
  });

  test('unknown-viommu', 'no such vIOMMU is ENOENT; an id of another kind too', (t) => {
    const guest = makeGuest(t);
    for (const viommu_id of [NO_ID, guest.parent.id, guest.device.id]) {
      assert.equal(alloc(t, guest, { viommu_id }).code, 'ENOENT');
    }
  });

  test('one-per-type', 'a second queue of a type is EEXIST; after the first is gone it is not', (t) => {
    const { viommu } = makeGuest(t);
    const make = () => viommu.allocVeventq({ depth: 1, type: VEVENTQ_TYPE, payloadSize: PAYLOAD });
    const first = make();
    assert.match(refused('EEXIST', make).message, /one per type/);
    first.destroy();
    assert.notEqual(make(), first);
  });

  test('one-per-viommu', 'another vIOMMU has its own', (t) => {
    const { viommu, parent, device } = makeGuest(t);
    const other = makeViommu(parent, device);
    for (const owner of [viommu, other]) {
      assert.equal(owner.allocVeventq({ depth: 1, type: VEVENTQ_TYPE, payloadSize: PAYLOAD }).viommu, owner);
    }
  });

  test('any-type', 'a queue of a type that the driver never uses is made, and stays empty', (t) => {
    const guest = makeGuest(t);
    const { viommu, device } = guest;
    viommu.allocVeventq({ depth: 1, type: UNKNOWN_TYPE, payloadSize: 8 });
    const smmu = viommu.allocVeventq({ depth: 1, type: 'arm-smmuv3' });
    plugDevice(guest);
    const trigger = { dev_id: device.id };
    const { result } = tryTestCmd(portOf(t), 'IOMMU_TEST_OP_TRIGGER_VEVENT', test_trigger_vevent, trigger);
    assert.equal(result, -95);
    assert.deepEqual(smmu.drain(), []);
  });

  test('type-left-out', 'a vIOMMU of a kind not known needs the type, and the type its payload size', (t) => {
    const { viommu } = makeGuest(t);
    const unavailable = (message: RegExp) => ({ code: 'ERR_IOMMUFD_UNAVAILABLE', message });
    assert.throws(() => viommu.allocVeventq({ depth: 1 }), unavailable(/give the type/));
    assert.throws(() => viommu.allocVeventq({ depth: 1, type: VEVENTQ_TYPE }), unavailable(/give payloadSize/));
    viommu.destroy();
  });

  test('holds-viommu', 'while it lives, destroying the vIOMMU is EBUSY, and the message names it', (t) => {
    const { viommu } = makeGuest(t);
    const queue = viommu.allocVeventq({ depth: 1, type: VEVENTQ_TYPE, payloadSize: PAYLOAD });
    assert(refused('EBUSY', () => viommu.destroy()).message.includes(`held by ${queue.describe()}`));
    queue.destroy();
    viommu.destroy();
  });

  test('close-on-exec', 'the kernel makes the fd close-on-exec', (t) => {
    const { code, flags, out } = alloc(t, makeGuest(t), {});
    assert.equal(code, 'ok');
    assert(out.out_veventq_fd > 2);
    // Only a real kernel has /proc; bit 19 is O_CLOEXEC.
    if (typeof flags !== 'string') return;
    const octal = /^flags:\s+([0-7]+)$/m.exec(flags)?.[1] ?? '';
    assert.equal((Number.parseInt(octal, 8) >>> 19) & 1, 1);
  });

  test('fd-holds', 'past the objects, the open fd holds the queue: DESTROY is EBUSY until it is closed', (t) => {
    const { out } = alloc(t, makeGuest(t), {});
    assert.equal(t.destroyId(out.out_veventq_id), 'EBUSY');
    t.rig.seam.close(out.out_veventq_fd);
    assert.equal(t.destroyId(out.out_veventq_id), 'ok');
  });

  test('fd-closed-keeps', 'nor does closing the fd destroy the queue: its type stays taken', (t) => {
    const guest = makeGuest(t);
    const { out } = alloc(t, guest, {});
    t.rig.seam.close(out.out_veventq_fd);
    assert.equal(alloc(t, guest, {}).code, 'EEXIST');
    assert.equal(t.destroyId(guest.viommu.id), 'EBUSY');
    assert.equal(t.destroyId(out.out_veventq_id), 'ok');
    assert.equal(alloc(t, guest, {}).code, 'ok');
  });

  test('ids', 'a queue takes one id; a refused one takes none', (t) => {
    const guest = makeGuest(t);
    const first = alloc(t, guest, {}).out.out_veventq_id;
    assert.equal(alloc(t, guest, {}).code, 'EEXIST');
    const ioas = t.iommufd.allocIoas();
    assert.equal(ioas.id, first + 1);
  });

  test('destroyed', 'a queue that is gone throws at every use', (t) => {
    const { viommu } = makeGuest(t);
    const queue = viommu.allocVeventq({ depth: 1, type: VEVENTQ_TYPE, payloadSize: PAYLOAD });
    queue.destroy();
    queue.destroy();
    const gone = { code: 'ERR_IOMMUFD_DESTROYED' };
    for (const use of [
      () => queue.fd,
      () => queue.read(),
      () => queue.drain(),
      () => queue.ref(),
      () => queue.unref(),
    ]) {
      assert.throws(use, gone);
    }
  });

  test('struct-size', 'the oldest struct is enough; shorter is EINVAL', (t) => {
    const guest = makeGuest(t);
    const input = { viommu_id: guest.viommu.id, type: VEVENTQ_TYPE, veventq_depth: 1 };
    const { layout } = IOMMU_VEVENTQ_ALLOC;
    const oldest = layout.end('out_veventq_fd');
    assert.equal(t.ioctlSized(IOMMU_VEVENTQ_ALLOC, input, { size: oldest - 1 }).code, 'EINVAL');
    const { code, out } = t.ioctlSized(IOMMU_VEVENTQ_ALLOC, input, { size: oldest });
    assert.equal(code, 'ok');
    t.rig.seam.own(out.out_veventq_fd);
    t.rig.seam.close(out.out_veventq_fd);
    assert.equal(t.destroyId(out.out_veventq_id), 'ok');
  });
});
