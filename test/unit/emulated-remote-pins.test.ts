// Which pages of other processes are which, when devices ask for them: what is the same, what is not, and what is none.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { MAP, PAGE, PROT } from '../rig/mapped-program.js';
import { fileOf, filled, framesOf, one, pin } from '../rig/remote-pins.js';
import {
  atEnd,
  dmaRead,
  dmaWrite,
  framesAt,
  needsPrograms,
  remoteMemory,
  spaceOf,
  start,
} from '../rig/remote-stage.js';

const EFAULT = -14;
const EINVAL = -22;

describe('pinned pages of another process', () => {
  needsPrograms();

  it('keep their numbers, one after another', async () => {
    const { program, memory } = await start();
    const at = await program.map(4 * PAGE);
    const frames = framesAt(memory, at, 4);
    assert(Array.isArray(frames));
    const [first = 0] = frames;
    assert.deepEqual(frames, [first, first + 1, first + 2, first + 3]);
    const pinned = pin(memory, at + PAGE, 2);
    assert.deepEqual(pinned.frames, [first + 1, first + 2]);
    assert.deepEqual(framesAt(memory, at, 4), frames);
  });

  it('lie apart on a machine that scatters memory', async () => {
    const { remote, program, memory } = await start(remoteMemory(true));
    const at = await program.map(4 * PAGE);
    const frames = framesAt(memory, at, 4);
    assert(Array.isArray(frames));
    assert.equal(new Set(frames).size, 4);
    for (const [i, frame] of frames.entries()) assert.notEqual(frame + 1, frames[i + 1]);
    for (const i of [0, 1, 2, 3]) await program.fill(at + i * PAGE, PAGE, i + 1);
    assert.deepEqual(
      frames.map((frame) => one(dmaRead(remote, frame, 0, PAGE))),
      [1, 2, 3, 4],
    );
  });

  it('are what DMA reads and writes', async () => {
    const { remote, program, memory } = await start();
    const at = await program.map(2 * PAGE);
    const { first } = pin(memory, at, 2);
    await program.fill(at, 2 * PAGE, 5);
    assert.equal(one(dmaRead(remote, first, PAGE - 3, 6)), 5);
    dmaWrite(remote, first, PAGE - 2, filled(8, 4));
    assert.equal(await program.peek(at + PAGE - 3), 5);
    assert.equal(await program.peek(at + PAGE - 2), 8);
    assert.equal(await program.peek(at + PAGE + 1), 8);
    assert.equal(await program.peek(at + PAGE + 2), 5);
    // By whole pages, twice: nothing is remembered of what was in them.
    const page = new Uint8Array(PAGE);
    assert(remote.physical.readPage((first + 1) * PAGE, page, 0));
    assert.equal(page[PAGE - 1], 5);
    await program.fill(at + PAGE, PAGE, 6);
    assert(remote.physical.readPage((first + 1) * PAGE, page, 0));
    assert.equal(one(page), 6);
    assert(remote.physical.writePage((first + 1) * PAGE, filled(7)));
    assert(remote.physical.writePage((first + 1) * PAGE, filled(8)));
    assert.equal(await program.peek(at + PAGE), 8);
    // As words, likewise.
    const memoryOf = remote.physical.find(first);
    assert(memoryOf !== undefined);
    const word = memoryOf.pageOf(first) * PAGE + 4;
    await program.fill(at, 8, 1);
    assert.deepEqual([memoryOf.word(word - 4), memoryOf.word(word)], [0x0101_0101, 0x0101_0101]);
    await program.fill(at, 8, 2);
    assert.equal(memoryOf.word(word), 0x0202_0202);
    assert(remote.physical.load64(first * PAGE + PAGE - 8));
    assert.deepEqual([remote.physical.low, remote.physical.high], [0x0505_0505, 0x0808_0505]);
    await program.fill(at, PAGE, 9);
    assert(remote.physical.load64(first * PAGE + PAGE - 8));
    assert.deepEqual([remote.physical.low, remote.physical.high], [0x0909_0909, 0x0909_0909]);
  });

  it('are not found where a mapping forbids it, or ends', async () => {
    const { program, memory } = await start();
    const at = await program.map(4 * PAGE);
    await program.must('unmap', at + 3 * PAGE, PAGE);
    assert.equal(framesAt(memory, at, 4), EFAULT);
    assert(Array.isArray(framesAt(memory, at, 3)));
    await program.must('protect', at + PAGE, PAGE, PROT.read);
    assert.equal(framesAt(memory, at, 3), EFAULT);
    assert(Array.isArray(framesAt(memory, at, 3, false)));
    await program.must('protect', at + PAGE, PAGE, PROT.none);
    assert.equal(framesAt(memory, at, 3, false), EFAULT);
    await program.must('protect', at + PAGE, PAGE, PROT.write);
    assert.equal(framesAt(memory, at, 3, false), EFAULT);
    assert(Array.isArray(framesAt(memory, at, 3)));
    assert.equal(framesAt(memory, 0, 1), EFAULT);
    // Registers, in the wide sense of the kernel: what has no memory behind it.
    const [vvar] = memory
      .mappings()
      .between(0, 2 ** 48)
      .filter(({ name }) => name === '[vvar]');
    if (vvar !== undefined) assert.equal(framesAt(memory, vvar.start, 1, false), EFAULT);
  });

  it('are the same page wherever shared memory is mapped, and as the file has it', async () => {
    const { remote, program, memory } = await start();
    const fd = await program.must('memfd', 4 * PAGE);
    const [a, b] = [await program.map(4 * PAGE, { fd, flags: MAP.shared }), 0];
    const other = await program.map(2 * PAGE, { fd, flags: MAP.shared, offset: 2 * PAGE });
    const copy = await program.map(4 * PAGE, { fd, flags: MAP.private });
    assert.equal(b, 0);
    const frames = framesAt(memory, a, 4);
    assert(Array.isArray(frames));
    assert.deepEqual(framesAt(memory, other, 2), frames.slice(2));
    assert.deepEqual(framesOf(fileOf(memory, remote, fd), 0, 4), frames);
    const copies = framesAt(memory, copy, 4);
    assert(Array.isArray(copies) && copies.every((frame) => !frames.includes(frame)));
  });

  it("are the process's own unless they are shared: a child has others", async () => {
    const { remote, program, memory } = await start();
    const own = await program.map(PAGE);
    const shared = await program.map(PAGE, { flags: MAP.shared });
    await program.fill(own, PAGE, 1);
    const parent = program.pid;
    const childMemory = spaceOf(remote, await program.fork());
    const [mine, theirs] = [pin(memory, own, 1), pin(childMemory, own, 1)];
    assert.notEqual(mine.first, theirs.first);
    assert.deepEqual(framesAt(memory, shared, 1), framesAt(childMemory, shared, 1));
    await program.fill(own, PAGE, 2);
    assert.equal(one(dmaRead(remote, mine.first, 0, PAGE)), 1);
    assert.equal(one(dmaRead(remote, theirs.first, 0, PAGE)), 2);
    await program.exitChild(parent);
    assert.equal(await program.peek(own), 1);
  });

  it('end where a file does', async () => {
    const { remote, program, memory } = await start();
    const fd = await program.must('memfd', PAGE + 100);
    const at = await program.map(3 * PAGE, { fd, flags: MAP.shared });
    assert.equal(framesAt(memory, at, 3), EFAULT);
    const mapped = framesAt(memory, at, 2);
    assert(Array.isArray(mapped));
    const file = fileOf(memory, remote, fd);
    // Half of a page is none to memfd_pin_folios.
    assert.equal(framesOf(file, 0, 2), EINVAL);
    assert.deepEqual(framesOf(file, 0, 1), mapped.slice(0, 1));
    const { frames } = pin(memory, at, 2);
    // What lies behind the end of the file is memory all the same, and does not make it longer.
    dmaWrite(remote, frames[1] ?? 0, 50, filled(6, 100));
    assert.equal(await program.peek(at + PAGE + 50), 6);
    assert.equal(await program.peek(at + PAGE + 149), 6);
    assert.equal(statSync(`/proc/${program.pid}/fd/${fd}`).size, PAGE + 100);
    assert.equal(framesOf(file, 0, 2), EINVAL);
    await program.must('truncate', fd, 0);
    dmaWrite(remote, frames[0] ?? 0, 0, filled(6));
    assert.equal(one(dmaRead(remote, frames[0] ?? 0, 0, 2 * PAGE)), 0);
    assert.equal(statSync(`/proc/${program.pid}/fd/${fd}`).size, 0);
    assert.equal(framesOf(file, 0, 1), EINVAL);
    assert.equal(framesAt(memory, at, 1), EFAULT);
  });

  it('are not found for writing in a mapping whose file is written back', async function () {
    const { remote, program, memory } = await start();
    const folder = mkdtempSync(path.join(os.homedir(), '.iommufd-test-'));
    atEnd(() => rmSync(folder, { recursive: true }));
    const fd = await program.must('open', path.join(folder, 'file'), PAGE);
    const shared = await program.map(PAGE, { fd, flags: MAP.shared });
    memory.enter();
    const mapping = memory.mappings().at(shared);
    if (mapping === undefined || !remote.writesBack(mapping)) this.skip();
    assert.equal(framesAt(memory, shared, 1), EFAULT);
    assert(Array.isArray(framesAt(memory, shared, 1, false)));
    const own = await program.map(PAGE, { fd, flags: MAP.private });
    assert(Array.isArray(framesAt(memory, own, 1)));
    assert.equal(framesOf(fileOf(memory, remote, fd), 0, 1), EINVAL);
  });
});
