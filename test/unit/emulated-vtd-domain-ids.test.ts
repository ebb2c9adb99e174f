// Domain ids of an emulated VT-d unit: how many there are, and which one is next.
import assert from 'node:assert/strict';
import { DomainIds } from '../../lib/emulated/hardware/vtd/driver/domain-ids.js';

describe('emulated VT-d: domain ids', () => {
  it('are the lowest that are free, from 2 on', () => {
    const ids = new DomainIds();
    assert.deepEqual([ids.take(), ids.take(), ids.take(), ids.take()], [2, 3, 4, 5]);
    ids.give(4);
    ids.give(2);
    assert.deepEqual([ids.take(), ids.take(), ids.take()], [2, 4, 6]);
  });

  it('run out, and are there again when one is given back', () => {
    const ids = new DomainIds();
    for (let id = 2; id < 65536; id++) assert.equal(ids.take(), id);
    assert.equal(ids.take(), -1);
    ids.give(777);
    assert.deepEqual([ids.take(), ids.take()], [777, -1]);
  });
});
