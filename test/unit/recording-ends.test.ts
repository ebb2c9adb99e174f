// The command `iommufd`, where things go wrong: programs that end early, signals, files that will not do, and programs of
// several processes.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const command = fileURLToPath(new URL('../../lib/cli/iommufd.js', import.meta.url));
const library = new URL('../../lib/index.js', import.meta.url).href;

/** Opens an iommufd, and then ends in the way that its argument says. */
const ENDS = `
import { openHost } from '${library}';
const iommufd = openHost({ kind: 'emulated' }).openIommufd();
iommufd.allocIoas();
const ways = {
  exit: () => process.exit(7),
  throws: () => { throw new Error('midway'); },
  killed: () => process.kill(process.pid, 'SIGKILL'),
  listener: () => {
    process.on('exit', () => iommufd.close());
    process.exit(0);
  },
  more: () => {
    process.on('exit', () => {
      try { iommufd.allocIoas(); } catch {}
      iommufd.close();
    });
  },
  waits: () => {
    console.log(process.pid);
    // Not for ever, whatever comes of the test.
    setTimeout(() => process.exit(9), 20_000);
  },
};
ways[process.argv[2]]();
`;

/** Two processes, one after the other; what they throw is what they print. */
const FAMILY = `
import { spawnSync } from 'node:child_process';
for (const at of ['0x1000000', '0x2000000']) spawnSync(process.execPath, [process.argv[2], at], { stdio: 'inherit' });
`;
const MEMBER = `
import { openHost } from '${library}';
try {
  const host = openHost({ kind: 'emulated' });
  const iommufd = host.openIommufd();
  const ram = host.allocateMemory(0x4000);
  iommufd.allocIoas().map(ram, { iova: BigInt(process.argv[2]) });
  iommufd.close();
  ram.free();
} catch (error) {
  console.log(error.message);
}
`;
/** Goes on after a difference that nobody hears of; the second argument is one. */
const SILENT = `
import { openHost } from '${library}';
const iommufd = openHost({ kind: 'emulated' }).openIommufd();
try { if (process.argv[2]) iommufd.allocIoas(); } catch {}
iommufd.close();
if (process.argv[2]) process.kill(process.pid, 'SIGKILL');
`;
const TWICE = `
import { openHost } from '${library}';
console.log(openHost() === openHost({ kind: 'emulated' }), openHost({ kind: 'emulated' }) === openHost());
`;

