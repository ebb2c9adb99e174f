// IOMMU_HW_QUEUE_ALLOC: the vQUEUE's arguments, the order they are looked at, and the order queues come and go in.
import assert from 'node:assert/strict';
import { mock_limits } from '../../lib/emulated/hardware/selftest/uapi.js';
import { IommufdError } from '../../lib/index.js';
import { IOMMU_HW_QUEUE_ALLOC, iommu_hw_queue_type } from '../../lib/uapi/index.js';
import { BASE, type Guest, makeGuest, makeViommu, QUEUE_TYPE, UNKNOWN_TYPE } from '../rig/guest.js';
import { type Bench, conformance, NO_ID, PAGE, refused } from '../rig/suite.js';

const U64_MAX = 0xffff_ffff_ffff_ffffn;
const QUEUES = mock_limits.values.IOMMU_TEST_HW_QUEUE_MAX;

interface QueueInput {
  readonly flags?: number;
  readonly viommu_id?: number;
  readonly type?: number;
  readonly index?: number;
  readonly nesting_parent_iova?: bigint;
  readonly length?: bigint;
}

/** The call past the objects: queue 0 in the first page, but for what is given. */
function alloc(t: Bench, guest: Guest, input: QueueInput) {
  const usual = { viommu_id: guest.viommu.id, type: QUEUE_TYPE, index: 0, nesting_parent_iova: BASE, length: PAGE };
  return t.ioctl(IOMMU_HW_QUEUE_ALLOC, { ...usual, ...input });
}

