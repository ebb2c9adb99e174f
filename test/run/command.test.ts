// `iommufd run` as a command: what it takes, and how it ends.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { readRunArguments } from '../../lib/cli/run-arguments.js';
import { command, compile, describePrograms, type Ended, ended, removeFolder } from './programs.js';

describePrograms('iommufd run', () => {
  let temporary: string;
  before(() => {
    temporary = mkdtempSync(path.join(tmpdir(), 'iommufd-test-'));
  });
  after(() => {
    rmSync(temporary, { recursive: true, force: true });
    removeFolder();
  });
  // It removes what it made, whatever happened.
  afterEach(() => assert.deepEqual(readdirSync(temporary), []));

  function run(...args: readonly string[]): Promise<Ended> {
    return runIn(temporary, ...args);
  }
  function runIn(folder: string, ...args: readonly string[]): Promise<Ended> {
    const env = { ...process.env, TMPDIR: folder };
    return ended(spawn(process.execPath, [command, 'run', ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] }));
  }

  it('ends as the program does, with the machine that was asked for', async () => {
    const { code, output, errors } = await run('--machine', 'selftest', '--', compile('threads'));
    assert.deepEqual({ code, output, errors }, { code: 0, output: 'done\n', errors: '' });
  });
  it("gives the program's exit code, or 128 and its signal", async () => {
    assert.equal((await run('--', 'sh', '-c', 'exit 41')).code, 41);
    assert.equal((await run('--', 'sh', '-c', 'kill -TERM $$')).code, 128 + 15);
  });
  it('has a test device unless told otherwise', async () => {
    const program = compile('device');
    assert.equal((await run('--', program)).output, 'interrupted\n');
    assert.equal((await run('--device', '0000:02:00.0=test', '--', program)).output, 'interrupted\n');
    const without = await run('--device', 'none', '--', program);
    assert.equal(without.code, 1);
    assert.match(without.errors, /vfio0.* does not hold \(No such file or directory\)/);
  });
  it('goes on where programs have taken all fds that the server may have', async () => {
    const env = { ...process.env, TMPDIR: temporary };
    const words = [process.execPath, command, 'run', '--machine', 'selftest', '--', compile('crowd')];
    const shell = spawn('sh', ['-c', 'ulimit -n 256; exec "$@"', 'sh', ...words], {
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const { code, output, errors } = await ended(shell);
    assert.deepEqual({ code, output, errors }, { code: 0, output: 'crowded\n', errors: '' });
  });
  it('lets programs alone that use nothing of it', async () => {
    const { code, output } = await run('--', 'sh', '-c', 'echo "$(cat < /proc/self/comm)" | tr a-z A-Z');
    assert.deepEqual({ code, output }, { code: 0, output: 'CAT\n' });
  });
  it('passes on the signals that it gets', async () => {
    for (const signal of ['SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2', 'SIGINT', 'SIGQUIT'] as const) {
      const script = `trap 'exit 5' ${signal.slice(3)}; echo here; while :; do sleep 0.05; done`;
      const env = { ...process.env, TMPDIR: temporary };
      // Without a terminal, which would signal the program as well.
      const child = spawn(process.execPath, [command, 'run', '--', 'sh', '-c', script], {
        env,
        stdio: ['ignore', 'pipe', 'pipe'],
        detached: true,
      });
      const end = ended(child);
      await new Promise((resolve) => child.stdout?.once('data', resolve));
      child.kill(signal);
      assert.equal((await end).code, 5, signal);
    }
  });
  it('is found from every folder, and says where a socket cannot be', async () => {
    const program = compile('threads');
    const relative = path.relative(process.cwd(), temporary);
    const script = `cd / && exec ${program}`;
    const found = await runIn(relative, '--machine', 'selftest', '--', 'sh', '-c', script);
    assert.deepEqual({ code: found.code, output: found.output }, { code: 0, output: 'done\n' });
    const long = path.join(temporary, 'x'.repeat(100));
    mkdirSync(long);
    const refused = await runIn(long, '--', 'true');
    assert.equal(refused.code, 2);
    assert.match(refused.errors, /too long for a socket.*TMPDIR/);
    assert.deepEqual(readdirSync(long), []);
    rmSync(long, { recursive: true });
  });
  it('is found where the package lies in a folder with spaces, which LD_PRELOAD does not take', async () => {
    const folder = path.join(temporary, 'a b');
    mkdirSync(folder);
    const link = path.join(folder, 'package');
    symlinkSync(path.resolve(command, '../../../..'), link);
    const program = compile('threads');
    const args = ['--preserve-symlinks', '--preserve-symlinks-main', path.join(link, 'dist/lib/cli/iommufd.js')];
    const start = (TMPDIR: string): Promise<Ended> => {
      const env = { ...process.env, TMPDIR };
      const task = ['run', '--machine', 'selftest', '--', program];
      return ended(spawn(process.execPath, [...args, ...task], { env, stdio: ['ignore', 'pipe', 'pipe'] }));
    };
    const { code, output, errors } = await start(temporary);
    assert.deepEqual({ code, output, errors }, { code: 0, output: 'done\n', errors: '' });
    const refused = await start(folder);
    assert.equal(refused.code, 2);
    assert.match(refused.errors, /LD_PRELOAD takes no spaces/);
    rmSync(folder, { recursive: true });
  });
  it('says what is wrong with its arguments', async () => {
    for (const [args, text] of [
      [['--'], /^usage: iommufd run/],
      [['--', ''], /^usage: iommufd run/],
      [['true'], /^usage: iommufd run/],
      [['--machine', 'toaster', '--', 'true'], /no machine toaster: there are .*selftest/],
      [['--machine', '--', 'true'], /--machine takes a value/],
      [['--speed', '3', '--', 'true'], /no option --speed/],
      [['--machine=selftest', '--', 'true'], /no option --machine=selftest/],
      [['--device', '0000:01:00.0', '--', 'true'], /does not say which model/],
      [['--device', '0000:01:00.0=test=edu', '--', 'true'], /does not say which model/],
    ] as const) {
      const told = readRunArguments(args);
      assert(typeof told === 'string', args.join(' '));
      assert.match(told, text);
    }
    for (const [args, code, text] of [
      [['--machine', 'toaster', '--', 'true'], 2, /no machine toaster/],
      [['--device', 'here=test', '--', 'true'], 2, /address/],
      [['--', '/no/such/program'], 1, /ENOENT/],
    ] as const) {
      const failed = await run(...args);
      assert.equal(failed.code, code, failed.errors);
      assert.match(failed.errors, text);
    }
  });
});
