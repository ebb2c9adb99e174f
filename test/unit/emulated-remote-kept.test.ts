// Pinned pages of other processes whose mapping goes, or whose process does: Linux keeps them, and so does the machine.
import assert from 'node:assert/strict';
import { ForeignPages } from '../../lib/emulated/memory/foreign.js';
import { MAP, PAGE } from '../rig/mapped-program.js';
import { fileOf, filled, one, pin, unmap } from '../rig/remote-pins.js';
import { dmaRead, dmaWrite, framesAt, needsPrograms, spaceOf, start, withoutRights } from '../rig/remote-stage.js';

const EFAULT = -14;

describe('pinned pages of another process, whose mapping goes,', () => {
  needsPrograms();

  it('stay when they are unmapped, and what is mapped there then is other pages', async () => {
    const { remote, program, memory } = await start();
    const at = await program.map(3 * PAGE);
    await program.fill(at, 3 * PAGE, 3);
    const before = pin(memory, at, 3);
    assert(memory.watchesUnmap);
    await unmap(program, memory, at + PAGE, PAGE);
    await program.map(PAGE, { at: at + PAGE, flags: MAP.private | MAP.fixed });
    await program.fill(at + PAGE, PAGE, 4);
    assert.equal(one(dmaRead(remote, before.first, 0, 3 * PAGE)), 3);
    const now = pin(memory, at, 3);
    assert.deepEqual([now.frames[0], now.frames[2]], [before.frames[0], before.frames[2]]);
    assert(!before.frames.includes(now.frames[1] ?? 0));
    dmaWrite(remote, before.first, 0, filled(7, 3 * PAGE));
    assert.equal(one(dmaRead(remote, now.frames[1] ?? 0, 0, PAGE)), 4);
    assert.equal(await program.peek(at + PAGE), 4);
    assert.equal(await program.peek(at + 2 * PAGE), 7);
    assert.equal(one(dmaRead(remote, before.first, 0, 3 * PAGE)), 7);
    before.unpin();
    assert.deepEqual(framesAt(memory, at + PAGE, 1), [now.frames[1]]);
    now.unpin();
    assert.equal(memory.watchesUnmap, false);
    assert.equal(remote.physical.find(before.first + 1), undefined, 'a page that nobody can reach is kept');
  });

  it('stay when the process throws away what was in them', async () => {
    const { remote, program, memory } = await start();
    const at = await program.map(PAGE);
    await program.fill(at, PAGE, 3);
    const { first } = pin(memory, at, 1);
    memory.aboutToUnmap(at, PAGE);
    await program.must('discard', at, PAGE);
    assert.equal(await program.peek(at), 0);
    assert.equal(one(dmaRead(remote, first, 0, PAGE)), 3);
    assert.notDeepEqual(framesAt(memory, at, 1), [first]);
  });

  it('move with the mapping', async () => {
    const { remote, program, memory } = await start();
    const at = await program.map(2 * PAGE);
    await program.fill(at, PAGE, 1);
    await program.fill(at + PAGE, PAGE, 2);
    const { frames } = pin(memory, at, 2);
    // Nothing above it, so that it must move to grow.
    const to = await program.must('move', at, 2 * PAGE, 4096 * PAGE);
    assert.notEqual(to, at);
    memory.moved(at, to, 2 * PAGE);
    assert.deepEqual(framesAt(memory, to, 2), frames);
    await program.fill(to, PAGE, 5);
    assert.equal(one(dmaRead(remote, frames[0] ?? 0, 0, PAGE)), 5);
    dmaWrite(remote, frames[1] ?? 0, 0, filled(6));
    assert.equal(await program.peek(to + PAGE), 6);
    await unmap(program, memory, to, 4096 * PAGE);
    await program.map(2 * PAGE, { at: to, flags: MAP.private | MAP.fixed });
    const now = framesAt(memory, to, 2);
    assert(Array.isArray(now) && now.every((frame) => !frames.includes(frame)));
    assert.equal(one(dmaRead(remote, frames[0] ?? 0, 0, PAGE)), 5);
    assert.equal(one(dmaRead(remote, frames[1] ?? 0, 0, PAGE)), 6);
  });

  for (const rights of ['with', 'without'] as const) {
    it(`of shared memory stay with who else maps it, ${rights} the right to open it`, async function () {
      if (rights === 'with' && process.getuid?.() !== 0) this.skip();
      const { remote, program, memory } = await start();
      const at = await program.map(2 * PAGE, { flags: MAP.shared });
      await program.fill(at, 2 * PAGE, 1);
      const parent = program.pid;
      const childMemory = spaceOf(remote, await program.fork());
      const pinned = () => pin(childMemory, at, 2);
      const { frames, first } = rights === 'with' ? pinned() : withoutRights(pinned);
      assert.equal(childMemory.watchesUnmap, rights === 'without');
      childMemory.aboutToExit();
      await program.exitChild(parent);
      childMemory.exited();
      await program.fill(at, PAGE, 2);
      assert.equal(one(dmaRead(remote, first, 0, PAGE)), 2);
      dmaWrite(remote, first, PAGE, filled(3));
      assert.equal(await program.peek(at + PAGE), 3);
      assert.deepEqual(framesAt(memory, at, 2), frames);
      // The last one that maps it goes.
      await unmap(program, memory, at, 2 * PAGE);
      assert.equal(one(dmaRead(remote, first, 0, PAGE)), 2);
      dmaWrite(remote, first, 0, filled(4, 2 * PAGE));
      assert.equal(one(dmaRead(remote, first, 0, 2 * PAGE)), 4);
    });
  }

  it('of a memfd stay after the program ended, as those of its own do if it says that it goes', async () => {
    const { remote, program, memory } = await start();
    const fd = await program.must('memfd', 2 * PAGE);
    const [mapped, own] = [await program.map(2 * PAGE, { fd, flags: MAP.shared }), await program.map(PAGE)];
    await program.fill(mapped, 2 * PAGE, 1);
    await program.fill(own, PAGE, 2);
    const file = fileOf(memory, remote, fd);
    const pages = new ForeignPages(file.memory, 0, true);
    assert.equal(pages.pin(0, 2), 0);
    const { first } = pin(memory, own, 1);
    memory.aboutToExit();
    await program.end();
    memory.exited();
    assert.equal(one(dmaRead(remote, first, 0, PAGE)), 2);
    assert.equal(one(dmaRead(remote, pages.frame(0), 0, 2 * PAGE)), 1);
    dmaWrite(remote, pages.frame(1), 0, filled(3));
    assert.equal(one(dmaRead(remote, pages.frame(1), 0, PAGE)), 3);
    pages.unpin(0, 2);
    assert.equal(framesAt(memory, own, 1), EFAULT);
  });

  it('of a process that was killed read as zeros, and take what is written to nowhere', async () => {
    const { remote, program, memory } = await start();
    const at = await program.map(PAGE);
    await program.fill(at, PAGE, 2);
    const { first } = pin(memory, at, 1);
    assert.equal(one(dmaRead(remote, first, 0, PAGE)), 2);
    await program.kill();
    assert.equal(framesAt(memory, at, 1), EFAULT);
    assert.equal(one(dmaRead(remote, first, 0, PAGE)), 0);
    dmaWrite(remote, first, 0, filled(3));
    memory.exited();
    assert.equal(one(dmaRead(remote, first, 0, PAGE)), 0);
    assert(remote.physical.load64(first * PAGE));
    assert.deepEqual([remote.physical.low, remote.physical.high], [0, 0]);
  });

  it('are closed with the last pin', async () => {
    const { remote, program, memory } = await start();
    const own = await program.map(PAGE);
    const { unpin, first } = pin(memory, own, 1);
    memory.close();
    assert.equal(one(dmaRead(remote, first, 0, PAGE)), 0);
    await program.fill(own, PAGE, 5);
    assert.equal(one(dmaRead(remote, first, 0, PAGE)), 5);
    unpin();
    assert.equal(memory.read(own, new Uint8Array(1)), false);
    assert.equal(remote.physical.find(first), undefined);
  });
});