conformance('hw-queue', (test) => {
  test('alloc', 'a queue is made, and knows what it is', (t) => {
    const { viommu } = makeGuest(t);
    const queue = viommu.allocHwQueue({ type: QUEUE_TYPE, index: 0, iova: Number(BASE), length: 4096 });
    assert.equal(queue.type, 'hw-queue');
    assert.equal(queue.typeNumber, QUEUE_TYPE);
    assert.equal(queue.index, 0);
    assert.equal(queue.iova, BASE);
    assert.equal(queue.length, PAGE);
    assert.equal(queue.viommu, viommu);
    assert.deepEqual(queue.parents, [viommu]);
    assert.deepEqual(viommu.heldBy, [queue.describe()]);
  });

  test('out-id', 'the answered id is the object that DESTROY takes', (t) => {
    const { code, out } = alloc(t, makeGuest(t), {});
    assert.equal(code, 'ok');
    assert.equal(t.destroyId(out.out_hw_queue_id), 'ok');
    assert.equal(t.destroyId(out.out_hw_queue_id), 'ENOENT');
  });

  test('type-default', 'type 0 is EOPNOTSUPP', (t) => {
    const type = iommu_hw_queue_type.values.IOMMU_HW_QUEUE_TYPE_DEFAULT;
    assert.equal(alloc(t, makeGuest(t), { type }).code, 'EOPNOTSUPP');
  });

  test('type-unknown', 'a type the vIOMMU has no queues of is EOPNOTSUPP, with the reason told', (t) => {
    const { viommu } = makeGuest(t);
    for (const type of [UNKNOWN_TYPE, 'tegra241-cmdqv'] as const) {
      const error = refused('EOPNOTSUPP', () => viommu.allocHwQueue({ type, index: 0, iova: BASE, length: PAGE }));
      assert.match(error.message, /no hardware queues of this type/);
    }
    assert.deepEqual(viommu.heldBy, []);
  });

  test('type-left-out', 'a vIOMMU of a kind not known needs the type: ERR_IOMMUFD_UNAVAILABLE', (t) => {
    const { viommu } = makeGuest(t);
    const make = () => viommu.allocHwQueue({ index: 0, iova: BASE, length: PAGE });
    assert.throws(make, { code: 'ERR_IOMMUFD_UNAVAILABLE', message: /give the type/ });
  });

  test('flags', 'flags are EOPNOTSUPP, before all else', (t) => {
    const guest = makeGuest(t);
    assert.equal(alloc(t, guest, { flags: 1 }).code, 'EOPNOTSUPP');
    assert.equal(alloc(t, guest, { flags: 1, length: 0n, viommu_id: NO_ID }).code, 'EOPNOTSUPP');
  });

  test('type-default-order', 'type 0 is refused before the length is looked at', (t) => {
    assert.equal(alloc(t, makeGuest(t), { type: 0, length: 0n, viommu_id: NO_ID }).code, 'EOPNOTSUPP');
  });

  test('length-0', 'no length is EINVAL, before the vIOMMU is looked up', (t) => {
    const guest = makeGuest(t);
    assert.equal(alloc(t, guest, { length: 0n }).code, 'EINVAL');
    assert.equal(alloc(t, guest, { length: 0n, viommu_id: NO_ID }).code, 'EINVAL');
  });

  test('end-overflow', 'an end beyond 2^64 is EOVERFLOW, before the vIOMMU is looked up', (t) => {
    const guest = makeGuest(t);
    assert.equal(alloc(t, guest, { nesting_parent_iova: U64_MAX, length: 2n }).code, 'EOVERFLOW');
    assert.equal(alloc(t, guest, { nesting_parent_iova: 2n, length: U64_MAX }).code, 'EOVERFLOW');
    const unknown = { viommu_id: NO_ID, nesting_parent_iova: U64_MAX, length: 2n };
    assert.equal(alloc(t, guest, unknown).code, 'EOVERFLOW');
  });

  test('last-byte', 'the last byte of all is no overflow: nothing is mapped there', (t) => {
    assert.equal(alloc(t, makeGuest(t), { nesting_parent_iova: U64_MAX, length: 1n }).code, 'ENOENT');
  });

  test('range', 'a length that overflows in whole pages is ERANGE', (t) => {
    const guest = makeGuest(t);
    assert.equal(alloc(t, guest, { nesting_parent_iova: 1n, length: U64_MAX }).code, 'ERANGE');
    assert.equal(alloc(t, guest, { nesting_parent_iova: 0n, length: U64_MAX }).code, 'ERANGE');
  });

  test('range-order', 'the vIOMMU and the type are looked at before that', (t) => {
    const guest = makeGuest(t);
    const input = { nesting_parent_iova: 1n, length: U64_MAX };
    assert.equal(alloc(t, guest, { ...input, viommu_id: NO_ID }).code, 'ENOENT');
    assert.equal(alloc(t, guest, { ...input, type: UNKNOWN_TYPE }).code, 'EOPNOTSUPP');
  });

  test('too-long', 'a length whose page list no memory is for is ENOMEM', (t) => {
    assert.equal(alloc(t, makeGuest(t), { length: 1n << 44n }).code, 'ENOMEM');
  });

  test('unknown-viommu', 'no such vIOMMU is ENOENT; an id of another kind too', (t) => {
    const guest = makeGuest(t);
    for (const viommu_id of [NO_ID, 0, guest.parent.id, guest.ioas.id, guest.device.id]) {
      assert.equal(alloc(t, guest, { viommu_id }).code, 'ENOENT');
    }
  });

  test('unknown-viommu-order', 'the vIOMMU is looked up before the type is looked at', (t) => {
    assert.equal(alloc(t, makeGuest(t), { viommu_id: NO_ID, type: UNKNOWN_TYPE }).code, 'ENOENT');
  });

  test('index-beyond', 'an index that the vIOMMU has not is EINVAL', (t) => {
    const { viommu } = makeGuest(t);
    for (const index of [QUEUES, 0xffff_ffff]) {
      refused('EINVAL', () => viommu.allocHwQueue({ type: QUEUE_TYPE, index, iova: BASE, length: PAGE }));
    }
  });

  test('index-taken', 'a taken index is EEXIST', (t) => {
    const guest = makeGuest(t);
    guest.queue(0);
    assert.match(refused('EEXIST', () => guest.queue(0)).message, /this index is taken/);
    guest.queue(1);
    refused('EEXIST', () => guest.queue(1));
  });

  test('predecessor', 'without the queue before it, a queue is EIO', (t) => {
    const guest = makeGuest(t);
    assert.match(refused('EIO', () => guest.queue(1)).message, /in ascending order/);
    guest.queue(0);
    assert.equal(guest.queue(1).index, 1);
  });

  test('memory-before-index', 'the memory is looked at before the index', (t) => {
    const guest = makeGuest(t);
    guest.queue(0);
    const nowhere = BASE + 0x10_0000n;
    for (const index of [0, 1, QUEUES]) {
      assert.equal(alloc(t, guest, { index, nesting_parent_iova: nowhere }).code, 'ENOENT');
    }
  });

  test('index-again', 'an index can be used again after its queue is gone', (t) => {
    const guest = makeGuest(t);
    const first = guest.queue(0);
    first.destroy();
    assert.equal(guest.queue(0).index, 0);
  });

  test('descending', 'a queue that has a next one is EBUSY, and the message names the next', (t) => {
    const guest = makeGuest(t);
    const [first, second] = [guest.queue(0), guest.queue(1)];
    assert.deepEqual(second.parents, [guest.viommu, first]);
    const error = refused('EBUSY', () => first.destroy());
    assert(error.message.includes(`held by ${second.describe()}`), error.message);
    assert.match(error.message, /descending index/);
    assert.equal(first.destroyed, false);
    second.destroy();
    first.destroy();
    guest.viommu.destroy();
  });

  test('descending-raw', 'the kernel refuses it by itself', (t) => {
    const guest = makeGuest(t);
    const first = alloc(t, guest, { index: 0 }).out.out_hw_queue_id;
    const second = alloc(t, guest, { index: 1, nesting_parent_iova: BASE + PAGE }).out.out_hw_queue_id;
    assert.equal(t.destroyId(first), 'EBUSY');
    assert.equal(t.destroyId(second), 'ok');
    assert.equal(t.destroyId(first), 'ok');
  });

  test('dispose', 'disposing of queue 0 takes queue 1 first', (t) => {
    const guest = makeGuest(t);
    const [first, second] = [guest.queue(0), guest.queue(1)];
    first[Symbol.dispose]();
    assert.deepEqual([first.destroyed, second.destroyed], [true, true]);
    guest.viommu.destroy();
  });

  test('dispose-viommu', 'disposing of the vIOMMU takes all of its queues', (t) => {
    const guest = makeGuest(t);
    const [first, second] = [guest.queue(0), guest.queue(1)];
    guest.viommu[Symbol.dispose]();
    assert.deepEqual([first.destroyed, second.destroyed, guest.viommu.destroyed], [true, true, true]);
    assert.equal(guest.ioas.unmap(BASE, guest.ram.size), BigInt(guest.ram.size));
  });

  test('two-viommus', 'each vIOMMU counts its own queues', (t) => {
    const guest = makeGuest(t);
    const other = makeViommu(guest.parent, guest.device);
    const mine = guest.queue(0);
    refused('EIO', () => other.allocHwQueue({ type: QUEUE_TYPE, index: 1, iova: BASE, length: PAGE }));
    const theirs = other.allocHwQueue({ type: QUEUE_TYPE, index: 0, iova: BASE + PAGE, length: PAGE });
    assert.deepEqual(theirs.parents, [other]);
    mine.destroy();
    guest.viommu.destroy();
    assert.equal(theirs.destroyed, false);
    refused('EBUSY', () => other.destroy());
  });

  test('chain', 'while a queue lives, vIOMMU, nesting parent and address space are EBUSY', (t) => {
    const guest = makeGuest(t);
    const queue = guest.queue(0);
    assert(refused('EBUSY', () => guest.viommu.destroy()).message.includes(`held by ${queue.describe()}`));
    assert(refused('EBUSY', () => guest.parent.destroy()).message.includes(`held by ${guest.viommu.describe()}`));
    assert(refused('EBUSY', () => guest.ioas.destroy()).message.includes(`held by ${guest.parent.describe()}`));
    queue.destroy();
    guest.viommu.destroy();
    guest.parent.destroy();
    guest.ioas.destroy();
  });

  test('two-ids', 'a queue takes two ids: its own, and the next for what holds its pages', (t) => {
    const guest = makeGuest(t);
    const queue = guest.queue(0);
    assert.equal(t.iommufd.allocIoas().id, queue.id + 2);
    queue.destroy();
    assert.equal(t.iommufd.allocIoas().id, queue.id);
    assert.equal(t.iommufd.allocIoas().id, queue.id + 1);
  });

  test('refused-ids', 'a refused queue takes no id', (t) => {
    const guest = makeGuest(t);
    const before = guest.queue(0);
    assert.equal(alloc(t, guest, {}).code, 'EEXIST');
    assert.equal(alloc(t, guest, { index: 1, nesting_parent_iova: 0n }).code, 'ENOENT');
    assert.equal(guest.queue(1).id, before.id + 2);
  });

  test('hidden-id', 'what holds the pages cannot be destroyed by its id', (t) => {
    const guest = makeGuest(t);
    const queue = guest.queue(0);
    assert.equal(t.destroyId(queue.id + 1), 'EBUSY');
    queue.destroy();
    assert.equal(t.destroyId(queue.id + 1), 'ENOENT');
  });

  test('destroyed', 'a queue that is gone tells no pair and maps nothing; destroying it twice is fine', (t) => {
    const queue = makeGuest(t).queue(0);
    queue.destroy();
    queue.destroy();
    assert.equal(queue.destroyed, true);
    assert.throws(() => queue.mmapRegion, { code: 'ERR_IOMMUFD_DESTROYED' });
    assert.throws(() => queue.mmap(), { code: 'ERR_IOMMUFD_DESTROYED' });
  });

  test('destroyed-elsewhere', 'a queue that somebody else destroyed is ENOENT once, then known to be gone', (t) => {
    const guest = makeGuest(t);
    const queue = guest.queue(0);
    assert.equal(t.destroyId(queue.id), 'ok');
    refused('ENOENT', () => queue.destroy());
    assert.equal(queue.destroyed, true);
    queue.destroy();
    guest.viommu.destroy();
  });

  test('error', 'a refusal carries the call, what was asked, and what to do', (t) => {
    const { viommu } = makeGuest(t);
    const error = refused('ENOENT', () =>
      viommu.allocHwQueue({ type: QUEUE_TYPE, index: 1, iova: 0x2000_0000n, length: 64 }),
    );
    assert(error instanceof IommufdError);
    const { syscall, args, errno, hint } = error;
    assert.deepEqual({ syscall, errno }, { syscall: 'IOMMU_HW_QUEUE_ALLOC', errno: -2 });
    const asked = { viommu_id: viommu.id, type: QUEUE_TYPE, index: 1, nesting_parent_iova: 0x2000_0000n, length: 64n };
    assert.deepEqual(args, asked);
    assert.match(String(hint), /not mapped from end to end/);
    assert.match(error.message, /nesting_parent_iova 0x20000000/);
    assert.doesNotThrow(() => JSON.stringify(error));
  });

  test('struct-size', 'the struct must be whole; longer must be zeros behind', (t) => {
    const guest = makeGuest(t);
    const input = { viommu_id: guest.viommu.id, type: QUEUE_TYPE, nesting_parent_iova: BASE, length: PAGE };
    const { size } = IOMMU_HW_QUEUE_ALLOC.layout;
    const sized = (raw: { size: number; tail?: Uint8Array }) => {
      const { code, out } = t.ioctlSized(IOMMU_HW_QUEUE_ALLOC, input, raw);
      if (code === 'ok') t.destroyId(out.out_hw_queue_id);
      return code;
    };
    assert.equal(sized({ size: size - 1 }), 'EINVAL');
    assert.equal(sized({ size: size + 8, tail: new Uint8Array(8).fill(255) }), 'E2BIG');
    assert.equal(sized({ size: size + 8, tail: new Uint8Array(8) }), 'ok');
  });
});
