// The command `iommufd`: a program is recorded and replayed as it is, by other processes.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { checkout } from '../vm/checkout.js';

const command = fileURLToPath(new URL('../../lib/cli/iommufd.js', import.meta.url));
const example = fileURLToPath(new URL('../../examples/edu-dma.js', import.meta.url));
/** Recorded on Linux 7.3 in QEMU, as docs/recording.md says. */
const realTranscript = path.join(checkout, 'test/transcripts/edu-dma.jsonl');
const library = new URL('../../lib/index.js', import.meta.url).href;

const PROGRAM = `
import { openHost } from '${library}';
const host = openHost({ kind: 'emulated' });
const iommufd = host.openIommufd();
const ioas = iommufd.allocIoas();
const ram = host.allocateMemory(0x4000);
console.log(host.kind, ioas.map(ram, { iova: BigInt(process.argv[2] ?? 0x1000000) }));
iommufd.close();
ram.free();
process.exitCode = Number(process.argv[3] ?? 0);
`;

/** A thread for each argument, which maps there; the first argument is the main thread's, which may open no host. */
const THREADS = `
import { once } from 'node:events';
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import { openHost } from '${library}';
const map = (at) => {
  const host = openHost({ kind: 'emulated' });
  const iommufd = host.openIommufd();
  const ram = host.allocateMemory(0x4000);
  iommufd.allocIoas().map(ram, { iova: BigInt(at) });
  iommufd.close();
  ram.free();
};
if (!isMainThread) map(workerData);
else {
  const [mine, ...others] = process.argv.slice(2);
  if (mine !== 'none') map(mine);
  await Promise.all(others.map((at) => once(new Worker(new URL(import.meta.url), { workerData: at }), 'exit')));
}
`;

