// Calls in a storm of signals: reads and writes that block, work on the thread pool, and all that is quick.
import assert from 'node:assert/strict';
import type { Told } from './signals-child.js';
import { runChild } from './support.js';

describe('addon: signals', function () {
  // Other processes are started, and machines are busy.
  this.timeout(60_000);

  it('change no answer', () => {
    const { heard, results } = runChild('signals-child.js') as Told;
    assert.ok(heard > 10, `only ${heard} signals came`);
    assert.deepEqual(results, {
      read: 4,
      byte: 'b'.charCodeAt(0),
      filled: 65536,
      write: 4096,
      refused: 0,
      calls: 2000,
      signalled: 8,
      again: 0,
    });
  });
});
