// Eventfds: what is counted, who waits for it, and what is left behind.
import assert from 'node:assert/strict';
import { eventfdNumber } from '../../lib/host/eventfd.js';
import { Host } from '../../lib/host-object.js';
import { codeOf, codeOfAsync, leftovers, NOTHING, turn } from './stage.js';
import { StubSeam } from './stub-seam.js';

const EAGAIN = -11;
const EMFILE = -24;

/** A counter as it is read. */
function counted(count: bigint): Uint8Array {
  return new Uint8Array(BigUint64Array.of(count).buffer);
}

function start() {
  const seam = new StubSeam();
  const eventfd = new Host(seam).createEventfd();
  return { seam, eventfd, fd: eventfd.fd };
}

describe('eventfd', () => {
  it('is signalled with 8 bytes', () => {
    const { seam, eventfd, fd } = start();
    eventfd.signal();
    eventfd.signal(0x1_0000_0002n);
    assert.deepEqual(
      seam.writes.map(({ fd: to, bytes }) => [to, new DataView(bytes.buffer).getBigUint64(0, true)]),
      [
        [fd, 1n],
        [fd, 0x1_0000_0002n],
      ],
    );
    assert.equal(seam.arena.mark(), 0);
  });

  it('refuses counts that are none, and says when the counter is full', () => {
    const { seam, eventfd } = start();
    for (const count of [0, -1, 1.5, 2n ** 64n - 1n]) {
      assert.equal(
        codeOf(() => eventfd.signal(count)),
        'ERR_OUT_OF_RANGE',
      );
    }
    assert.equal(
      codeOf(() => eventfd.signal('1' as unknown as number)),
      'ERR_INVALID_ARG_TYPE',
    );
    assert.equal(seam.writes.length, 0);
    seam.fail('write', EAGAIN);
    assert.throws(() => eventfd.signal(), { code: 'EAGAIN', syscall: 'write', message: /2\^64 - 2/ });
    assert.equal(seam.arena.mark(), 0);
  });

  it('is drained of everything, and empty is 0', () => {
    const { seam, eventfd, fd } = start();
    assert.equal(eventfd.drain(), 0n);
    seam.feed(fd, EAGAIN);
    assert.equal(eventfd.drain(), 0n);
    seam.feed(fd, counted(3n), counted(4n), EAGAIN);
    assert.equal(eventfd.drain(), 7n);
  });

  it('costs the host no watch before somebody waits', async () => {
    const { seam, eventfd, fd } = start();
    seam.feed(fd, counted(1n));
    assert.equal(await eventfd.wait(), 1n);
    assert.equal(seam.watches.size, 0);
    const waiting = eventfd.wait();
    await turn();
    assert.equal(seam.watches.size, 1);
    seam.feed(fd, counted(2n));
    assert.equal(await waiting, 2n);
    eventfd.close();
    assert.deepEqual(leftovers(seam), NOTHING);
  });

  it('can be waited for again after a wait that failed', async () => {
    const { seam, eventfd, fd } = start();
    seam.fail('watch', EMFILE);
    assert.equal(await codeOfAsync(eventfd.wait()), 'EMFILE');
    const waiting = eventfd.wait();
    await turn();
    seam.feed(fd, counted(1n));
    assert.equal(await waiting, 1n);
  });

  it('has one reader at a time', async () => {
    const { seam, eventfd, fd } = start();
    const waiting = eventfd.wait();
    assert.equal(await codeOfAsync(eventfd.wait()), 'ERR_IOMMUFD_BUSY');
    assert.equal(
      codeOf(() => eventfd.read()),
      'ERR_IOMMUFD_BUSY',
    );
    seam.feed(fd, counted(1n));
    assert.equal(await waiting, 1n);
    for await (const count of read(eventfd, seam, fd)) {
      assert.equal(count, 5n);
      break;
    }
  });

  it('ends a wait with its signal, and loses nothing', async () => {
    const { seam, eventfd, fd } = start();
    const stop = new AbortController();
    const waiting = codeOfAsync(eventfd.wait({ signal: stop.signal }));
    stop.abort(Object.assign(new Error('enough'), { code: 'ENOUGH' }));
    assert.equal(await waiting, 'ENOUGH');
    assert.equal(await codeOfAsync(eventfd.wait({ signal: stop.signal })), 'ENOUGH');
    seam.feed(fd, counted(9n));
    assert.equal(eventfd.drain(), 9n);
  });

  it('tells who waits that it is closed', async () => {
    const { seam, eventfd } = start();
    const waiting = codeOfAsync(eventfd.wait());
    await turn();
    eventfd.close();
    eventfd.close();
    assert.equal(await waiting, 'ERR_IOMMUFD_DESTROYED');
    assert.deepEqual(leftovers(seam), NOTHING);
  });

  it('cannot be used when it is closed', async () => {
    const { seam, eventfd } = start();
    eventfd[Symbol.dispose]();
    assert.equal(eventfd.closed, true);
    for (const use of [
      () => eventfd.fd,
      () => eventfd.signal(),
      () => eventfd.drain(),
      () => eventfd.read(),
      () => eventfd.ref(),
      () => eventfd.unref(),
      () => eventfdNumber(eventfd, seam, 'eventfd'),
    ]) {
      assert.equal(codeOf(use), 'ERR_IOMMUFD_DESTROYED');
    }
    assert.equal(await codeOfAsync(eventfd.wait()), 'ERR_IOMMUFD_DESTROYED');
    assert.deepEqual(leftovers(seam), NOTHING);
  });

  it('tells whether it cannot be made', () => {
    const seam = new StubSeam();
    seam.fail('createEventfd', EMFILE);
    assert.equal(
      codeOf(() => new Host(seam).createEventfd()),
      'EMFILE',
    );
    assert.equal(
      codeOf(() => new Host(seam).createEventfd(-1)),
      'ERR_OUT_OF_RANGE',
    );
  });

  it('belongs to one host', () => {
    const { eventfd } = start();
    assert.equal(
      codeOf(() => eventfdNumber(eventfd, new StubSeam(), 'eventfd')),
      'ERR_IOMMUFD_FOREIGN_HOST',
    );
  });
});

/** An iterator of an eventfd that 5 has been added to. */
function read(eventfd: AsyncIterable<bigint>, seam: StubSeam, fd: number): AsyncIterable<bigint> {
  seam.feed(fd, counted(5n));
  return eventfd;
}
