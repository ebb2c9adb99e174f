// What a lane's results become in test/transcripts: tried on a copy of nothing, in a group that no suite has.
import assert from 'node:assert/strict';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { fileOf, parseCases } from '../rig/transcripts.js';
import { checkout } from '../vm/checkout.js';
import type { CaseResult } from '../vm/compare.js';
import { record } from '../vm/record.js';

const GROUP = 'no-suite-has-this';
const file = path.join(checkout, fileOf('mock', GROUP));

const result = (id: string, more: Partial<CaseResult>): CaseResult => ({
  ...{ title: `${GROUP}/${id}: what`, outcome: 'passed', calls: ['{"a":1}'] },
  ...more,
});

describe('recording the suites', () => {
  afterEach(() => rmSync(file, { force: true }));

  function recorded(...results: CaseResult[]) {
    const told: unknown[] = [];
    const { log } = console;
    console.log = (line) => told.push(line);
    try {
      // Not the whole: nothing else may go.
      record('mock', results, false);
    } finally {
      console.log = log;
    }
    const cases = existsSync(file) ? parseCases(readFileSync(file, 'utf8'), file) : undefined;
    return { cases: cases && Object.fromEntries(cases), told };
  }

  it('writes what passed, why others were not run, and that answers are no promise', () => {
    const { cases } = recorded(
      result('b', {}),
      result('a', { title: `${GROUP}/a: what [no such device]`, outcome: 'skipped', calls: [] }),
      result('c', { compareCalls: false, calls: [] }),
    );
    assert.deepEqual(cases, {
      [`${GROUP}/a`]: { lines: [], without: 'no such device' },
      [`${GROUP}/b`]: { lines: ['{"a":1}'] },
      [`${GROUP}/c`]: { lines: [], without: 'what is answered depends on the hardware, or on where memory lies' },
    });
  });

  it('records no failure, and says so', () => {
    const { cases, told } = recorded(result('a', { outcome: 'failed' }));
    assert.equal(cases, undefined);
    assert.match(String(told[0]), /not recorded, since it failed: no-suite-has-this\/a$/);
  });
});
