// How lanes are compared: what counts as a difference, and what cannot be compared.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createEmulatedHost } from '../../lib/emulated-host.js';
import { hostSeam } from '../../lib/unsafe.js';
import { Recorder } from '../rig/recorder.js';
import { compare, readResults } from '../vm/compare.js';
import { countCases } from '../vm/suites.js';

interface Line {
  readonly title: string;
  readonly outcome: string;
  readonly message?: string;
  readonly calls?: readonly string[];
  readonly lacking?: { readonly what: string; readonly since: string };
}

function results(...lines: readonly Line[]) {
  const folder = mkdtempSync(path.join(tmpdir(), 'iommufd-results-'));
  try {
    const file = path.join(folder, 'cases');
    writeFileSync(file, lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
    return readResults(file);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function differences(left: readonly Line[], right: readonly Line[]): readonly string[] {
  return compare(['one', 'other'], results(...left), results(...right)).differences;
}

const passed = (calls: readonly string[] = []): Line => ({ title: 'group/case: what', outcome: 'passed', calls });

describe('comparison of lanes', () => {
  it('finds nothing where outcome and calls agree', () => {
    const { compared, differences, oneSided } = compare(
      ['one', 'other'],
      results(passed(['MAP 0'])),
      results(passed(['MAP 0'])),
    );
    assert.deepEqual([compared, differences, oneSided], [1, [], []]);
  });

  it('tells another answer, another field, more calls and fewer', () => {
    assert.match(differences([passed(['MAP 0', 'MAP EEXIST'])], [passed(['MAP 0', 'MAP 0'])])[0] ?? '', /after: MAP 0/);
    assert.equal(differences([passed(['MAP 0 iova=1'])], [passed(['MAP 0 iova=2'])]).length, 1);
    assert.match(differences([passed(['MAP 0'])], [passed()])[0] ?? '', /other: \(nothing\)/);
    assert.equal(differences([passed()], [passed(['MAP 0'])]).length, 1);
  });

  it('tells another outcome, also of two failures', () => {
    const failed = (message: string): Line => ({ title: 'group/case: what', outcome: 'failed', message, calls: [] });
    assert.match(differences([passed()], [failed('why')])[0] ?? '', /other: failed why/);
    assert.equal(differences([failed('a')], [failed('b')]).length, 1);
    assert.equal(differences([failed('a')], [failed('a')]).length, 0);
  });

  it('takes two kernels for alike that lack the same, and tells where they do not', () => {
    const lacks = (what: string): Line => ({
      title: 'group/case: what [old]',
      outcome: 'skipped',
      lacking: { what, since: '6.13' },
    });
    const alike = compare(['one', 'other'], results(lacks('A')), results(lacks('A')));
    assert.deepEqual([alike.compared, alike.lacking, alike.differences, alike.oneSided], [0, 1, [], []]);
    assert.match(differences([lacks('A')], [lacks('B')])[0] ?? '', /one: lacks A \(6\.13\)\n {2}other: lacks B/);
    assert.match(differences([lacks('A')], [passed()])[0] ?? '', /one: lacks A \(6\.13\)\n {2}other: passed/);
    assert.match(differences([passed()], [lacks('A')])[0] ?? '', /one: passed\n {2}other: lacks A/);
  });

  it('tells a case that one lane does not have', () => {
    assert.equal(differences([passed()], []).length, 1);
    assert.equal(differences([], [passed()]).length, 1);
  });

  it('names what one of them skipped, and why', () => {
    const skipped: Line = { title: 'group/case: what [no hardware]', outcome: 'skipped' };
    const comparison = compare(['one', 'other'], results(skipped), results(passed()));
    assert.deepEqual([comparison.compared, comparison.differences.length], [0, 0]);
    assert.deepEqual(comparison.oneSided, ['group/case: what [no hardware]']);
  });

  it('records answers and fields, without what no two kernels share', () => {
    const host = createEmulatedHost();
    const recorder = new Recorder();
    recorder.listen(hostSeam(host));
    const iommufd = host.openIommufd();
    recorder.take();
    const ioas = iommufd.allocIoas();
    const ram = host.allocateMemory(4096, { backing: 'anonymous' });
    const iova = ioas.map(ram);
    assert.throws(() => ioas.map(ram, { iova }), { code: 'EEXIST' });
    ioas.map(ram, { iova: 0x8000n });
    assert.deepEqual(recorder.take(), [
      'IOMMU_IOAS_ALLOC 0 size=12 flags=0 out_ioas_id=1',
      'IOMMU_IOAS_MAP 0 size=40 flags=6 ioas_id=1 __reserved=0 length=4096 iova=chosen 0',
      'IOMMU_IOAS_MAP EEXIST size=40 flags=7 ioas_id=1 __reserved=0 length=4096 iova=chosen 0',
      'IOMMU_IOAS_MAP 0 size=40 flags=7 ioas_id=1 __reserved=0 length=4096 iova=32768',
    ]);
    iommufd.close();
  });

  it('records calls of VFIO devices, but not how often their interrupts come', () => {
    const host = createEmulatedHost({ devices: [{ address: '0000:00:05.0', model: 'edu' }] });
    const seam = hostSeam(host);
    const recorder = new Recorder();
    recorder.listen(seam);
    const iommufd = host.openIommufd();
    const edu = host.openDevice('0000:00:05.0');
    edu.bind(iommufd);
    recorder.take();
    const [vector] = edu.interrupts('msi').enable();
    vector?.trigger();
    assert.equal(vector?.drain(), 1n);
    edu.config.enable({ memory: false });
    assert.throws(() => edu.region('bar0').read32(0), { code: 'EIO' });
    assert.throws(() => edu.reset(), { code: 'EINVAL' });
    const lines = recorder.take();
    const told = (start: string) => lines.filter((line) => line.startsWith(start));
    assert.deepEqual(told('VFIO_DEVICE_SET_IRQS'), [
      'VFIO_DEVICE_SET_IRQS 0 argsz=24 flags=36 index=1 start=0 count=1',
      'VFIO_DEVICE_SET_IRQS 0 argsz=20 flags=33 index=1 start=0 count=1',
    ]);
    assert.deepEqual(told('pread'), ['pread EIO']);
    assert.deepEqual([told('VFIO_DEVICE_RESET'), told('read')], [['VFIO_DEVICE_RESET EINVAL'], []]);
    iommufd.close();
  });
});

describe('what a machine ran', () => {
  it('is counted by outcome', () => {
    const line = (outcome: string) => `${JSON.stringify({ title: 'group/case: what', outcome })}\n`;
    const text = ['passed', 'skipped', 'passed', 'failed'].map(line).join('');
    assert.deepEqual(countCases(text), { passed: 2, failed: 1, skipped: 1 });
    assert.deepEqual(countCases(''), { passed: 0, failed: 0, skipped: 0 });
  });
});
