// How cases are held against their transcripts: what counts as a difference, what does not and why, and that no transcript
// is left of a case that is not there any more.
import assert from 'node:assert/strict';
import type { Suite } from 'mocha';
import type { Line } from '../../lib/recording/transcript.js';
import { comparable } from '../rig/comparable.js';
import {
  casesText,
  committed,
  committedGroups,
  differenceTo,
  fileOf,
  fold,
  groupOf,
  LANES,
  missingIn,
  parseCases,
} from '../rig/transcripts.js';

const map = (given: Line, out: Line = {}, result: Line['result'] = 0): Line => ({
  ...{ call: 'ioctl', fd: 'fd:0', name: 'IOMMU_IOAS_MAP' },
  in: {
    size: 40,
    flags: 7,
    ioas_id: 1,
    user_va: 'mem:0+0x0',
    length: '0x2000',
    iova: '0x1000000',
    ...(given as object),
  },
  ...{ result, out },
});
const unmap = (iova: string): Line => ({
  ...{ call: 'ioctl', fd: 'fd:0', name: 'IOMMU_IOAS_UNMAP' },
  ...{ in: { size: 24, ioas_id: 1, iova, length: '0x1000' }, result: 0 },
});
const read = (value: string, offset = '0x8'): Line => ({ call: 'read32', region: 'mmio:0', offset, value });
const same = (one: readonly Line[], other: readonly Line[]) => assert.deepEqual(comparable(one), comparable(other));
const differ = (one: readonly Line[], other: readonly Line[]) =>
  assert.notDeepEqual(comparable(one), comparable(other));

const withLine = (lines: readonly string[], at: number, line: string) =>
  lines.map((other, index) => (index === at ? line : other));

/** The suites' cases that this process has loaded. */
function loadedCases(from: Suite | undefined): Set<string> {
  let root = from;
  while (root?.parent !== undefined) root = root.parent;
  const ids = new Set<string>();
  root?.eachTest(({ title }) => ids.add(title.slice(0, title.indexOf(':'))));
  // Other tests have names with a colon too.
  return new Set([...ids].filter((id) => id.includes('/')));
}

describe('what cases are compared by', () => {
  it('tells a call by its fields, those that are 0 aside', () => {
    assert.deepEqual(comparable([map({}, {}, 'EEXIST')]), [
      '{"ioctl":"IOMMU_IOAS_MAP","fd":"fd:0","in":{"flags":7,"ioas_id":1,"user_va":"mem:0+0x0","length":"0x2000","iova":"0x1000000"},"result":"EEXIST"}',
    ]);
    assert.match(comparable([map({ size: 48 })])[0] ?? '', /"size":48/);
  });

  it('finds another errno, another field, another order, and a call more', () => {
    differ([map({})], [map({}, {}, 'EEXIST')]);
    differ([map({})], [map({}, {}, 1)]);
    differ([map({})], [map({ iova: '0x2000000' })]);
    differ([map({}), unmap('0x1000000')], [unmap('0x1000000'), map({})]);
    differ([map({})], [map({}), map({})]);
    differ([map({})], [map({}, { iova: '0x3000' })]);
  });

  it('does not compare IOVAs that the kernel chose, but where in them something is', () => {
    const chosen = (iova: string) => map({ flags: 6, iova: '0x0' }, { iova });
    same([chosen('0x10000'), unmap('0x11000')], [chosen('0x5550000'), unmap('0x5551000')]);
    differ([chosen('0x10000'), unmap('0x11000')], [chosen('0x5550000'), unmap('0x5550000')]);
    differ([map({}), unmap('0x11000')], [map({}), unmap('0x5551000')]);
  });

  it('does not compare where a copy went that the kernel placed, nor a mapping of the thread pool', () => {
    const copy = (flags: number, dst: string): Line => ({
      ...{ call: 'ioctl', fd: 'fd:0', name: 'IOMMU_IOAS_COPY', result: 0 },
      ...{ in: { flags, dst_iova: '0x0', src_iova: '0x1000', length: '0x2000' }, out: { dst_iova: dst } },
    });
    same([copy(6, '0x10000'), unmap('0x11000')], [copy(6, '0x50000'), unmap('0x51000')]);
    differ([copy(6, '0x10000'), unmap('0x11000')], [copy(6, '0x50000'), unmap('0x50000')]);
    differ([copy(7, '0x10000')], [copy(7, '0x50000')]);
    const asked: Line = { ...map({ flags: 6, iova: '0x0' }), result: undefined, job: 'job:0' };
    const done = (iova: string): Line => ({ event: 'done', job: 'job:0', result: 0, out: { iova } });
    same([asked, done('0x10000'), unmap('0x11000')], [asked, done('0x50000'), unmap('0x51000')]);
    differ([asked, done('0x10000'), unmap('0x11000')], [asked, done('0x50000'), unmap('0x50000')]);
  });

  it('does not compare how often something was polled, but what came of it', () => {
    same([read('0x0'), read('0x0'), read('0x1')], [read('0x1')]);
    differ([read('0x0'), read('0x2')], [read('0x1')]);
    differ([read('0x1', '0x4'), read('0x1')], [read('0x1')]);
  });

  it('does not compare what sysfs tells, nor the words of what a host throws', () => {
    same([{ call: 'readText', path: '/sys/a', value: 'b' }, map({})], [map({})]);
    const thrown = (message: string, code: string): Line => ({
      ...{ call: 'write8', region: 'mmio:0', offset: '0x0', to: '1' },
      throws: { name: 'TypeError', message, code },
    });
    same([thrown('a', 'ERR_A')], [thrown('b', 'ERR_A')]);
    differ([thrown('a', 'ERR_A')], [thrown('a', 'ERR_B')]);
  });

  it('does not compare when the thread pool was done, but what it answered', () => {
    const job = (name: string): Line => ({ ...unmap('0x1000'), result: undefined, job: name });
    const done = (name: string, result: number | string): Line => ({ event: 'done', job: name, result });
    const [one, two] = [job('job:0'), job('job:1')];
    same([one, two, done('job:0', 0), done('job:1', 'ENOENT')], [one, two, done('job:1', 'ENOENT'), done('job:0', 0)]);
    differ(
      [one, two, done('job:0', 0), done('job:1', 'ENOENT')],
      [one, two, done('job:0', 'ENOENT'), done('job:1', 0)],
    );
  });

  it('does not compare what firmware left in the command register, but what is written to it', () => {
    const command = (call: string, key: string, value: string): Line => ({
      ...{ call, fd: 'fd:0', position: '0x70000000004', result: 2 },
      [key]: value,
    });
    same([command('pread', 'data', '0301')], [command('pread', 'data', '0200')]);
    differ([command('pread', 'data', '0301')], [command('pread', 'data', '0600')]);
    differ([command('pwrite', 'bytes', '0600')], [command('pwrite', 'bytes', '0200')]);
  });

  it('tells what is long by a digest', () => {
    const long = (last: string): Line => ({
      call: 'read',
      fd: 'fd:0',
      length: 999,
      result: 999,
      data: 'ab'.repeat(998) + last,
    });
    assert.match(comparable([long('00')])[0] ?? '', /"1998 characters, sha256 [0-9a-f]{16}"/);
    differ([long('00')], [long('01')]);
  });
});

