// The command queues of the emulated Tegra241 CMDQV: execution, and errors.
import assert from 'node:assert/strict';
import { PAGE_SIZE } from '../../lib/emulated/memory/backing.js';
import {
  CONFIG,
  CONS,
  type Command,
  FORGET_ADDRESS,
  FORGET_ASID,
  FORGET_ATC,
  FORGOT_ADDRESS,
  FORGOT_ASID,
  FORGOT_ATC,
  GERROR,
  GERRORN,
  ILLEGAL,
  PROD,
  REAL_STREAM,
  STATUS,
  STREAM,
  SYNC,
  stage,
} from './tegra241-queue-stage.js';

describe("a guest's command queue of a Tegra241 CMDQV", () => {
  it('executes what it finds when PROD is written, with the VMID and StreamID of the guest', () => {
    const s = stage();
    s.put(0, [FORGET_ASID, FORGET_ADDRESS, FORGET_ATC, SYNC]);
    s.write(PROD, 4);
    assert.equal(s.read(CONS), 4);
    assert.deepEqual(s.smmu.commands, [FORGOT_ASID, FORGOT_ADDRESS, FORGOT_ATC]);
    assert.deepEqual(s.queue(0).inspect(), { enabled: true, prod: 4, cons: 4, error: undefined, executed: 4 });
    assert.deepEqual(s.interrupts, []);
  });

  it('executes no command twice, and none that PROD does not tell', () => {
    const s = stage();
    s.put(0, [FORGET_ASID, FORGET_ADDRESS]);
    s.write(PROD, 1);
    s.write(PROD, 1);
    assert.deepEqual(s.smmu.commands, [FORGOT_ASID]);
    s.write(PROD, 2);
    assert.deepEqual(s.smmu.commands, [FORGOT_ASID, FORGOT_ADDRESS]);
  });

  it('wraps around, and tells by the bit above the index', () => {
    const s = stage();
    s.put(
      0,
      Array.from({ length: 6 }, () => SYNC),
    );
    s.write(PROD, 6);
    s.put(6, [FORGET_ASID, FORGET_ADDRESS, FORGET_ASID]);
    s.write(PROD, 9);
    assert.equal(s.read(CONS), 9);
    s.put(
      1,
      Array.from({ length: 8 }, () => SYNC),
    );
    s.write(PROD, 1);
    assert.equal(s.read(CONS), 1);
    assert.deepEqual(s.smmu.commands, [FORGOT_ASID, FORGOT_ADDRESS, FORGOT_ASID]);
    assert.equal(s.queue(0).inspect().executed, 17);
  });

  it('executes a full queue', () => {
    const s = stage();
    s.put(
      0,
      Array.from({ length: 8 }, () => FORGET_ASID),
    );
    s.write(PROD, 8);
    assert.equal(s.smmu.commands.length, 8);
    assert.equal(s.read(CONS), 8);
  });

  it('can be of the largest size', () => {
    const s = stage({ enable: false });
    s.queue(0).setBase(s.memory.base * PAGE_SIZE, 19);
    s.put(0, [FORGET_ASID]);
    s.write(PROD, 1);
    s.write(CONFIG, 1);
    assert.equal(s.read(CONS), 1);
    s.write(CONFIG, 0);
    s.write(CONS, 0xf_ffff);
    s.write(PROD, 0xf_ffff);
    assert.deepEqual([s.read(CONS), s.read(PROD)], [0xf_ffff, 0xf_ffff]);
  });

  it('does nothing before it is enabled, and everything then', () => {
    const s = stage({ enable: false });
    s.put(0, [FORGET_ASID]);
    s.write(PROD, 1);
    assert.deepEqual([s.read(STATUS), s.read(CONS), s.smmu.commands.length], [0, 0, 0]);
    s.write(CONFIG, 1);
    assert.deepEqual([s.read(STATUS), s.read(CONS), s.smmu.commands.length], [1, 1, 1]);
  });

  it('stops when it is disabled, and goes on from CONS when enabled', () => {
    const s = stage();
    s.put(0, [FORGET_ASID, FORGET_ADDRESS]);
    s.write(PROD, 1);
    s.write(CONFIG, 0);
    s.write(PROD, 2);
    assert.deepEqual([s.read(CONFIG), s.read(STATUS), s.read(CONS), s.read(PROD)], [0, 0, 1, 2]);
    s.write(CONFIG, 1);
    assert.deepEqual([s.read(CONS), s.smmu.commands.length], [2, 2]);
  });

  it('is started over by CONS and PROD while it is disabled', () => {
    const s = stage();
    s.put(0, [FORGET_ASID]);
    s.write(PROD, 1);
    s.write(CONS, 0);
    assert.equal(s.read(CONS), 1);
    s.write(CONFIG, 0);
    s.write(CONS, 0);
    s.write(PROD, 0);
    s.write(CONFIG, 1);
    s.write(PROD, 1);
    assert.equal(s.smmu.commands.length, 2);
  });

  it('runs beside the other one of its interface', () => {
    const s = stage();
    s.put(0, [FORGET_ADDRESS], 1);
    s.write(PROD, 1, 1);
    assert.deepEqual([s.read(CONS, 0), s.read(CONS, 1)], [0, 1]);
    assert.deepEqual(s.smmu.commands, [FORGOT_ADDRESS]);
  });

  it('drops what lies above the wrap bit of PROD', () => {
    const s = stage();
    s.put(0, [FORGET_ASID]);
    s.write(PROD, 0xffff_fff1);
    assert.equal(s.read(PROD), 1);
    assert.equal(s.smmu.commands.length, 1);
  });

  it('executes nothing while PROD is further ahead than it is long', () => {
    const s = stage();
    s.put(
      0,
      Array.from({ length: 8 }, () => FORGET_ASID),
    );
    s.write(PROD, 9);
    assert.deepEqual([s.read(CONS), s.smmu.commands.length], [0, 0]);
    s.write(PROD, 2);
    assert.deepEqual([s.read(CONS), s.smmu.commands.length], [2, 2]);
  });
});

