// Events of a vIOMMU: in order, none twice, the lost ones counted, and waited for without losing any.
import assert from 'node:assert/strict';
import { iommu_viommu_event_selftest, test_trigger_vevent } from '../../lib/emulated/hardware/selftest/uapi.js';
import type { Vevent, Veventq } from '../../lib/index.js';
import { iommufd_vevent_header } from '../../lib/uapi/index.js';
import { makeGuest, PAYLOAD, plugDevice, raiseEvents, rawRead, settle, VEVENTQ_TYPE, VIRT_ID } from '../rig/guest.js';
import { tryTestCmd } from '../rig/mock.js';
import { type Bench, conformance, portOf } from '../rig/suite.js';

const EVENT = iommufd_vevent_header.size + PAYLOAD;

/** A guest whose device raises events, and their queue. */
function makeQueue(t: Bench, depth = 16, virtId = VIRT_ID) {
  const guest = makeGuest(t);
  const queue = guest.viommu.allocVeventq({ depth, type: VEVENTQ_TYPE, payloadSize: PAYLOAD });
  plugDevice(guest, virtId);
  return { ...guest, queue, raise: (count = 1) => raiseEvents(t, guest.device, count) };
}

/** Events in short: numbers of those that came, `-count` for lost ones. */
function inShort(events: readonly Vevent[]): number[] {
  return events.map((event) => (event.type === 'event' ? event.sequence : -event.count));
}

async function nextOf(iterator: AsyncIterator<Vevent>): Promise<Vevent> {
  const { done, value } = await iterator.next();
  assert.equal(done, false);
  return value;
}

async function stillWaiting(promise: Promise<unknown>): Promise<boolean> {
  let over = false;
  const note = (): void => {
    over = true;
  };
  promise.then(note, note);
  await settle();
  return !over;
}

function open(queue: Veventq, signal?: AbortSignal) {
  return queue.read(signal === undefined ? {} : { signal });
}

