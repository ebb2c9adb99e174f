// Many lives of everything, one after another: the process does not grow by them.
import assert from 'node:assert/strict';
import type { Told } from './cycles-child.js';
import { atLength, runChild, sanitized } from './support.js';

const CYCLES = atLength ? 100_000 : 20_000;

describe('addon: many cycles of opening, mapping, unmapping and closing', function () {
  // Other processes are started, and machines are busy.
  this.timeout(atLength ? 1_200_000 : 60_000);
  let told: Told;

  before(() => {
    told = runChild('cycles-child.js', `${sanitized && !atLength ? CYCLES / 4 : CYCLES}`) as Told;
  });

  it('leave no fd, region or handle', () => {
    const [first, second, third] = told.thirds.map(({ rss: _rss, mappings: _mappings, ...left }) => left);
    assert.equal(told.told, told.cycles);
    assert.ok(first !== undefined);
    assert.deepEqual([second, third], [first, first]);
  });

  it('do not make the process larger from the first third to the last', () => {
    const [first, , third] = told.thirds;
    assert.ok(first !== undefined && third !== undefined);
    if (atLength) console.log(`      RSS, MiB: ${told.thirds.map(({ rss }) => (rss / 2 ** 20).toFixed(1)).join(', ')}`);
    // What 13,000 cycles would leave, were it a page each, is as much as the whole process has.
    assert.ok(third.rss < 1.25 * first.rss, `RSS grew from ${first.rss} to ${third.rss}`);
    assert.ok(third.mappings < 1.1 * first.mappings, `mappings: ${first.mappings}, then ${third.mappings}`);
  });
});
