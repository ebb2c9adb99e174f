// The memory of another process by its addresses: what is there is read and written, and what its mappings forbid is not.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { RemoteAddressSpace } from '../../lib/emulated/remote/address-space.js';
import { MAP, MappedProgram, PAGE, PROT } from '../rig/mapped-program.js';
import { atEnd, needsPrograms, remoteMemory, spaceOf, start, withoutRights } from '../rig/remote-stage.js';

/** No process has so many. */
const NO_PID = 2 ** 22 + 1;

function bytes(...values: number[]): Uint8Array {
  return Uint8Array.from(values);
}
function filled(length: number, value: number): Uint8Array {
  return new Uint8Array(length).fill(value);
}

describe('memory of another process', () => {
  needsPrograms();

  it('is read and written where it lies', async () => {
    const { program, memory } = await start();
    const at = await program.map(2 * PAGE);
    await program.fill(at, 2 * PAGE, 7);
    memory.enter();
    const into = new Uint8Array(3);
    assert(memory.read(at + PAGE - 1, into));
    assert.deepEqual(into, bytes(7, 7, 7));
    assert(memory.write(at + PAGE - 1, bytes(1, 2, 3)));
    assert.equal(await program.peek(at + PAGE - 1), 1);
    assert.equal(await program.peek(at + PAGE + 1), 3);
    assert.equal(await program.peek(at + PAGE + 2), 7);
  });

  it('ends where its mappings end: what comes before is copied', async () => {
    const { program, memory } = await start();
    const at = await program.map(3 * PAGE);
    await program.fill(at, 3 * PAGE, 9);
    await program.must('unmap', at + 2 * PAGE, PAGE);
    memory.enter();
    const into = new Uint8Array(8);
    assert.equal(memory.read(at + 2 * PAGE - 4, into), false);
    assert.deepEqual(into, bytes(9, 9, 9, 9, 0, 0, 0, 0));
    assert.equal(memory.write(at + 2 * PAGE - 2, bytes(1, 2, 3)), false);
    assert.equal(await program.peek(at + 2 * PAGE - 1), 2);
    assert(memory.read(at + 2 * PAGE - 4, into.subarray(0, 4)));
  });

  it('copies what a model copies, at any border', async () => {
    const { program, memory } = await start();
    const at = await program.map(9 * PAGE);
    // Two holes, and a page that may only be read.
    await program.must('unmap', at + 8 * PAGE, PAGE);
    await program.must('unmap', at + 3 * PAGE, PAGE);
    await program.must('protect', at + 6 * PAGE, PAGE, PROT.read);
    const model = new Uint8Array(8 * PAGE);
    const isThere = (page: number, write: boolean) => page !== 3 && page < 8 && !(write && page === 6);
    const length = fc.integer({ min: 0, max: 3 * PAGE });
    const near = fc.tuple(fc.integer({ min: 0, max: 7 }), fc.integer({ min: -9, max: 9 }));
    const start_ = near.map(([page, by]) => Math.max(0, page * PAGE + by));
    fc.assert(
      fc.property(start_, length, fc.boolean(), fc.integer({ min: 1, max: 255 }), (from, count, write, value) => {
        memory.enter();
        let reach = 0;
        while (reach < count && isThere(Math.floor((from + reach) / PAGE), write)) reach++;
        const data = filled(count, value);
        const answer = write ? memory.write(at + from, data) : memory.read(at + from, data);
        assert.equal(answer, reach === count);
        if (write) model.fill(value, from, from + reach);
        else assert.deepEqual(data.subarray(0, reach), model.subarray(from, from + reach));
        if (!write) assert(data.subarray(reach).every((byte) => byte === value));
      }),
      { numRuns: 300 },
    );
    assert(
      model.some((byte) => byte !== 0),
      'nothing was written',
    );
  });

  it('heeds protection, which /proc/PID/mem does not', async () => {
    const { program, memory } = await start();
    const at = await program.map(2 * PAGE);
    await program.fill(at, 2 * PAGE, 5);
    await program.must('protect', at, PAGE, PROT.read);
    await program.must('protect', at + PAGE, PAGE, PROT.none);
    memory.enter();
    const into = new Uint8Array(1);
    assert(memory.read(at, into));
    assert.equal(memory.write(at, bytes(1)), false);
    assert.equal(memory.read(at + PAGE, into), false);
    assert.equal(memory.write(at + PAGE, bytes(1)), false);
    await program.must('protect', at, 2 * PAGE, PROT.both);
    assert.equal(await program.peek(at), 5);
    assert.equal(await program.peek(at + PAGE), 5);
    memory.enter();
    assert(memory.write(at, bytes(1)));
  });

  it('finds new mappings with the next call of the program', async () => {
    const { program, memory } = await start();
    const at = await program.map(PAGE);
    memory.enter();
    assert(memory.write(at, bytes(1)));
    await program.must('unmap', at, PAGE);
    memory.enter();
    assert.equal(memory.write(at, bytes(1)), false);
    assert.equal(memory.read(at, new Uint8Array(1)), false);
    assert.equal(await program.map(PAGE, { at, flags: MAP.private | MAP.fixed }), at);
    memory.enter();
    assert(memory.write(at, bytes(3)));
    assert.equal(await program.peek(at), 3);
  });

  it('has nothing at addresses that no process has', async () => {
    const { memory } = await start();
    memory.enter();
    for (const address of [0, 1, 2 ** 47, 2 ** 52, 2 ** 53, 2 ** 64]) {
      assert.equal(memory.read(address, new Uint8Array(1)), false, `${address}`);
      assert.equal(memory.write(address, new Uint8Array(1)), false, `${address}`);
    }
    assert(memory.read(2 ** 64, new Uint8Array(0)));
    assert.equal(memory.find(), undefined);
  });

  it('goes with the process', async () => {
    const { program, memory } = await start();
    const at = await program.map(PAGE);
    memory.enter();
    assert(memory.alive && memory.read(at, new Uint8Array(1)));
    await program.kill();
    memory.enter();
    assert.equal(memory.alive, false);
    assert.equal(memory.read(at, new Uint8Array(1)), false);
    assert.equal(memory.write(at, new Uint8Array(1)), false);
  });

  it('goes when the process becomes another program, whose memory is another', async () => {
    const { remote, program, memory } = await start();
    const at = await program.map(PAGE);
    memory.enter();
    assert(memory.alive);
    await program.become();
    memory.enter();
    assert.equal(memory.alive, false);
    const after_ = spaceOf(remote, program.pid);
    assert(after_.alive);
    assert.equal(after_.read(at, new Uint8Array(1)), after_.mappings().at(at) !== undefined);
  });

  it('says what is wrong where it cannot be reached', () => {
    assert.throws(() => new RemoteAddressSpace(remoteMemory(), NO_PID), {
      code: 'ENOENT',
      message: `the memory of process ${NO_PID} cannot be reached through /proc/${NO_PID}/mem: there is no such process`,
    });
  });

  it('says what it takes where the rights are missing', async function () {
    if (process.getuid?.() !== 0) this.skip();
    const program = await MappedProgram.start();
    atEnd(() => program.end());
    withoutRights(() => {
      const error = { code: 'EACCES', message: /the same user/ };
      assert.throws(() => new RemoteAddressSpace(remoteMemory(), program.pid), error);
    });
  });
});
