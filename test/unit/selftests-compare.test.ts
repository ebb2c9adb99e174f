// What the kernel's test programs print, and how two kernels' answers are held against each other.
import assert from 'node:assert/strict';
import { compare, type Verdict } from '../selftests/compare.js';
import { type Outcome, parseTap } from '../selftests/tap.js';

const ALL = { hugePages: true, faults: true };

function cases(outcomes: Readonly<Record<string, Outcome>>) {
  return Object.entries(outcomes).map(([name, outcome]) => ({ name, outcome, why: [`${name} says`] }));
}
function outcomes(verdicts: readonly Verdict[]): Record<string, Outcome> {
  return Object.fromEntries(verdicts.map(({ name, outcome }) => [name, outcome]));
}

describe('what a test program prints', () => {
  it('is cases, with what was said about each', () => {
    const text = [
      ...['TAP version 13', '1..3', '# Starting 3 tests from 2 test cases.'],
      ...['#  RUN           global.a ...', '#            OK  global.a', 'ok 1 global.a'],
      ...['#  RUN           global.b ...', '# x.c:7:b:Expected 0 (0) == 1 (1)', 'not ok 2 global.b'],
      ...['#      SKIP      not here', 'ok 3 f.v.c # SKIP not here', '# Totals: pass:1 fail:1'],
    ].join('\n');
    assert.deepEqual(parseTap(text), [
      { name: 'global.a', outcome: 'passed', why: [] },
      { name: 'global.b', outcome: 'failed', why: ['x.c:7:b:Expected 0 (0) == 1 (1)'] },
      { name: 'f.v.c', outcome: 'skipped', why: ['SKIP      not here'] },
    ]);
  });

  it('is an error where it ends before its plan, or has none', () => {
    assert.throws(() => parseTap('1..2\nok 1 a'), /to run 2 cases, and ran 1$/);
    assert.throws(() => parseTap('ok 1 a'), /to run 0 cases, and ran 1$/);
    assert.throws(() => parseTap(''), /printed no plan/);
  });
});

describe('a test program on two kernels', () => {
  it('passes, fails and skips the same', () => {
    const real = cases({ a: 'passed', b: 'skipped' });
    assert.deepEqual(outcomes(compare(real, real, ALL)), { a: 'passed', b: 'skipped' });
  });

  it('fails what the real one passes, or skips, and the emulated one does not', () => {
    const real = cases({ a: 'passed', b: 'passed', c: 'skipped', d: 'skipped', e: 'passed' });
    const emulated = cases({ a: 'failed', b: 'skipped', c: 'passed', d: 'failed' });
    const verdicts = compare(real, emulated, ALL);
    assert.deepEqual(new Set(Object.values(outcomes(verdicts))), new Set(['failed']));
    assert.equal(verdicts[0]?.reason, 'failed on the emulated kernel, to be passed: a says');
    assert.equal(verdicts[4]?.reason, 'it was not run on the emulated kernel');
  });

  it('fails a case of one of them alone', () => {
    const [verdict] = compare([], cases({ a: 'passed' }), ALL);
    assert.deepEqual(verdict, { name: 'a', outcome: 'failed', reason: 'it was not run on the real kernel' });
  });

  it('is to pass here what the real kernel fails by a defect that is known, and no other', () => {
    const real = cases({ 'iommufd_ioas.no_domain.dmabuf_simple': 'failed', other: 'failed' });
    const passing = cases({ 'iommufd_ioas.no_domain.dmabuf_simple': 'passed', other: 'passed' });
    assert.deepEqual(Object.values(outcomes(compare(real, passing, ALL))), ['passed', 'failed']);
    assert.deepEqual(Object.values(outcomes(compare(real, real, ALL))), ['failed', 'failed']);
  });

  it('is excused from cases with huge pages where there are none', () => {
    const real = cases({ 'iommufd_mock_domain.one_domain_hugepage.basic': 'passed', a: 'passed' });
    const emulated = cases({ 'iommufd_mock_domain.one_domain_hugepage.basic': 'failed', a: 'failed' });
    assert.deepEqual(Object.values(outcomes(compare(real, emulated, { ...ALL, hugePages: false }))), [
      'skipped',
      'failed',
    ]);
    assert.deepEqual(Object.values(outcomes(compare(real, emulated, ALL))), ['failed', 'failed']);
  });

  it('is excused from failing allocations where nobody may mount', () => {
    const real = cases({ 'basic_fail_nth.device': 'passed', a: 'passed' });
    const emulated = cases({ 'basic_fail_nth.device': 'skipped', a: 'skipped' });
    assert.deepEqual(Object.values(outcomes(compare(real, emulated, { ...ALL, faults: false }))), [
      'skipped',
      'failed',
    ]);
    assert.deepEqual(Object.values(outcomes(compare(real, emulated, ALL))), ['failed', 'failed']);
  });
});
