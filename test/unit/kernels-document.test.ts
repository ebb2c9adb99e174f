// docs/kernels.md against the tables: everything that came after Linux 6.2 stands there, with the release that brought it.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { IommufdError } from '../../lib/host/errors.js';
import { iommufdIoctls, vfioIoctls } from '../../lib/uapi/index.js';
import { additions, featureSince, isOlder } from '../../lib/uapi/releases.js';

const page = readFileSync(fileURLToPath(new URL('../../../docs/kernels.md', import.meta.url)), 'utf8');
/** What the table says of each release: of one with several rows, all. */
const rows = new Map<string, string>();
for (const [, release = '', text = ''] of page.matchAll(/^\| (\d+\.\d+) \| ([^|]*)/gm)) {
  rows.set(release, `${rows.get(release) ?? ''} ${text}`);
}

const all: readonly (readonly [what: string, since: string])[] = [
  ...[...iommufdIoctls, ...vfioIoctls].map(({ name, since }) => [name, since] as const),
  ...additions.map(({ what, since }) => [what, since] as const),
  ...Object.entries(featureSince),
].filter(([, since]) => isOlder('6.5', since));

describe('docs/kernels.md', () => {
  it('has every call, flag and feature in the row of its release', () => {
    assert(all.length > 20);
    for (const [what, since] of all) assert(rows.get(since)?.includes(what), `${what} (${since})`);
  });

  it('names nothing under a release that the tables do not have there', () => {
    for (const [release, text] of rows) {
      for (const [name = ''] of text.matchAll(/\b(IOMMU|VFIO)_[A-Za-z0-9_]+/g)) {
        const found = all.filter(([what]) => what.split(' ')[0] === name).map(([, since]) => since);
        assert(found.includes(release), `${name} is not of ${release}, but of ${found}`);
      }
    }
  });

  it('is in the order of releases', () => {
    const releases = [...rows.keys()];
    for (const [i, release] of releases.entries()) {
      const next = releases[i + 1];
      assert(next === undefined || isOlder(release, next), release);
    }
  });

  it('shows what an error says', () => {
    const release = '6.12.95+deb12-amd64';
    const error = new IommufdError('IOMMU_VIOMMU_ALLOC', -25, { dev_id: 3, hwpt_id: 5, type: 1 }, undefined, release);
    assert(page.includes(error.message.replace(/Instead: .*/, 'Instead: ...')), error.message);
  });
});
