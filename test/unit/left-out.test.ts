// Which operations ran on no machine of the lane: only those that a reason is given for.
import assert from 'node:assert/strict';
import { OPERATIONS } from '../rig/memory-operations.js';
import { wronglyLeftOut } from '../vm/left-out.js';

type Outcome = 'passed' | 'failed' | 'skipped';
const results = (outcomes: Readonly<Record<string, Outcome>>) =>
  Object.entries(outcomes)
    .map(([title, outcome]) => JSON.stringify({ title, outcome }))
    .join('\n');

/** What is said to run nowhere. */
const EXCUSED = wronglyLeftOut('').map((line) => line.split(' is said')[0] ?? '');
const excused = Object.fromEntries(EXCUSED.map((name) => [`${name} [why]`, 'skipped' as const]));

describe('operations that no machine of the lane can do', () => {
  it('are operations', () => {
    const names = OPERATIONS.map(({ name }) => name);
    assert(EXCUSED.length > 0);
    for (const name of EXCUSED) assert(names.includes(name), name);
  });

  it('have a reason, unless one machine ran them', () => {
    const here = {
      ...excused,
      'Ioas.map [no such device]': 'skipped',
      'Ioas.copy [no such device]': 'skipped',
    } as const;
    const there = { ...excused, 'Ioas.map (3 refused, 1 worked)': 'passed' } as const;
    assert.deepEqual(wronglyLeftOut(`${results(here)}\n${results(there)}\n`), [
      'Ioas.copy ran on no machine, and nothing says why',
    ]);
    assert.deepEqual(wronglyLeftOut(results(excused)), []);
  });

  it('do not run', () => {
    const [name = ''] = EXCUSED;
    const wrong = wronglyLeftOut(`${results(excused)}\n${results({ [`${name} (1 refused, 0 worked)`]: 'passed' })}`);
    assert.deepEqual(wrong, [`${name} is said to run nowhere, which is not so`]);
  });
});