conformance('veventq-events', (test) => {
  test('arrives', 'an event arrives with its sequence, and the virtual id in its bytes', (t) => {
    const { queue, raise } = makeQueue(t, 16, 0x1234_5678);
    raise();
    const [event, ...more] = queue.drain();
    assert.deepEqual(more, []);
    assert(event?.type === 'event' && event.event.kind === 'raw');
    assert.equal(event.sequence, 0);
    assert.equal(event.event.data.length, PAYLOAD);
    const { virt_id } = iommu_viommu_event_selftest.decode(new DataView(event.event.data.buffer), 0);
    assert.equal(virt_id, 0x1234_5678);
  });

  test('drain', 'drain answers what is there, once', (t) => {
    const { queue, raise } = makeQueue(t);
    assert.deepEqual(queue.drain(), []);
    raise(3);
    assert.deepEqual(inShort(queue.drain()), [0, 1, 2]);
    assert.deepEqual(queue.drain(), []);
    raise();
    assert.deepEqual(inShort(queue.drain()), [3]);
  });

  test('two-devices', 'events tell which device they are about', (t) => {
    const guest = makeQueue(t, 16, 1);
    const other = t.mockDevice().device;
    plugDevice({ viommu: guest.viommu, device: other }, 2);
    guest.raise();
    raiseEvents(t, other);
    guest.raise();
    const ids = guest.queue
      .drain()
      .map((event) => event.type === 'event' && event.event.kind === 'raw' && event.event.data[0]);
    assert.deepEqual(ids, [1, 2, 1]);
  });

  test('no-queue', 'without a queue there is no event, and nothing of it later', (t) => {
    const guest = makeGuest(t);
    plugDevice(guest);
    const input = { dev_id: guest.device.id };
    assert.equal(tryTestCmd(portOf(t), 'IOMMU_TEST_OP_TRIGGER_VEVENT', test_trigger_vevent, input).result, -95);
    const queue = guest.viommu.allocVeventq({ depth: 4, type: VEVENTQ_TYPE, payloadSize: PAYLOAD });
    assert.deepEqual(queue.drain(), []);
    raiseEvents(t, guest.device);
    assert.deepEqual(inShort(queue.drain()), [0]);
  });

  test('many', 'more events than one read holds arrive in order', (t) => {
    const count = 6000;
    const { queue, raise } = makeQueue(t, count);
    raise(count);
    assert.deepEqual(
      inShort(queue.drain()),
      Array.from({ length: count }, (_, i) => i),
    );
  });

  test('iterate', 'the iterator delivers events in order, those from before it and those that come', async (t) => {
    const { queue, raise } = makeQueue(t);
    raise(2);
    const iterator = open(queue);
    const seen = [await nextOf(iterator), await nextOf(iterator)];
    const waiting = nextOf(iterator);
    raise();
    seen.push(await waiting);
    assert.deepEqual(inShort(seen), [0, 1, 2]);
    await iterator.return?.();
  });

  test('empty-no-end', 'an empty queue is not the end: the iterator waits', async (t) => {
    const { queue, raise } = makeQueue(t);
    const iterator = open(queue);
    const waiting = iterator.next();
    assert.equal(await stillWaiting(waiting), true);
    raise();
    assert.deepEqual(inShort([(await waiting).value]), [0]);
    assert.equal(await stillWaiting(iterator.next()), true);
    await iterator.return?.();
  });

  test('overlapping-next', 'calls of next that overlap are answered one after another', async (t) => {
    const { queue, raise } = makeQueue(t);
    const iterator = open(queue);
    const answers = Promise.all([nextOf(iterator), nextOf(iterator), nextOf(iterator)]);
    raise(3);
    assert.deepEqual(inShort(await answers), [0, 1, 2]);
    await iterator.return?.();
  });

  test('many-iterated', 'a long backlog lets timers run in between', async (t) => {
    const { queue, raise } = makeQueue(t, 1000);
    raise(1000);
    let immediates = 0;
    const tick = (): void => {
      immediates++;
      timer = setImmediate(tick);
    };
    let timer = setImmediate(tick);
    const seen: number[] = [];
    for await (const event of queue.read()) {
      seen.push(event.sequence);
      if (seen.length === 1000) break;
    }
    clearImmediate(timer);
    assert.deepEqual(
      seen,
      Array.from({ length: 1000 }, (_, i) => i),
    );
    assert(immediates > 1);
  });

  test('break', 'leaving the loop loses nothing: a later loop or drain has the rest', async (t) => {
    const { queue, raise } = makeQueue(t);
    raise(4);
    for await (const event of queue.read()) {
      assert.equal(event.sequence, 0);
      break;
    }
    for await (const event of queue.read()) {
      assert.equal(event.sequence, 1);
      break;
    }
    raise();
    assert.deepEqual(inShort(queue.drain()), [2, 3, 4]);
  });

  test('one-at-a-time', 'a second iterator is ERR_IOMMUFD_BUSY while the first lives', async (t) => {
    const { queue, raise } = makeQueue(t);
    const first = open(queue);
    assert.throws(() => queue.read(), { name: 'UsageError', code: 'ERR_IOMMUFD_BUSY' });
    await first.return?.();
    assert.deepEqual(await first.next(), { done: true, value: undefined });
    const second = open(queue);
    raise();
    assert.equal((await nextOf(second)).sequence, 0);
    await second.return?.();
  });

  test('return-while-waiting', 'ending the iterator ends a wait', async (t) => {
    const { queue } = makeQueue(t);
    const iterator = open(queue);
    const waiting = iterator.next();
    await settle();
    await iterator.return?.();
    assert.deepEqual(await waiting, { done: true, value: undefined });
  });

  test('drain-while-waiting', 'drain takes what is there even while an iterator waits', async (t) => {
    const { queue, raise } = makeQueue(t);
    const iterator = open(queue);
    const waiting = iterator.next();
    await settle();
    raise(2);
    assert.deepEqual(inShort(queue.drain()), [0, 1]);
    assert.equal(await stillWaiting(waiting), true);
    raise();
    assert.deepEqual(inShort([(await waiting).value]), [2]);
    await iterator.return?.();
  });

  test('abort', "an aborted wait rejects with the signal's reason, and loses nothing", async (t) => {
    const { queue, raise } = makeQueue(t);
    const controller = new AbortController();
    const iterator = open(queue, controller.signal);
    const waiting = iterator.next();
    await settle();
    const reason = new Error('enough');
    controller.abort(reason);
    await assert.rejects(waiting, (error) => error === reason);
    assert.deepEqual(await iterator.next(), { done: true, value: undefined });
    raise();
    assert.deepEqual(inShort(queue.drain()), [0]);
  });

  test('abort-between', 'a signal aborted between events ends the loop', async (t) => {
    const { queue, raise } = makeQueue(t);
    raise(3);
    const controller = new AbortController();
    const seen: Vevent[] = [];
    const loop = async (): Promise<void> => {
      for await (const event of queue.read({ signal: controller.signal })) {
        seen.push(event);
        controller.abort();
      }
    };
    await assert.rejects(loop(), { name: 'AbortError' });
    assert.deepEqual(inShort(seen), [0]);
    assert.deepEqual(inShort(queue.drain()), [1, 2]);
  });

  test('abort-before', 'a signal aborted before is thrown at once, and takes no turn', (t) => {
    const { queue } = makeQueue(t);
    assert.throws(() => queue.read({ signal: AbortSignal.abort() }), { name: 'AbortError' });
    assert.doesNotThrow(() => queue.read());
  });

  test('overflow', 'events beyond the depth are lost, and told with their count where they would have been', (t) => {
    const { queue, raise } = makeQueue(t, 3);
    raise(3 + 5);
    const events = queue.drain();
    assert.deepEqual(inShort(events), [0, 1, 2, -5]);
    assert.deepEqual(events.at(-1), { type: 'lost', sequence: 7, count: 5 });
  });

  test('overflow-one', 'a single lost event counts as one', (t) => {
    const { queue, raise } = makeQueue(t, 1);
    raise(2);
    assert.deepEqual(inShort(queue.drain()), [0, -1]);
  });

  test('overflow-then-more', 'after a loss was read, events go on where they are', (t) => {
    const { queue, raise } = makeQueue(t, 2);
    raise(5);
    assert.deepEqual(inShort(queue.drain()), [0, 1, -3]);
    raise(2);
    assert.deepEqual(inShort(queue.drain()), [5, 6]);
    raise(4);
    assert.deepEqual(inShort(queue.drain()), [7, 8, -2]);
  });

  test('overflow-gap', 'a loss that was not read before the next event shows as a gap, told the same way', (t) => {
    const { queue, raise } = makeQueue(t, 2);
    raise(5);
    const first = rawRead(t, queue.fd, EVENT);
    assert(first instanceof Uint8Array);
    assert.equal(first.length, EVENT);
    // Room for one more: the note of the loss gives way to it.
    raise();
    const events = queue.drain();
    // The first event went past the object: it is one of the lost to it.
    assert.deepEqual(inShort(events), [-1, 1, -3, 5]);
    assert.deepEqual(events[2], { type: 'lost', sequence: 4, count: 3 });
  });

  test('overflow-iterated', 'the iterator delivers a loss as an event in its place', async (t) => {
    const { queue, raise } = makeQueue(t, 1);
    raise(3);
    const iterator = open(queue);
    const seen = [await nextOf(iterator), await nextOf(iterator)];
    raise();
    seen.push(await nextOf(iterator));
    assert.deepEqual(inShort(seen), [0, -2, 3]);
    await iterator.return?.();
  });

  test('destroy-ends', 'destroying the queue ends the iterator', async (t) => {
    const { queue } = makeQueue(t);
    const iterator = open(queue);
    const waiting = iterator.next();
    await settle();
    queue.destroy();
    assert.deepEqual(await waiting, { done: true, value: undefined });
    assert.deepEqual(await iterator.next(), { done: true, value: undefined });
  });

  test('destroy-pending', 'a queue with events that nobody read can be destroyed; a new one starts at 0', (t) => {
    const { queue, raise, viommu } = makeQueue(t, 2);
    raise(5);
    queue.destroy();
    const again = viommu.allocVeventq({ depth: 2, type: VEVENTQ_TYPE, payloadSize: PAYLOAD });
    assert.deepEqual(again.drain(), []);
    raise();
    assert.deepEqual(inShort(again.drain()), [0]);
  });

  test('unref', 'a queue that does not keep the process alive delivers all the same', async (t) => {
    const { queue, raise } = makeQueue(t);
    queue.unref();
    const iterator = open(queue);
    const waiting = nextOf(iterator);
    await settle();
    raise();
    // This wait keeps the loop turning until the event is there.
    const alive = setInterval(() => {}, 1);
    assert.equal((await waiting).sequence, 0);
    clearInterval(alive);
    queue.ref();
    const another = nextOf(iterator);
    raise();
    assert.equal((await another).sequence, 1);
    await iterator.return?.();
  });

  test('payload-size', 'a payload size that is not that of the events is a RangeError, not made-up events', (t) => {
    const guest = makeGuest(t);
    plugDevice(guest);
    for (const payloadSize of [PAYLOAD - 2, PAYLOAD + 1, 4096]) {
      const queue = guest.viommu.allocVeventq({ depth: 4, type: VEVENTQ_TYPE, payloadSize });
      raiseEvents(t, guest.device);
      assert.throws(() => queue.drain(), { name: 'RangeError', code: 'ERR_OUT_OF_RANGE', message: /^payloadSize/ });
      queue.destroy();
    }
  });
});
