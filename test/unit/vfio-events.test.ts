// Events of a device, which come by its error and its request interrupt.
import assert from 'node:assert/strict';
import { codeOf, codeOfAsync, turn } from './stage.js';
import { start } from './vfio-interrupts-stage.js';

const [EMFILE, EIO] = [-24, -5];

describe('events of a device', () => {
  const counted = (count: bigint) => new Uint8Array(BigUint64Array.of(count).buffer);

  /** The fds that the error and the request index were connected to. */
  function listening() {
    const base = start({ count: 1 });
    const events = base.nic.events();
    const [error, request] = base.asked.map(({ fds }) => fds[0] ?? -1);
    assert(error !== undefined && request !== undefined);
    return { ...base, events, error, request };
  }

  it('are of two types', async () => {
    const { events, seam, error, request, end } = listening();
    const next = events.next();
    await turn();
    seam.feed(request, counted(3n));
    assert.deepEqual(await next, { done: false, value: { type: 'request', count: 3n } });
    seam.feed(error, counted(1n));
    assert.deepEqual(await events.next(), { done: false, value: { type: 'error', count: 1n } });
    await events.return?.();
    end();
  });

  it('wait for the next loop where two came at once', async () => {
    const { events, seam, error, request, nic, end } = listening();
    seam.feed(request, counted(1n));
    seam.feed(error, counted(1n));
    const seen: string[] = [];
    for await (const { type } of events) {
      seen.push(type);
      break;
    }
    await turn();
    for await (const { type } of nic.events()) {
      seen.push(type);
      break;
    }
    assert.deepEqual(seen.sort(), ['error', 'request']);
    end();
  });

  it('end with the device', async () => {
    const { events, nic, end } = listening();
    const next = events.next();
    await turn();
    nic.close();
    assert.deepEqual(await next, { done: true, value: undefined });
    assert.deepEqual(await events.next(), { done: true, value: undefined });
    end();
  });

  it('begin anew after their interrupts were turned off', async () => {
    const { events, nic, asked, seam, end } = listening();
    const next = events.next();
    await turn();
    nic.interrupts('error').disable();
    assert.deepEqual(await next, { done: true, value: undefined });
    const again = nic.events();
    seam.feed(asked.at(-1)?.fds[0] ?? -1, counted(2n));
    assert.deepEqual(await again.next(), { done: false, value: { type: 'error', count: 2n } });
    await again.return?.();
    end();
  });

  it('are turned off again where only one of them can be had', () => {
    const { nic, seam, asked, end } = start({ count: 1 });
    nic.interrupts('request').enable();
    const before = seam.files.size;
    assert.equal(
      codeOf(() => nic.events()),
      'ERR_IOMMUFD_BUSY',
    );
    assert.equal(seam.files.size, before);
    assert.deepEqual(asked.at(-1)?.count, 0);
    end();
  });

  it('tell of a read that fails', async () => {
    const { events, seam, error, nic, end } = listening();
    seam.feed(error, EIO);
    assert.equal(await codeOfAsync(events.next()), 'EIO');
    await nic.events().return?.();
    end();
  });

  it('keep the process alive while somebody waits, and no longer', async () => {
    const { events, seam, end } = listening();
    const next = events.next();
    await turn();
    const keeping = () => [...seam.watches].filter(({ armed, referenced }) => armed && referenced).length;
    assert.equal(keeping(), 2);
    await events.return?.();
    await next;
    assert.equal(keeping(), 0);
    end();
  });

  it('can be waited for again at once, and where a wait failed', async () => {
    const { events, nic, seam, request, end } = listening();
    const first = events.next();
    await turn();
    void events.return?.();
    const again = nic.events();
    const next = again.next();
    assert.equal((await first).done, true);
    seam.feed(request, counted(2n));
    assert.deepEqual(await next, { done: false, value: { type: 'request', count: 2n } });
    await again.return?.();
    end();

    const other = start({ count: 1 });
    other.seam.fail('watch', EMFILE);
    assert.equal(await codeOfAsync(other.nic.events().next()), 'EMFILE');
    const waiting = other.nic.events().next();
    await turn();
    other.end();
    assert.equal((await waiting).done, true);
  });

  it('are none where the device has neither', () => {
    const { nic, end } = start({ count: 0 });
    assert.equal(
      codeOf(() => nic.events()),
      'ERR_IOMMUFD_UNAVAILABLE',
    );
    end();
  });
});
