// What is made half and then refused: a process that is out of fds, of address space or of mappings hears so, and keeps
// nothing of what was begun.
import assert from 'node:assert/strict';
import type { Told } from './failing-child.js';
import { errno, runChildWith, sanitized } from './support.js';

const EMFILE = -24;

function run(way: string, ...flags: string[]): Told {
  const told = runChildWith(flags, 'failing-child.js', way) as Told;
  assert.deepEqual(
    Object.values(told.unlimited).filter((made) => !made),
    [],
    'all calls are made, where nothing is short',
  );
  assert(told.failures > 0);
  // Of mappings the engine may have its own.
  const { mappings: before, ...keptBefore } = told.before;
  const { mappings: after, ...keptAfter } = told.after;
  assert.deepEqual(keptAfter, keptBefore);
  assert(after - before < 20, `${before} mappings, and ${after} afterwards`);
  return told;
}

describe('addon: a process that is short of something', function () {
  this.timeout(60_000);

  it('hears that it has no more fds, at every step that takes one', () => {
    const { answers } = run('fds');
    const made = ['createEventfd', 'duplicate', 'open', 'memfd', 'importMemory', 'watchOpen'];
    assert.deepEqual(answers, Object.fromEntries(made.map((name) => [name, [EMFILE]])));
  });

  it('hears that it has no more address space, and keeps no fd of what was begun', function () {
    // The sanitizer takes memory of its own at any time, and ends the process where it gets none.
    if (sanitized) this.skip();
    const { answers } = run('addresses');
    const made = ['memfd', 'anonymous', 'block', 'importMemory', 'mapMmio'];
    assert.deepEqual(answers, Object.fromEntries(made.map((name) => [name, [errno.ENOMEM]])));
  });

  it('hears that it has no more mappings, and keeps none of a block that was begun', function () {
    // The sanitizer takes memory of its own at any time, and ends the process where it gets none.
    if (sanitized) this.skip();
    // V8 compiles and collects on threads of its own, too (src/compiler-dispatcher): malloc takes a mapping there, and where
    // it gets none, the process ends. Here it does neither.
    assert.deepEqual(run('mappings', '--single-threaded', '--no-opt', '--no-sparkplug').answers, {
      block: [errno.ENOMEM],
    });
  });
});
