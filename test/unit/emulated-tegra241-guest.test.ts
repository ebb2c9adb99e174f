// A guest on the emulated Tegra241 whose queue executes while its device does DMA: what it reaches, and how errors come to it.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import {
  ASID,
  type Command,
  FORGET_ASID,
  forgetInDevice,
  forgetPage,
  GuestQueue,
  NOT_FOR_GUESTS,
  SYNC,
  VA,
} from '../rig/vqueue-guest.js';
import { code, errors, IPA, makeGuest, PAGE, run, STREAM, stage, unmake } from './tegra241-stage.js';

const LAST = 2n ** 64n - 1n;

afterEach(unmake);

describe("a guest's queue and its device", () => {
  it('what the guest changed is seen when its command is executed, and not before', () => {
    const s = stage();
    const { tables, guest, read, queue } = run(s);
    tables.map(0, 1);
    assert.equal(read(), 1);
    tables.map(0, 2);
    assert.equal(read(), 1);
    guest.submit(forgetPage(VA), SYNC);
    assert(guest.done);
    assert.equal(read(), 2);
    assert.equal(s.control(queue).inspect().executed, 2);
  });

  it('commands are executed by the SMMU of its device, whatever interface it has', () => {
    const s = stage({ devices: 2, smmus: 2 });
    const first = makeGuest(s).viommu;
    makeGuest(s, 1).viommu.destroy();
    first.destroy();
    for (const index of [1, 0]) {
      const { guest, tables, read } = run(s, { index });
      tables.map(0, 1);
      assert.equal(read(), 1);
      tables.map(0, 2);
      guest.submit(forgetPage(VA), SYNC);
      assert.deepEqual([guest.done, read()], [true, 2]);
    }
  });

  it('only the page that is told of is forgotten', () => {
    const { tables, guest, read } = run(stage());
    for (const page of [0, 1]) tables.map(page, 1);
    assert.deepEqual([read(0), read(1)], [1, 1]);
    for (const page of [0, 1]) tables.map(page, 2);
    guest.submit(forgetPage(VA + PAGE), SYNC);
    assert.deepEqual([read(0), read(1)], [1, 2]);
    guest.submit(FORGET_ASID, SYNC);
    assert.deepEqual([read(0), read(1)], [2, 2]);
  });

  it('guests do not reach each other, whatever VMID they write', () => {
    const s = stage({ devices: 2 });
    const [a, b] = [run(s), run(s, { index: 1 })];
    for (const { tables } of [a, b]) tables.map(0, 1);
    assert.deepEqual([a.read(), b.read()], [1, 1]);
    for (const { tables } of [a, b]) tables.map(0, 2);
    const [opcode, word1] = FORGET_ASID;
    const foreign = Array.from({ length: 16 }, (_, vmid): Command => [opcode | (BigInt(vmid) << 32n), word1]);
    a.guest.submit(...foreign, SYNC);
    assert(a.guest.done);
    assert.deepEqual([a.read(), b.read()], [2, 1]);
  });

  it('a translation that the device keeps goes by ATC_INV, by the id of the guest', () => {
    const s = stage({ ats: true });
    const { tables, guest, read, events } = run(s, { ats: true });
    tables.map(0, 1);
    assert.equal(read(), 1);
    tables.map(0, 2);
    guest.submit(FORGET_ASID, SYNC);
    assert.equal(read(), 1);
    guest.submit(forgetInDevice(STREAM), SYNC);
    assert(guest.done);
    assert.equal(read(), 2);
    guest.submit(forgetInDevice(STREAM + 1), SYNC);
    assert.equal(guest.stoppedAt.reason, 1);
    assert.deepEqual(errors(events), [[0]]);
  });

  it("a device that is not the guest's any more is not reached", () => {
    const s = stage();
    const made = makeGuest(s);
    const { viommu, device, ram } = made;
    const vdevice = viommu.allocVdevice(device, { virtId: STREAM });
    const guest = new GuestQueue(ram, viommu.mmap());
    const { offset, length } = guest.place;
    viommu.allocHwQueue({ index: 0, iova: IPA + offset, length });
    guest.enable();
    guest.submit(forgetInDevice(STREAM));
    assert(guest.done);
    vdevice.destroy();
    guest.submit(forgetInDevice(STREAM));
    assert.equal(guest.stoppedAt.reason, 1);
  });

  it('a device that does not answer is told of at CMD_SYNC', () => {
    const s = stage({ ats: true });
    const { guest, events } = run(s, { ats: true });
    s.itself().answersInvalidations = false;
    guest.submit(forgetInDevice(STREAM), SYNC, SYNC);
    for (let i = 0; i < 2; i++) {
      assert.deepEqual(guest.stoppedAt, { index: 1, reason: 3 });
      assert.deepEqual(errors(events), [[0]]);
      if (i === 1) s.itself().answersInvalidations = true;
      guest.acknowledge();
    }
    assert(guest.done);
    assert.deepEqual(errors(events), []);
  });

  it('two queues of a guest work beside each other', () => {
    const s = stage();
    const { tables, guest, read, viommu, ram, events } = run(s);
    const second = new GuestQueue(ram, viommu.mmap(), 1);
    const { offset, length } = second.place;
    viommu.allocHwQueue({ index: 1, iova: IPA + offset, length });
    second.enable();
    tables.map(0, 1);
    assert.equal(read(), 1);
    tables.map(0, 2);
    guest.submit(NOT_FOR_GUESTS);
    second.submit(forgetPage(VA), SYNC);
    assert.deepEqual([guest.done, second.done, read()], [false, true, 2]);
    second.submit(NOT_FOR_GUESTS);
    assert.deepEqual(errors(events), [[0], [0, 1]]);
  });

  it('goes round its queue many times', () => {
    const { tables, guest, read } = run(stage());
    for (let i = 0; i < 300; i++) {
      const page = i % 8;
      tables.map(0, page);
      guest.submit(forgetPage(VA), SYNC);
      assert(guest.done);
      assert.equal(read(), page);
    }
  });

  it('what a queue does not take goes by the kernel as before', () => {
    const { tables, viommu, read } = run(stage());
    tables.map(0, 1);
    assert.equal(read(), 1);
    tables.map(0, 2);
    assert.equal(viommu.invalidate({ smmuv3: BigUint64Array.of(0x30n, 0n) }), 1);
    assert.equal(read(), 2);
    assert.equal(
      code(() => viommu.invalidate({ smmuv3: BigUint64Array.from(NOT_FOR_GUESTS) })),
      'EIO',
    );
  });
});