describe('transcripts of the suites', () => {
  const lines = Array.from({ length: 260 }, (_, i) => `{"call":"close","fd":"fd:${i}"}`);

  it('keep the first lines of long cases, and digests of the others', () => {
    assert.deepEqual(fold(lines.slice(0, 50)), lines.slice(0, 50));
    const folded = fold(lines);
    assert.deepEqual(folded.slice(0, 50), lines.slice(0, 50));
    assert.deepEqual(
      folded.slice(50).map((line) => JSON.parse(line).lines),
      [50, 50, 50, 50, 10],
    );
    const changed = fold(withLine(lines, 155, '{}'));
    assert.deepEqual(
      folded.map((line, i) => line === changed[i]).flatMap((isSame, i) => (isSame ? [] : [i])),
      [52],
    );
  });

  it('are read as they were written, sorted by id', () => {
    const cases = new Map([
      ['group/b', { lines: lines.slice(0, 2) }],
      ['group/a', { lines: [], without: 'why' }],
    ]);
    const text = casesText(cases);
    assert.match(
      text,
      /^\{"format":"iommufd-cases","version":1\}\n\{"case":"group\/a","without":"why"\}\n\{"case":"group\/b"\}\n/,
    );
    assert.deepEqual(parseCases(text, 'text'), new Map([...cases].reverse()));
    assert.throws(() => parseCases('{"case":"a/b"}\n', 'text'), /does not begin with/);
  });

  it('are held: the first difference is told, and a case that has none', () => {
    const [id = '', { lines: kept } = { lines: [] }] = [...committed('mock', 'ioas-unmap')][0] ?? [];
    assert(kept.length > 3 && kept.length < 50);
    assert.equal(differenceTo('mock', id, kept), undefined);
    const told = differenceTo('mock', id, withLine(kept, 2, '{"came":1}')) ?? '';
    assert(told.includes(`after:    ${kept[1]}`) && told.includes(`expected: ${kept[2]}`));
    assert(told.includes('came:     {"came":1}') && told.includes(`--record --grep ${id}:`));
    assert.match(differenceTo('mock', id, kept.slice(0, -1)) ?? '', /came: {5}nothing more/);
    assert.match(differenceTo('mock', id, [...kept, '{}']) ?? '', /expected: nothing more/);
    assert.match(missingIn('mock', 'ioas-unmap/no-such') ?? '', /ioas-unmap\.jsonl has no ioas-unmap\/no-such/);
    assert.deepEqual([missingIn('mock', id), differenceTo('mock', 'ioas-unmap/no-such', [])], [undefined, undefined]);
  });

  it('are of cases that are there', function () {
    const loaded = loadedCases(this.test?.parent);
    const groups = new Set([...loaded].map(groupOf));
    let found = 0;
    for (const lane of LANES) {
      for (const group of committedGroups(lane).filter((name) => groups.has(name))) {
        for (const id of committed(lane, group).keys()) {
          found++;
          assert(loaded.has(id), `${fileOf(lane, group)} has ${id}, which is no case: record it anew`);
        }
      }
    }
    // Where this file runs alone no suite is loaded.
    if (found === 0) this.skip();
  });
});
