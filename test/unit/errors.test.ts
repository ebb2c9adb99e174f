// What errors say: codes, hints, arguments, and their JSON.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { testIoctls } from '../../lib/emulated/hardware/selftest/uapi.js';
import { IommufdError, jsonSafe, show, UsageError } from '../../lib/host/errors.js';
import { hintFor } from '../../lib/host/hints.js';
import { ERRNO, iommufdIoctls, vfio_device_feature_index, vfioIoctls } from '../../lib/uapi/index.js';

/** What is called so in errors, though no single call has the name. */
const OURS = ['DMA read', 'DMA write', 'vEVENT', 'MMIO', 'migration read', 'migration write'];
const FEATURES = Object.keys(vfio_device_feature_index.values);
/** System calls that refusals are named after. */
const SYSTEM_CALLS = [
  'open',
  'close',
  'read',
  'write',
  'pread',
  'pwrite',
  'mmap',
  'munmap',
  'madvise',
  'memfd_create',
  'fcntl',
  'epoll_ctl',
  'stat',
  'eventfd',
];

/** The table itself, which the module keeps to itself: read from the compiled file. */
async function hintTable(): Promise<Map<string, string[]>> {
  const source = readFileSync(fileURLToPath(new URL('../../lib/host/hints.js', import.meta.url)), 'utf8');
  const module: { HINTS: Readonly<Record<string, Readonly<Record<string, string>>>> } = await import(
    `data:text/javascript,${encodeURIComponent(`${source}\nexport { HINTS };`)}`
  );
  return new Map(Object.entries(module.HINTS).map(([call, hints]) => [call, Object.keys(hints)]));
}

describe('errors', () => {
  it('says what was refused, why, with which arguments, and what to do', () => {
    const error = new IommufdError('IOMMU_DESTROY', -16, { id: 7, type: 'ioas' }, 'held by device 3');
    assert.equal(error.code, 'EBUSY');
    assert.equal(error.errno, -16);
    assert.equal(error.syscall, 'IOMMU_DESTROY');
    assert.equal(error.hint, hintFor('IOMMU_DESTROY', 'EBUSY'));
    assert.equal(
      error.message,
      `IOMMU_DESTROY: EBUSY, in use (id 7, type "ioas") - held by device 3\n  hint: ${error.hint}`,
    );
    assert.equal(error.name, 'IommufdError');
  });

  it('leaves out what is not there', () => {
    const error = new IommufdError('fork', -11);
    assert.equal(error.message, 'fork: EAGAIN, not now, try again');
    assert.equal(error.hint, undefined);
    assert.deepEqual(error.args, {});
  });

  it('has a code for an errno without a name', () => {
    assert.equal(new IommufdError('read', -524).code, 'errno 524');
    assert.match(new IommufdError('read', -524).message, /unknown error/);
  });

  it('goes through JSON, 64-bit values included', () => {
    const args = { iova: 0x1_0000_0000n, list: [1n, 2], inner: { length: 4096n }, empty: undefined };
    const json = JSON.parse(JSON.stringify(new IommufdError('IOMMU_IOAS_MAP', -17, args)));
    assert.deepEqual(json.args, { iova: '0x100000000', list: ['0x1', 2], inner: { length: '0x1000' } });
    assert.equal(json.code, 'EEXIST');
    assert.equal(json.errno, -17);
    assert.match(json.hint, /unmap it first/);
    assert.match(json.message, /^IOMMU_IOAS_MAP: EEXIST/);
  });

  it('shows values as people read them', () => {
    assert.equal(show(255n), '255');
    assert.equal(show(256n), '0x100');
    assert.equal(show('a"b'), '"a\\"b"');
    assert.equal(show('x'.repeat(100)).length, 80 + 5);
    assert.equal(show([1n, 'a', null]), '[1, "a", null]');
    assert.equal(show(Array(9).fill(0)), '[0, 0, 0, 0, 0, 0, 0, 0, ...]');
    assert.equal(show(new Map()), 'an instance of Map');
    assert.equal(show(Object.create(null)), 'an instance of Object');
    assert.equal(show(class Uart {}), 'the function Uart');
    assert.equal(
      show(() => 1),
      'a function',
    );
    assert.equal(show(undefined), 'undefined');
    assert.equal(jsonSafe(null), null);
  });

  it('tells the misuse of something gone by its code and cause', () => {
    const cause = new Error('below');
    const error = new UsageError('ERR_IOMMUFD_BUSY', 'busy', { cause });
    assert.deepEqual(
      [error.name, error.code, error.message, error.cause],
      ['UsageError', 'ERR_IOMMUFD_BUSY', 'busy', cause],
    );
  });
});

describe('hints', () => {
  let table: Map<string, string[]>;
  before(async () => {
    table = await hintTable();
  });

  it('are found where they stand', () => {
    assert(table.size > 20);
    for (const [call, names] of table) {
      assert(names.length > 0, `${call} has no hints`);
      for (const name of names) assert.equal(typeof hintFor(call, name), 'string', `${call} ${name}`);
    }
  });

  it('stand under names of real calls', () => {
    const ioctls = [...iommufdIoctls, ...vfioIoctls, ...testIoctls].map((op) => op.name);
    const real = new Set([...ioctls, ...FEATURES, ...SYSTEM_CALLS, ...OURS]);
    for (const call of table.keys()) if (call !== '*') assert(real.has(call), `${call} is no call`);
  });

  it('stand under names of real errors', () => {
    for (const [call, names] of table) {
      for (const name of names) assert(Object.hasOwn(ERRNO, name), `${call}: ${name} is no errno`);
    }
  });

  it('of one call say more than those of all calls', () => {
    for (const [call, names] of table) {
      if (call === '*') continue;
      for (const name of names) assert.notEqual(hintFor(call, name), hintFor('any other', name), `${call} ${name}`);
    }
  });

  it('are there for every ioctl where none of its own stands, and for nothing else', () => {
    for (const op of iommufdIoctls) assert.equal(typeof hintFor(op.name, 'ENOTTY'), 'string', op.name);
    assert.equal(hintFor('IOMMU_DESTROY', 'EXDEV'), undefined);
    assert.equal(hintFor('any other', 'EINVAL'), undefined);
  });

  it('do not blame the library for an fd that a caller gave', () => {
    assert.doesNotMatch(hintFor('fcntl', 'EBADF') ?? '', /behind the library/);
    assert.doesNotMatch(hintFor('mmap', 'EBADF') ?? '', /behind the library/);
  });

  it('do not send to probe() where the file is no iommufd at all', () => {
    assert.doesNotMatch(hintFor('IOMMU_DESTROY', 'ENOTTY') ?? '', /probe/);
  });

  it('are single sentences that do not end in a full stop or a line break', () => {
    for (const [call, names] of table) {
      for (const name of names) assert.match(hintFor(call, name) ?? '', /^\S[^\n]*[^.\s]$/, `${call} ${name}`);
    }
  });
});
