// The file of an event queue, past the objects: what a read gives, and what the open file holds.
import assert from 'node:assert/strict';
import { iommu_veventq_flag, iommufd_vevent_header } from '../../lib/uapi/index.js';
import { makeGuest, PAYLOAD, plugDevice, raiseEvents, rawRead, settle, VEVENTQ_TYPE } from '../rig/guest.js';
import { type Bench, conformance, refused } from '../rig/suite.js';

const HEADER = iommufd_vevent_header.size;
const EVENT = HEADER + PAYLOAD;

/** A guest whose device raises events, and their queue. */
function makeQueue(t: Bench, depth = 16) {
  const guest = makeGuest(t);
  const queue = guest.viommu.allocVeventq({ depth, type: VEVENTQ_TYPE, payloadSize: PAYLOAD });
  plugDevice(guest);
  return { ...guest, queue, raise: (count = 1) => raiseEvents(t, guest.device, count) };
}

function rawHeader(bytes: Uint8Array, at = 0) {
  return iommufd_vevent_header.decode(new DataView(bytes.buffer, bytes.byteOffset), at);
}

conformance('veventq-file', (test) => {
  test('empty', 'past the objects, an empty queue reads as 0 bytes', (t) => {
    const { queue } = makeQueue(t);
    const bytes = rawRead(t, queue.fd, 64);
    assert(bytes instanceof Uint8Array && bytes.length === 0);
  });

  test('short', 'a read shorter than a header is EINVAL, events or not', (t) => {
    const { queue, raise } = makeQueue(t);
    assert.equal(rawRead(t, queue.fd, HEADER - 1), 'EINVAL');
    raise();
    assert.equal(rawRead(t, queue.fd, HEADER - 1), 'EINVAL');
    assert.equal(rawRead(t, queue.fd, 0), 'EINVAL');
  });

  test('no-room', 'a read without room for the first event is EINVAL, and keeps it', (t) => {
    const { queue, raise } = makeQueue(t);
    raise();
    for (const length of [HEADER, EVENT - 1]) assert.equal(rawRead(t, queue.fd, length), 'EINVAL');
    assert.equal(queue.drain().length, 1);
  });

  test('whole', 'a read gives whole events only, as many as fit', (t) => {
    const { queue, raise } = makeQueue(t);
    raise(3);
    const bytes = rawRead(t, queue.fd, 2 * EVENT + HEADER);
    assert(bytes instanceof Uint8Array);
    assert.equal(bytes.length, 2 * EVENT);
    assert.deepEqual(
      [rawHeader(bytes), rawHeader(bytes, EVENT)],
      [
        { flags: 0, sequence: 0 },
        { flags: 0, sequence: 1 },
      ],
    );
    assert.equal((rawRead(t, queue.fd, 64) as Uint8Array).length, EVENT);
  });

  test('lost', 'the note of a loss is a header without payload, with the number of the last lost event', (t) => {
    const { queue, raise } = makeQueue(t, 1);
    raise(4);
    assert.equal((rawRead(t, queue.fd, EVENT) as Uint8Array).length, EVENT);
    const lost = rawRead(t, queue.fd, HEADER);
    assert(lost instanceof Uint8Array);
    const flags = iommu_veventq_flag.values.IOMMU_VEVENTQ_FLAG_LOST_EVENTS;
    assert.deepEqual(rawHeader(lost), { flags, sequence: 3 });
    assert.equal((rawRead(t, queue.fd, 64) as Uint8Array).length, 0);
  });

  test('watch', 'the fd is readable exactly while events wait', async (t) => {
    const { queue, raise } = makeQueue(t);
    const { seam } = t.rig;
    const fd = seam.duplicate(queue.fd);
    let readable = 0;
    const watch = seam.watch(fd, () => readable++);
    assert(typeof watch !== 'number');
    t.later(() => {
      watch.close();
      seam.close(fd);
    });
    watch.arm();
    await settle();
    assert.equal(readable, 0);
    raise();
    await settle();
    assert.equal(readable, 1);
    queue.drain();
    watch.arm();
    await settle();
    assert.equal(readable, 1);
  });

  test('fd-duplicate', 'a copy of the event fd keeps the queue: EBUSY until it is closed, and the fd is gone', (t) => {
    const { queue, viommu } = makeQueue(t);
    const copy = t.rig.seam.duplicate(queue.fd);
    refused('EBUSY', () => queue.destroy());
    assert.equal(queue.destroyed, false);
    assert.throws(() => queue.fd, { code: 'ERR_IOMMUFD_DESTROYED' });
    assert.throws(() => queue.drain(), { code: 'ERR_IOMMUFD_DESTROYED' });
    refused('EBUSY', () => viommu.destroy());
    t.rig.seam.close(copy);
    queue.destroy();
    assert.equal(queue.destroyed, true);
  });
});
