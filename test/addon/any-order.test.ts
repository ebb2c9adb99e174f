// Whatever order fds, watches, regions and windows are let go of and collected in, nothing is left of them.
import assert from 'node:assert/strict';
import type { Told } from './any-order-child.js';
import { atLength, runChild } from './support.js';

describe('addon: owners that go in any order', function () {
  // Other processes are started, and machines are busy.
  this.timeout(atLength ? 1_200_000 : 60_000);

  for (const way of ['freed', 'dropped']) {
    it(`leaves nothing where regions are ${way}, collecting at every step`, () => {
      const { orders, done, before, after } = runChild('any-order-child.js', way) as Told;
      assert.deepEqual(after, before);
      assert.equal(orders, atLength ? 720 : 60);
      assert.equal(done, orders, 'work that was not told of');
    });
  }
});
