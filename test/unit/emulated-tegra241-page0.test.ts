// Page 0 of an interface of the emulated Tegra241 CMDQV: what a guest reads and writes there, however it does.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { PAGE0_SIZE } from '../../lib/emulated/hardware/tegra241/parameters.js';
import {
  CONFIG,
  CONS,
  FORGET_ASID,
  GERROR,
  GERRORN,
  ILLEGAL,
  PROD,
  REAL_STREAM,
  STATUS,
  STREAM,
  type Stage,
  stage,
  VMID,
} from './tegra241-queue-stage.js';

describe('page 0 of a Tegra241 CMDQV', () => {
  it('keeps what is written where that is to be kept, and nothing else', () => {
    const s = stage({ enable: false });
    for (const register of [STATUS, GERROR, 0x18, 0x7c]) {
      s.write(register, 0xffff_ffff);
      assert.equal(s.read(register), 0);
    }
    s.write(CONFIG, 0xffff_fffe);
    s.write(GERRORN, 0xffff_ffff);
    assert.deepEqual([s.read(CONFIG), s.read(GERRORN)], [0, 7]);
  });

  it('has nothing where no queue is allocated', () => {
    const s = stage();
    s.put(0, [FORGET_ASID], 1);
    s.queue(1).allocated = false;
    s.write(PROD, 1, 1);
    assert.deepEqual([s.read(STATUS, 1), s.read(PROD, 1), s.smmu.commands.length], [0, 0, 0]);
    for (const queue of [2, 511]) {
      s.write(PROD, 1, queue);
      assert.equal(s.read(PROD, queue), 0);
    }
  });

  it('takes 64 bits for two registers, and shows the bytes of one', () => {
    const s = stage({ enable: false });
    const { registers } = s.hardware.region;
    registers.write64(CONS, 0x0000_0004_0000_0003n);
    assert.deepEqual([s.read(CONS), s.read(PROD)], [3, 4]);
    assert.equal(registers.read64(CONS), 0x0000_0004_0000_0003n);
    s.put(3, [ILLEGAL]);
    s.write(CONFIG, 1);
    assert.deepEqual(
      [registers.read(CONS + 3, 1), registers.read(CONS, 1), registers.read(CONS + 2, 2)],
      [1, 3, 0x100],
    );
    registers.write(PROD, 1, 0);
    registers.write(PROD, 2, 0);
    assert.equal(s.read(PROD), 4);
  });
});

describe('whatever a guest does to page 0 and its queues', () => {
  const index = fc.oneof(fc.nat({ max: 20 }), fc.nat({ max: 0xffff_ffff }));
  const register = fc.constantFrom(PROD, PROD, PROD, CONS, CONFIG, STATUS, GERROR, GERRORN, 0x18);
  const word = fc.oneof(fc.constantFrom(0, STREAM, REAL_STREAM), fc.nat({ max: 0xffff_ffff }));
  const opcode = fc.oneof(fc.constantFrom(0x11, 0x12, 0x40, 0x46), word);
  const step = fc.oneof(
    fc.record({ kind: fc.constant('write'), queue: fc.nat({ max: 2 }), register, value: index }),
    fc.record({
      kind: fc.constant('put'),
      queue: fc.nat({ max: 1 }),
      at: fc.nat({ max: 7 }),
      words: fc.tuple(opcode, word, word, word),
    }),
    fc.record({
      kind: fc.constant('odd'),
      offset: fc.nat({ max: PAGE0_SIZE - 8 }),
      log2Width: fc.nat({ max: 3 }),
      value: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      write: fc.boolean(),
    }),
    fc.record({ kind: fc.constant('fault'), queue: fc.nat({ max: 1 }), enable: fc.boolean() }),
  );

  function odd(s: Stage, at: number, log2Width: number, value: bigint, write: boolean): void {
    const { registers } = s.hardware.region;
    const width = 2 ** log2Width;
    const offset = at - (at % width);
    if (width === 8) {
      if (write) registers.write64(offset, value);
      else assert.equal(BigInt.asUintN(64, registers.read64(offset)), registers.read64(offset));
    } else if (width === 1 || width === 2 || width === 4) {
      const small = Number(BigInt.asUintN(8 * width, value));
      if (write) registers.write(offset, width, small);
      else assert(registers.read(offset, width) < 2 ** (8 * width));
    }
  }

  type Action = typeof step extends fc.Arbitrary<infer T> ? T : never;

  function take(s: Stage, action: Action): void {
    if (action.kind === 'write') s.write(action.register, action.value, action.queue);
    else if (action.kind === 'put') s.put(action.at, [action.words], action.queue);
    else if (action.kind === 'odd') odd(s, action.offset, action.log2Width, action.value, action.write);
    else if (action.enable) s.queue(action.queue).failNextEnable();
    else s.queue(action.queue).abortNextFetch();
  }

  it('it reaches nobody else, and a write executes no more than the queue holds', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const s = stage();
        for (const action of steps) {
          const before = s.smmu.commands.length;
          take(s, action);
          assert(s.smmu.commands.length - before <= 8);
          for (const queue of [0, 1]) {
            const state = s.queue(queue).inspect();
            const active = ((s.read(GERROR, queue) ^ s.read(GERRORN, queue)) & 1) !== 0;
            const ahead = (state.prod - state.cons) & 15;
            if (state.enabled && !active) assert(ahead === 0 || ahead > 8);
            assert(state.prod < 16 && state.cons < 16);
          }
        }
        for (const [word0, word1] of s.smmu.commands) {
          if ((word0 & 0xff) === 0x40) assert.equal(word1, REAL_STREAM);
          else assert.equal(word1 & 0xffff, VMID);
          assert([0x11, 0x12, 0x40].includes(word0 & 0xff));
        }
      }),
    );
  });
});
