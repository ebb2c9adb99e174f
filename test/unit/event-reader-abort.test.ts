// Ending the wait for events by an AbortSignal.
import assert from 'node:assert/strict';
import { DONE, reading, some } from './reading.js';
import { turn } from './stage.js';

describe('event reader: aborting', () => {
  it('throws at once where the signal is aborted already, and leaves the queue free', () => {
    const { reader } = reading();
    const reason = new Error('enough');
    assert.throws(() => reader.iterate({ signal: AbortSignal.abort(reason) }), reason);
    reader.iterate({});
  });

  it('ends a wait with the reason of the signal', async () => {
    const { reader, watch } = reading();
    const controller = new AbortController();
    const iterator = reader.iterate({ signal: controller.signal });
    const next = iterator.next();
    await turn();
    const reason = new Error('enough');
    controller.abort(reason);
    await assert.rejects(next, reason);
    assert.equal(watch.armed, false);
    assert.deepEqual(await iterator.next(), DONE);
    reader.iterate({});
  });

  it('between two events loses nothing', async () => {
    const { seam, fd, reader } = reading();
    seam.feed(fd, some(1, 2));
    const controller = new AbortController();
    const iterator = reader.iterate({ signal: controller.signal });
    await iterator.next();
    controller.abort(new Error('enough'));
    await assert.rejects(iterator.next(), /enough/);
    assert.deepEqual(reader.drain(), [2]);
  });

  it('leaves no listener on a signal that lives on', async () => {
    const { seam, fd, reader } = reading();
    const controller = new AbortController();
    let listeners = 0;
    const { signal } = controller;
    const add = signal.addEventListener.bind(signal);
    const remove = signal.removeEventListener.bind(signal);
    Object.assign(signal, {
      addEventListener: (...args: Parameters<typeof add>) => {
        listeners++;
        add(...args);
      },
      removeEventListener: (...args: Parameters<typeof remove>) => {
        listeners--;
        remove(...args);
      },
    });
    const iterator = reader.iterate({ signal });
    for (let i = 0; i < 20; i++) {
      const next = iterator.next();
      await turn(1);
      seam.feed(fd, some(i));
      await next;
    }
    assert.equal(listeners, 0);
  });
});