describe('a hostile guest', () => {
  /** The StreamID that the other guest's device really has: 0000:02:00.0. */
  const foreign = 0x200n << 32n;
  const word = fc.oneof(fc.bigInt({ min: 0n, max: LAST }), fc.constantFrom(0n, VA, VA | 1n, 52n, LAST, foreign));
  const opcode = fc.constantFrom(0x04n, 0x05n, 0x10n, 0x11n, 0x12n, 0x13n, 0x30n, 0x40n, 0x44n, 0x46n);
  // Both guests have the same ASID: only the VMID tells them apart, which a command has bits for.
  const command = fc.tuple(opcode, word, word).map(([op, word0, word1]): Command => {
    const fields = op === 0x40n ? word0 : (word0 & ~(0xffffn << 48n)) | (BigInt(ASID) << 48n);
    return [(fields & ~0xffn) | op, word1];
  });
  const sane = fc.constantFrom(FORGET_ASID, forgetPage(VA), SYNC, NOT_FOR_GUESTS, forgetInDevice(STREAM));

  it('makes nobody else forget anything, and its own queue can always be mended', () => {
    const s = stage({ devices: 2, ats: true });
    const [hostile, other] = [run(s, { ats: true }), run(s, { index: 1, ats: true })];
    other.tables.map(0, 1);
    assert.equal(other.read(), 1);
    // What the other guest does not tell of stays as it was.
    other.tables.map(0, 2);
    fc.assert(
      fc.property(fc.array(fc.oneof(command, sane), { maxLength: 40 }), fc.nat({ max: 7 }), (commands, page) => {
        hostile.tables.map(0, page);
        hostile.guest.submit(...commands);
        while (hostile.guest.failed) {
          hostile.guest.skip();
          hostile.guest.acknowledge();
        }
        assert(hostile.guest.done);
        assert.equal(other.read(), 1);
        hostile.guest.submit(FORGET_ASID, forgetInDevice(STREAM), SYNC);
        assert(hostile.guest.done);
        assert.equal(hostile.read(), page);
      }),
    );
    other.guest.submit(FORGET_ASID, forgetInDevice(STREAM), SYNC);
    assert.equal(other.read(), 2);
  });
});