describe('the command', function () {
  this.timeout(60_000);
  let folder = '';
  const at = (name: string) => path.join(folder, name);

  before(() => {
    folder = mkdtempSync(path.join(tmpdir(), 'iommufd-test-'));
    writeFileSync(at('program.mjs'), PROGRAM);
    writeFileSync(at('threads.mjs'), THREADS);
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  const run = (...args: string[]) => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [command, ...args], { encoding: 'utf8' });
    return { status, stdout, stderr };
  };
  const program = (...args: string[]) => ['--', process.execPath, at('program.mjs'), ...args];

  it('is a program, as npx wants it', () => {
    // npx makes what it installs one, once; a new checkout in the place of another has to be one already.
    const { status, stderr } = spawnSync(command, [], { encoding: 'utf8' });
    assert.equal(status, 2);
    assert.match(stderr, /^usage: iommufd record FILE/);
  });
  it('records a program, and replays it', () => {
    assert.deepEqual(run('record', at('a.jsonl'), ...program()), {
      status: 0,
      stdout: 'recording 16777216n\n',
      stderr: '',
    });
    assert.match(readFileSync(at('a.jsonl'), 'utf8'), /^\{"format":"iommufd-transcript".*IOMMU_IOAS_MAP_FILE.*\n$/s);
    assert.deepEqual(run('replay', at('a.jsonl'), ...program()), {
      status: 0,
      stdout: 'replay 16777216n\n',
      stderr: '',
    });
  });
  it('fails where the program differs', () => {
    run('record', at('b.jsonl'), ...program());
    const { status, stderr } = run('replay', at('b.jsonl'), ...program('0x2000000'));
    assert.equal(status, 1);
    assert.match(stderr, /b\.jsonl:\d+: the program does not do what was recorded/);
    assert.match(stderr, /first at in\.iova: expected "0x1000000", came "0x2000000"/);
  });
  it('ends as the program did', () => {
    assert.equal(run('record', at('c.jsonl'), ...program('0x1000000', '3')).status, 3);
    assert.equal(run('replay', at('c.jsonl'), ...program('0x1000000', '3')).status, 3);
  });
  it('fails where the program makes fewer calls, or opens no host', () => {
    run('record', at('d.jsonl'), ...program());
    const text = readFileSync(at('d.jsonl'), 'utf8');
    writeFileSync(at('d.jsonl'), `${text}{"call":"eventfd","initial":0,"result":"fd:9"}\n`);
    const fewer = run('replay', at('d.jsonl'), ...program());
    assert.equal(fewer.status, 1);
    assert.match(fewer.stderr, /expected: \{"call":"eventfd".*\n\s+came:\s+nothing more: the program is at its end/);
    const none = run('replay', at('d.jsonl'), '--', process.execPath, '-e', '1');
    assert.equal(none.status, 1);
    assert.match(
      none.stderr,
      /^iommufd replay: the program opened no host, by openHost\(\) or Iommufd\.open\(\) of .*\n$/,
    );
  });
  it('replays on any machine what was recorded of a real kernel with VT-d', () => {
    const program = ['--', process.execPath, example, '0000:00:05.0'];
    const { status, stdout, stderr } = run('replay', realTranscript, ...program);
    assert.deepEqual([status, stderr], [0, '']);
    assert.match(stdout, /^edu at 0000:00:05\.0, replay host, IOMMU: intel-vtd\n/);
    assert.match(stdout, /it came back: "DMA both ways through an IOMMU"[\s\S]*\nunmapped, it reaches nothing/);

    const text = readFileSync(realTranscript, 'utf8');
    assert.match(text, /^\{"format":"iommufd-transcript","version":1,"host":"kernel",/);
    const other = text.replace('"iova":"0x4000000"', '"iova":"0x8000000"');
    assert.notEqual(other, text);
    writeFileSync(at('other.jsonl'), other);
    const differs = run('replay', at('other.jsonl'), ...program);
    assert.equal(differs.status, 1);
    assert.match(differs.stderr, /first at in\.iova: expected "0x8000000", came "0x4000000"/);
  });
  it('has a transcript of every thread, and compares each', () => {
    const threads = (...args: string[]) => ['--', process.execPath, at('threads.mjs'), ...args];
    const iovas = ['0x1000000', '0x2000000', '0x3000000'];
    assert.deepEqual(run('record', at('t.jsonl'), ...threads(...iovas)), { status: 0, stdout: '', stderr: '' });
    assert.match(readFileSync(at('t.jsonl'), 'utf8'), /"iova":"0x1000000"/);
    assert.match(readFileSync(at('t.thread-1.jsonl'), 'utf8'), /"iova":"0x2000000"/);
    assert.match(readFileSync(at('t.thread-2.jsonl'), 'utf8'), /"iova":"0x3000000"/);
    assert.deepEqual(run('replay', at('t.jsonl'), ...threads(...iovas)), { status: 0, stdout: '', stderr: '' });

    const other = run('replay', at('t.jsonl'), ...threads('0x1000000', '0x2000000', '0x4000000'));
    assert.equal(other.status, 1);
    assert.match(other.stderr, /t\.thread-2\.jsonl:\d+: the program does not do what was recorded/);
    const fewer = run('replay', at('t.jsonl'), ...threads('0x1000000', '0x2000000'));
    assert.equal(fewer.status, 1);
    assert.match(fewer.stderr, /1 of its transcripts were not asked for/);
    const more = run('replay', at('t.jsonl'), ...threads(...iovas, '0x4000000'));
    assert.equal(more.status, 1);
    assert.match(more.stderr, /there is no .*t\.thread-3\.jsonl: this thread opened no host when it was recorded/);
  });
  it('records a program whose main thread opens no host, and forgets threads of an earlier recording', () => {
    const threads = (...args: string[]) => ['--', process.execPath, at('threads.mjs'), ...args];
    run('record', at('u.jsonl'), ...threads('0x1000000', '0x2000000', '0x3000000'));
    assert.equal(run('record', at('u.jsonl'), ...threads('none', '0x2000000')).status, 0);
    assert.deepEqual([existsSync(at('u.jsonl')), existsSync(at('u.thread-2.jsonl'))], [false, false]);
    assert.deepEqual(run('replay', at('u.jsonl'), ...threads('none', '0x2000000')).status, 0);
  });
  it('tells how it is used, and what is not there', () => {
    for (const args of [
      [],
      ['record'],
      ['record', 'file'],
      ['record', 'file', 'node'],
      ['play', 'file', '--', 'node'],
    ]) {
      const { status, stderr } = run(...args);
      assert.equal(status, 2, args.join(' '));
      assert.match(stderr, /^usage: iommufd record FILE -- node script\.js/);
    }
    assert.match(run('replay', at('nothing'), ...program()).stderr, /there is no .*nothing\n$/);
    assert.notEqual(run('record', at('e.jsonl'), '--', at('nothing')).status, 0);
    assert.equal(existsSync(at('e.jsonl')), false);
  });
});
