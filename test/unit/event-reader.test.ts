// Reading an event fd: draining, waiting, and losing nothing in between.
import assert from 'node:assert/strict';
import { EventSource } from '../../lib/host/event-reader.js';
import { DONE, reading, some } from './reading.js';
import { codeOf, codeOfAsync, turn } from './stage.js';
import { StubSeam } from './stub-seam.js';

/** What a promise has come to after everything ready has run. */
async function state(promise: Promise<unknown>): Promise<unknown> {
  let seen: unknown = 'pending';
  promise.then(
    (value) => {
      seen = value;
    },
    (error: unknown) => {
      seen = error;
    },
  );
  await turn();
  return seen;
}

describe('event reader: draining', () => {
  it('reads until nothing is left', () => {
    const { seam, fd, reader } = reading();
    seam.feed(fd, some(1, 2), some(3));
    assert.deepEqual(reader.drain(), [1, 2, 3]);
    assert.deepEqual(reader.drain(), []);
  });

  it('leaves the arena as it was, also when the read fails', () => {
    const { seam, fd, reader } = reading();
    seam.feed(fd, some(1), -5);
    assert.equal(
      codeOf(() => reader.drain()),
      'EIO',
    );
    assert.equal(seam.arena.mark(), 0);
    assert.deepEqual(reader.drain(), [1], 'what was read before the failure is not lost');
  });

  it('is refused after the end', () => {
    const { reader } = reading();
    reader.close();
    assert.equal(
      codeOf(() => reader.drain()),
      'ERR_IOMMUFD_DESTROYED',
    );
    assert.equal(
      codeOf(() => reader.iterate({})),
      'ERR_IOMMUFD_DESTROYED',
    );
  });
});

describe('event reader: iterating', () => {
  it('gives what is there, then waits for more', async () => {
    const { seam, fd, reader, watch } = reading();
    seam.feed(fd, some(1, 2));
    const iterator = reader.iterate({});
    assert.deepEqual(await iterator.next(), { done: false, value: 1 });
    assert.deepEqual(await iterator.next(), { done: false, value: 2 });
    const third = iterator.next();
    assert.equal(await state(third), 'pending');
    assert.equal(watch.armed, true);
    seam.feed(fd, some(3));
    assert.deepEqual(await third, { done: false, value: 3 });
    assert.equal(watch.armed, false);
  });

  it('arms the watch again for every wait, and after a readiness without an event', async () => {
    const { seam, fd, reader, watch } = reading();
    const iterator = reader.iterate({});
    for (const value of [1, 2, 3]) {
      const next = iterator.next();
      await turn();
      seam.feed(fd, some(value));
      assert.deepEqual(await next, { done: false, value });
    }
    assert.equal(watch.armings, 3);
    const next = iterator.next();
    await turn();
    watch.armed = false;
    watch.onReadable();
    await turn();
    assert.equal(watch.armed, true);
    seam.feed(fd, some(4));
    assert.deepEqual(await next, { done: false, value: 4 });
  });

  it('loses nothing when a loop is left', async () => {
    const { seam, fd, reader } = reading();
    seam.feed(fd, some(1, 2, 3, 4));
    for await (const value of reader.iterate({})) if (value === 2) break;
    const iterator = reader.iterate({});
    assert.deepEqual(await iterator.next(), { done: false, value: 3 });
    await iterator.return?.();
    assert.deepEqual(reader.drain(), [4]);
  });

  it('ends a wait at once when returned', async () => {
    const { reader, watch, seam, fd } = reading();
    const iterator = reader.iterate({});
    const next = iterator.next();
    await turn();
    assert.deepEqual(await iterator.return?.(), DONE);
    assert.deepEqual(await next, DONE);
    assert.equal(watch.armed, false);
    assert.deepEqual(await iterator.next(), DONE);
    seam.feed(fd, some(1));
    assert.deepEqual(reader.drain(), [1]);
  });

  it('answers calls of next() that overlap one after another', async () => {
    const { seam, fd, reader } = reading();
    const iterator = reader.iterate({});
    const all = Promise.all([iterator.next(), iterator.next(), iterator.next()]);
    await turn();
    seam.feed(fd, some(1));
    await turn();
    seam.feed(fd, some(2, 3));
    assert.deepEqual(
      (await all).map((result) => result.value),
      [1, 2, 3],
    );
  });

  it('ends every overlapping call when returned', async () => {
    const { reader } = reading();
    const iterator = reader.iterate({});
    const all = Promise.all([iterator.next(), iterator.next()]);
    await turn();
    await iterator.return?.();
    assert.deepEqual(await all, [DONE, DONE]);
  });

  it('is refused while another runs, and free again after it', async () => {
    const { reader } = reading();
    const first = reader.iterate({});
    assert.equal(
      codeOf(() => reader.iterate({})),
      'ERR_IOMMUFD_BUSY',
    );
    await first.return?.();
    const second = reader.iterate({});
    await first.return?.();
    assert.equal(
      codeOf(() => reader.iterate({})),
      'ERR_IOMMUFD_BUSY',
      'returning an old one twice frees nothing',
    );
    await second.return?.();
  });

  it('does not disturb a successor that began before its own wait was over', async () => {
    const { seam, fd, reader } = reading();
    const first = reader.iterate({});
    const abandoned = first.next();
    await turn();
    void first.return?.();
    const second = reader.iterate({});
    const next = second.next();
    await turn();
    seam.feed(fd, some(7));
    assert.deepEqual(await next, { done: false, value: 7 });
    assert.deepEqual(await abandoned, DONE);
  });

  it('ends when the queue is destroyed under it, and closes watch and fd once', async () => {
    const { seam, reader } = reading();
    const next = reader.iterate({}).next();
    await turn();
    reader.close();
    reader.close();
    assert.deepEqual(await next, DONE);
    assert.deepEqual([seam.files.size, seam.watches.size, seam.badCloses], [0, 0, 0]);
  });

  it('rejects with a read error, is at its end then, and lets another try', async () => {
    const { seam, fd, reader } = reading();
    const iterator = reader.iterate({});
    const next = iterator.next();
    await turn();
    seam.feed(fd, -5);
    assert.equal(await codeOfAsync(next), 'EIO');
    assert.deepEqual(await iterator.next(), DONE);
    seam.feed(fd, some(1));
    assert.deepEqual(await reader.iterate({}).next(), { done: false, value: 1 });
  });

  it('lets timers run while events never end', async () => {
    const { seam, fd, reader } = reading();
    seam.feed(fd, ...Array.from({ length: 40 }, () => some(1, 2, 3, 4, 5)));
    let fired = false;
    setImmediate(() => {
      fired = true;
    });
    const iterator = reader.iterate({});
    let events = 0;
    while (!fired && events < 200) {
      await iterator.next();
      events++;
    }
    assert(fired && events <= 65, `${events} events before anything else ran`);
  });

  it('keeps the process alive unless told otherwise', () => {
    const { reader, watch } = reading();
    assert.equal(watch.referenced, true);
    reader.unref();
    assert.equal(watch.referenced, false);
    reader.ref();
    assert.equal(watch.referenced, true);
  });
});

describe('event source', () => {
  it('throws where the fd cannot be watched', () => {
    const seam = new StubSeam();
    seam.fail('watch', -1);
    assert.equal(
      codeOf(() => new EventSource(seam, seam.makeFd(true))),
      'EPERM',
    );
  });
});