describe("a guest's command queue of a Tegra241 CMDQV, at errors,", () => {
  it('stops at a command it does not know, and says where and why', () => {
    const s = stage();
    s.put(0, [FORGET_ASID, ILLEGAL, FORGET_ADDRESS]);
    s.write(PROD, 3);
    assert.equal(s.read(CONS), (1 << 24) | 1);
    assert.deepEqual([s.read(GERROR), s.read(GERRORN), s.read(STATUS)], [1, 0, 1]);
    assert.deepEqual(s.interrupts, [1]);
    assert.equal(s.queue(0).inspect().error, 'illegal-command');
    s.write(PROD, 4);
    assert.equal(s.read(CONS), (1 << 24) | 1);
    assert.deepEqual(s.smmu.commands, [FORGOT_ASID]);
  });

  it('goes on when that is acknowledged, with the command as it is then', () => {
    const s = stage();
    s.put(0, [ILLEGAL, FORGET_ADDRESS]);
    s.write(PROD, 2);
    s.put(0, [SYNC]);
    s.write(GERRORN, s.read(GERROR));
    assert.equal(s.read(CONS), 2);
    assert.deepEqual(s.smmu.commands, [FORGOT_ADDRESS]);
    assert.deepEqual(s.interrupts, [1]);
    assert.equal(s.queue(0).inspect().error, undefined);
  });

  it('stops again at the same command while it is not mended', () => {
    const s = stage();
    s.put(0, [ILLEGAL]);
    s.write(PROD, 1);
    s.write(GERRORN, 1);
    assert.deepEqual([s.read(GERROR), s.read(GERRORN)], [0, 1]);
    assert.deepEqual(s.interrupts, [1, 1]);
    s.put(0, [SYNC]);
    s.write(GERRORN, 0);
    assert.equal(s.read(CONS), 1);
  });

  it('knows only what a guest may ask for', () => {
    const known = [0x11, 0x12, 0x46];
    for (let opcode = 0; opcode < 256; opcode++) {
      const s = stage();
      s.put(0, [[opcode, 0, 0, 0]]);
      s.write(PROD, 1);
      const stopped = s.read(CONS) !== 1;
      assert.equal(stopped, !known.includes(opcode), `opcode ${opcode}`);
    }
  });

  it("refuses CMD_SYNC that wants to be told of, and StreamIDs that are nobody's", () => {
    const wrong: Command[] = [
      [0x46 | (1 << 12), 0, 0, 0],
      [0x46 | (2 << 12), 0, 0, 0],
      [0x40, STREAM + 1, 52, 0],
      [0x40, REAL_STREAM, 52, 0],
      [0x40, STREAM | (1 << 20), 52, 0],
      [0x40, 0xffff_ffff, 52, 0],
    ];
    for (const command of wrong) {
      const s = stage();
      s.put(0, [command]);
      s.write(PROD, 1);
      assert.equal(s.read(CONS), 1 << 24);
      assert.deepEqual(s.smmu.commands, []);
    }
  });

  it('stops where a command cannot be fetched, and fetches it again', () => {
    const s = stage();
    s.put(0, [FORGET_ASID]);
    s.queue(0).abortNextFetch();
    s.write(PROD, 1);
    assert.equal(s.read(CONS), 2 << 24);
    assert.equal(s.queue(0).inspect().error, 'fetch-aborted');
    s.write(GERRORN, s.read(GERROR));
    assert.equal(s.read(CONS), 1);
    assert.deepEqual(s.smmu.commands, [FORGOT_ASID]);
  });

  it('stops where there is no memory', () => {
    const s = stage();
    s.queue(0).setBase(2 ** 40, 3);
    s.write(PROD, 1);
    assert.equal(s.read(CONS), 2 << 24);
  });

  it('tells of a device that does not answer at the CMD_SYNC, and tries that again', () => {
    const s = stage();
    s.smmu.answersAtc = false;
    s.put(0, [FORGET_ATC, FORGET_ASID, SYNC, FORGET_ADDRESS]);
    s.write(PROD, 4);
    assert.equal(s.read(CONS), (3 << 24) | 2);
    assert.equal(s.queue(0).inspect().error, 'atc-timeout');
    s.write(GERRORN, s.read(GERROR));
    assert.equal(s.read(CONS), 4);
    assert.deepEqual(s.interrupts, [1]);
  });

  it('tells nobody else of a device that does not answer', () => {
    const s = stage();
    s.smmu.answersAtc = false;
    s.put(0, [FORGET_ATC]);
    s.put(0, [SYNC], 1);
    s.write(PROD, 1);
    s.write(PROD, 1, 1);
    assert.equal(s.read(CONS, 1), 1);
    s.write(CONFIG, 0);
    s.queue(0).setBase(s.memory.base * PAGE_SIZE, 3);
    s.write(CONFIG, 1);
    s.put(1, [SYNC]);
    s.write(PROD, 2);
    assert.equal(s.read(CONS), 2);
    assert.deepEqual(s.interrupts, []);
  });

  it('tells of both queues in the error map', () => {
    const s = stage();
    for (const queue of [1, 0]) {
      s.put(0, [ILLEGAL], queue);
      s.write(PROD, 1, queue);
    }
    assert.deepEqual(s.interrupts, [2, 3]);
    s.write(CONFIG, 0);
    s.write(GERRORN, 1);
    s.put(0, [ILLEGAL, ILLEGAL], 1);
    s.write(GERRORN, 1, 1);
    assert.deepEqual(s.interrupts, [2, 3, 2]);
  });

  it('executes nothing while software makes GERRORN differ', () => {
    const s = stage();
    s.put(0, [FORGET_ASID]);
    s.write(GERRORN, 1);
    s.write(PROD, 1);
    assert.equal(s.read(CONS), 0);
    s.write(GERRORN, 0);
    assert.equal(s.read(CONS), 1);
    assert.deepEqual(s.interrupts, []);
  });

  it('can fail to be enabled', () => {
    const s = stage({ enable: false });
    s.put(0, [FORGET_ASID]);
    s.queue(0).failNextEnable();
    s.write(PROD, 1);
    s.write(CONFIG, 1);
    assert.deepEqual([s.read(CONFIG), s.read(STATUS), s.read(GERROR), s.read(CONS)], [1, 0, 4, 0]);
    assert.deepEqual(s.interrupts, [1]);
    assert.equal(s.queue(0).inspect().error, 'init');
    s.write(CONFIG, 1);
    assert.equal(s.read(STATUS), 0);
    s.write(GERRORN, 4);
    assert.equal(s.read(STATUS), 0);
    s.write(CONFIG, 1);
    assert.deepEqual([s.read(STATUS), s.read(CONS)], [1, 1]);
  });
});