describe("errors of a guest's queue", () => {
  it("come beside faults of the guest's devices, which are another kind of event", () => {
    const s = stage();
    const { viommu, guest, events } = run(s);
    const faults = viommu.allocVeventq({ depth: 8, type: 'arm-smmuv3' });
    assert.throws(() => s.itself().dmaRead(VA, 1), { code: 'EFAULT' });
    guest.submit(NOT_FOR_GUESTS);
    const [fault] = faults.drain();
    assert(fault?.type === 'event' && fault.event.kind === 'arm-smmuv3');
    assert.deepEqual([fault.event.name, fault.event.streamId], ['F_TRANSLATION', STREAM]);
    assert.deepEqual(errors(events), [[0]]);
  });

  it('are events, each anew, and the queue goes on when the guest has seen to it', async () => {
    const { tables, guest, events, read } = run(stage());
    tables.map(0, 1);
    read();
    tables.map(0, 2);
    guest.submit(NOT_FOR_GUESTS, SYNC, NOT_FOR_GUESTS, FORGET_ASID);
    for (const index of [0, 2]) {
      assert.deepEqual(guest.stoppedAt, { index, reason: 1 });
      for await (const event of events.read({ signal: AbortSignal.timeout(5000) })) {
        assert(event.type === 'event' && event.event.kind === 'tegra241-cmdqv');
        assert.deepEqual([event.sequence, event.event.errorMap], [index / 2, [1n, 0n]]);
        break;
      }
      guest.skip();
      guest.acknowledge();
    }
    assert(guest.done);
    assert.equal(read(), 2);
  });

  it('are lost where nobody asked for them, or the queue of events is full', () => {
    const s = stage();
    const { guest, events, viommu } = run(s);
    guest.submit(NOT_FOR_GUESTS);
    for (let i = 0; i < 9; i++) guest.acknowledge();
    const told = events.drain();
    assert.deepEqual(
      told.map((event) => (event.type === 'lost' ? ['lost', event.count] : event.sequence)),
      [0, 1, 2, 3, 4, 5, 6, 7, ['lost', 2]],
    );
    events.destroy();
    guest.acknowledge();
    assert(guest.failed);
    assert.deepEqual(errors(viommu.allocVeventq({ depth: 1 })), []);
  });

  it('can be made to happen', () => {
    const s = stage();
    const { guest, queue, events } = run(s);
    const control = s.control(queue);
    control.abortNextFetch();
    guest.submit(SYNC);
    assert.equal(guest.stoppedAt.reason, 2);
    assert.equal(control.inspect().error, 'fetch-aborted');
    guest.acknowledge();
    assert(guest.done);
    guest.disable();
    control.failNextEnable();
    assert.equal(guest.enable(), false);
    guest.acknowledge();
    assert(guest.enable());
    assert.deepEqual(errors(events), [[0], [0]]);
  });
});