describe('the command, at ends', function () {
  this.timeout(60_000);
  let folder = '';
  const at = (name: string) => path.join(folder, name);
  const env = () => ({ ...process.env, TMPDIR: at('temporary'), IOMMUFD_HOST: 'emulated' });

  before(() => {
    folder = mkdtempSync(path.join(tmpdir(), 'iommufd-test-'));
    mkdirSync(at('temporary'));
    const programs = { ends: ENDS, family: FAMILY, member: MEMBER, silent: SILENT, twice: TWICE };
    for (const [name, text] of Object.entries(programs)) writeFileSync(at(`${name}.mjs`), text);
  });
  afterEach(() => assert.deepEqual(readdirSync(at('temporary')), []));
  after(() => rmSync(folder, { recursive: true, force: true }));

  const run = (mode: 'record' | 'replay', file: string, ...args: string[]) => {
    const all = [command, mode, file, '--', process.execPath, ...args];
    const { status, stdout, stderr } = spawnSync(process.execPath, all, { encoding: 'utf8', env: env() });
    return { status, stdout, stderr };
  };
  const ends = (way: string) => [at('ends.mjs'), way];
  /** The last line, of a file that has whole lines alone. */
  const lastLine = (file: string) => {
    const text = readFileSync(file, 'utf8');
    assert(text.endsWith('\n'));
    return text.trimEnd().split('\n').at(-1) ?? '';
  };

  for (const [way, code] of [
    ['exit', 7],
    ['throws', 1],
    ['killed', 137],
  ] as const) {
    it(`records a program up to where it ends, and ends as it does: ${way}`, () => {
      const file = at(`${way}.jsonl`);
      assert.equal(run('record', file, ...ends(way)).status, code);
      assert.match(lastLine(file), /"name":"IOMMU_IOAS_ALLOC".*"out_ioas_id":1/);
      const replayed = run('replay', file, ...ends(way));
      assert.equal(replayed.status, code);
      assert.doesNotMatch(replayed.stderr, /iommufd replay/);
    });
  }
  it('records, and compares, what a program does in its listeners to exit', () => {
    const file = at('listener.jsonl');
    const recorded = run('record', file, ...ends('listener'));
    assert.deepEqual([recorded.status, recorded.stderr], [0, '']);
    assert.match(lastLine(file), /"call":"close"/);
    const replayed = run('replay', file, ...ends('listener'));
    assert.deepEqual([replayed.status, replayed.stderr], [0, '']);
    const more = run('replay', file, ...ends('more'));
    assert.equal(more.status, 1);
    assert.match(more.stderr, /listener\.jsonl:5: the program does not do what was recorded/);
  });

  it('tells of a difference at once, and once', () => {
    const file = at('silent.jsonl');
    run('record', file, at('silent.mjs'));
    const { status, stderr } = run('replay', file, at('silent.mjs'), 'more');
    assert.equal(status, 137);
    assert.equal(stderr.match(/does not do what was recorded/g)?.length, 1);
  });

  /** The program's process, once it waits. */
  const waiting = async (child: ChildProcess): Promise<number> => {
    const [text] = await once(child.stdout ?? assert.fail(), 'data');
    return Number(String(text));
  };
  for (const [signal, code] of [
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const) {
    it(`passes ${signal} on to the program`, async () => {
      const file = at(`${signal}.jsonl`);
      const args = [command, 'record', file, '--', process.execPath, ...ends('waits')];
      const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'], env: env() });
      const closed = once(child, 'close');
      const program = await waiting(child);
      child.kill(signal);
      assert.deepEqual(await closed, [code, null]);
      assert.throws(() => process.kill(program, 0), { code: 'ESRCH' });
      assert.match(lastLine(file), /"name":"IOMMU_IOAS_ALLOC"/);
    });
  }

  it('refuses to replay what is no transcript, before the program runs', () => {
    const header = '{"format":"iommufd-transcript","version":9}\n';
    for (const [name, text, reason] of [
      ['empty', '', /empty: .* it is empty\n$/],
      ['foreign', '{"name":"foreign"}\n', /foreign: .* it does not start with/],
      ['newer', header, /newer: .* it has version 9, this library knows version 1: record it anew/],
    ] as const) {
      writeFileSync(at(name), text);
      const { status, stdout, stderr } = run('replay', at(name), ...ends('waits'));
      assert.deepEqual([status, stdout], [2, ''], name);
      assert.match(stderr, reason);
    }
  });
  it('records over nothing but transcripts', () => {
    const text = readFileSync(at('ends.mjs'), 'utf8');
    const { status, stderr } = run('record', at('ends.mjs'), ...ends('exit'));
    assert.equal(status, 2);
    assert.match(stderr, /ends\.mjs is something else than a transcript: it was left as it is\n$/);
    assert.equal(readFileSync(at('ends.mjs'), 'utf8'), text);
    for (const file of [at('temporary'), at('nowhere/nic.jsonl')]) {
      assert.equal(run('record', file, ...ends('waits')).status, 2, file);
    }
  });
  it('leaves the earlier recording where the program opens no host', () => {
    const file = at('earlier.jsonl');
    run('record', file, ...ends('exit'));
    const text = readFileSync(file, 'utf8');
    assert.equal(run('record', file, '-e', '1').status, 1);
    assert.equal(readFileSync(file, 'utf8'), text);
  });
  it('fails where a recording has no room, and leaves the program alone', function () {
    if (!existsSync('/dev/full')) this.skip();
    const { status, stderr } = run('record', '/dev/full', at('member.mjs'), '0x1000000');
    assert.equal(status, 1);
    assert.match(stderr, /^iommufd record: \/dev\/full is not whole: ENOSPC.*\n$/);
  });

  it('has the transcript of the first process that opens a host, and refuses others', () => {
    const file = at('family.jsonl');
    for (const mode of ['record', 'replay'] as const) {
      const { status, stdout } = run(mode, file, at('family.mjs'), at('member.mjs'));
      assert.equal(status, 0);
      assert.match(stdout, /^a transcript is of one process, and process \d+ opened a host before: .*\n$/);
      assert.match(readFileSync(file, 'utf8'), /"iova":"0x1000000"/);
    }
  });
  it('knows a host by its name, and where none is named', () => {
    for (const mode of ['record', 'replay'] as const) {
      const { stdout, stderr } = run(mode, at('twice.jsonl'), at('twice.mjs'));
      assert.deepEqual([stdout, stderr], ['true true\n', '']);
    }
  });
});
