// The classes over the addon, dropped without a word while something of them is under way.
import assert from 'node:assert/strict';
import type { Told } from './collected-classes-child.js';
import { runChild } from './support.js';

describe('addon: objects that are dropped and collected at every await', function () {
  // Other processes are started, and machines are busy.
  this.timeout(60_000);
  let told: Told;

  before(() => {
    told = runChild('collected-classes-child.js') as Told;
  });

  it('end their waits and keep their windows', () => {
    assert.deepEqual([told.counted, told.read], [30, 30 * 7]);
  });

  it('leave nothing, and are warned of', () => {
    assert.deepEqual(told.after, told.before);
    assert.deepEqual(told.warnings, ['IOMMUFD_COLLECTED']);
  });
});
