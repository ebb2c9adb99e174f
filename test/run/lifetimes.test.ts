// What is left when programs end, however they end, and when the server does.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { connect } from 'node:net';
import { OPERATION, REQUEST_SIZE } from '../../lib/run/protocol.js';
import { compile, describePrograms, ended, RunStage, removeFolder } from './programs.js';

const CYCLES = process.env.IOMMUFD_TORTURE === '1' ? 3000 : 90;

describePrograms('programs on an emulated machine come and go', () => {
  let stage: RunStage;
  beforeEach(async () => {
    stage = await RunStage.start({ machine: 'selftest' });
  });
  afterEach(() => stage.close());
  after(removeFolder);

  it('killed in the midst of calls, they leave nothing behind', async () => {
    const { used } = stage.machine.physical;
    assert.equal(await stage.run(compile('killed')), 'survived\n');
    await stage.checkEmpty();
    assert.equal(stage.machine.physical.used, used);
    assert.equal(await stage.run(compile('threads')), 'done\n');
  });

  it('a stranger on the socket does them no harm', async () => {
    assert.equal(await stage.run(compile('stranger')), 'let alone\n');
    assert.deepEqual(stage.told, []);
    await stage.checkEmpty();
    assert.equal(await stage.run(compile('threads')), 'done\n');
  });

  it('killed before they were answered, they leave the others alone', async () => {
    const killed = spawnSync('true').pid;
    const hello = Buffer.alloc(REQUEST_SIZE);
    hello.writeUInt32LE(OPERATION.calls);
    hello.writeBigUInt64LE(BigInt(killed), 16);
    const socket = connect(stage.server.path);
    socket.write(hello);
    await once(socket.resume(), 'close');
    await stage.checkEmpty();
    assert.equal(await stage.run(compile('threads')), 'done\n');
  });

  it('many cycles make neither side grow', async () => {
    const program = compile('cycles');
    await stage.run(program);
    await stage.checkEmpty();
    const { used } = stage.machine.physical;
    const fds = readdirSync('/proc/self/fd').length;
    const output = await stage.run(program, String(CYCLES));
    const [, second = 0, third = 0] = output.trim().split('\n').map(Number);
    assert(second > 0 && third - second < 64, `pages after each third: ${output}`);
    await stage.checkEmpty();
    assert.equal(stage.machine.physical.used, used);
    assert.equal(readdirSync('/proc/self/fd').length, fds);
  });

  it('a defect of the machine is an error for them, and known', async () => {
    const defect = new Error('a defect');
    Object.defineProperty(stage.machine, 'open', {
      value: () => {
        throw defect;
      },
    });
    const { code, errors } = await ended(stage.start(compile('threads')));
    assert.equal(code, 1);
    assert.match(errors, /^iommufd run: the emulated machine is gone.*\n.*fd >= 0 does not hold/);
    assert.equal(stage.server.failure, defect);
  });

  it('without the server their calls fail, and none waits for ever', async () => {
    const child = stage.start(compile('bereft'));
    const end = ended(child);
    await new Promise((resolve) => child.stdout?.once('data', resolve));
    stage.close();
    const { code, output, errors } = await end;
    assert.deepEqual({ code, output }, { code: 0, output: 'here\nbereft\n' });
    assert.equal(errors, 'iommufd run: the emulated machine is gone: its calls answer EIO\n');
  });
});
