// What is dropped without being closed is warned about and given back; nothing correct depends on that.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Report } from './collected-child.js';
import { NOTHING } from './stage.js';

const child = fileURLToPath(new URL('./collected-child.js', import.meta.url));

function run(scenario: string): Report {
  const args = ['--expose-gc', '--no-warnings', child, scenario];
  const { stdout, stderr, status } = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 30_000 });
  assert.equal(status, 0, `${stderr}\n${stdout}`);
  return JSON.parse(stdout);
}

/** The warnings, each checked for its code, as what they are about. */
function warned({ warnings }: Report): string[] {
  return warnings.map((warning) => {
    const about = /^IOMMUFD_COLLECTED: (?:an? )?(.*?) (?:of \d+ bytes )?was collected without/.exec(warning)?.[1];
    assert(about !== undefined, `another warning: ${warning}`);
    return about;
  });
}

describe('collected without being closed', function () {
  this.timeout(40_000);

  it('an Iommufd is warned about, and its fd closed', () => {
    const report = run('iommufd');
    assert.deepEqual(warned(report), ['Iommufd']);
    assert.deepEqual(report.after, NOTHING);
  });

  it('nothing is warned about what was closed and freed', () => {
    const report = run('closed');
    assert.deepEqual(report.warnings, []);
    assert.deepEqual(report.end, NOTHING);
  });

  it('an Iommufd is kept by any object made from it', () => {
    const report = run('kept');
    assert.deepEqual([report.warnings, report.after.fds], [[], 1]);
  });

  for (const scenario of ['fault queue', 'left iterator']) {
    it(`an Iommufd is given back with an open event queue (${scenario})`, () => {
      const report = run(scenario);
      assert.deepEqual(warned(report), ['Iommufd']);
      assert.deepEqual(report.after, NOTHING);
    });
  }

  for (const [scenario, fds] of [
    ['waiting for a fault', 2],
    ['waiting for an event', 3],
  ] as const) {
    it(`an Iommufd stays while somebody is ${scenario}`, () => {
      const report = run(scenario);
      assert.deepEqual(report.warnings, []);
      assert.deepEqual([report.after.fds, report.after.watches], [fds, 1]);
    });
  }

  for (const scenario of ['memory', 'memory with a window']) {
    it(`${scenario} is warned about, and left to its windows`, () => {
      const report = run(scenario);
      assert.deepEqual(warned(report), ['DmaMemory']);
      assert.deepEqual([report.after.regions, report.dropped], [0, 1]);
    });
  }

  it('memory that is mapped is neither warned about nor given back before it is unmapped', () => {
    const report = run('mapped memory');
    assert.deepEqual([report.warnings, report.after.regions, report.end.regions], [[], 1, 0]);
  });

  it('memory outlives an Iommufd that was dropped with a mapping of it', () => {
    const report = run('memory of a dropped iommufd');
    assert.deepEqual(warned(report), ['Iommufd']);
    assert.deepEqual(report.after, { ...NOTHING, regions: 1 });
    assert.deepEqual(report.end, NOTHING);
  });

  it('a VfioDevice is warned about, and its fd closed', () => {
    const report = run('vfio');
    assert.deepEqual(warned(report), ['VfioDevice']);
    assert.equal(report.after.fds, 1);
  });

  it('a VfioDevice is kept by the Iommufd it is bound to', () => {
    const report = run('bound vfio');
    assert.deepEqual([report.warnings, report.after.fds], [[], 2]);
  });

  it('an MMIO mapping is warned about, and unmapped', () => {
    const report = run('mmio');
    assert.deepEqual(warned(report).sort(), ['Iommufd', 'MMIO mapping', 'VfioDevice']);
    assert.deepEqual([report.after.regions, report.dropped], [0, 1]);
    assert.deepEqual(report.end, NOTHING);
  });

  it('an eventfd is warned about, and closed', () => {
    const report = run('eventfd');
    assert.deepEqual(warned(report).sort(), ['Eventfd', 'Iommufd']);
    assert.deepEqual(report.after, NOTHING);
  });

  it('an eventfd stays while somebody waits for it', () => {
    const report = run('waiting for an eventfd');
    assert.deepEqual(warned(report), ['Iommufd']);
    assert.deepEqual([report.after.fds, report.after.watches], [1, 1]);
  });

  it('the buffer of a dirty bitmap is given back without a word', () => {
    const report = run('dirty bitmap');
    assert.deepEqual([report.warnings, report.after.regions, report.dropped], [[], 0, 1]);
  });
});
