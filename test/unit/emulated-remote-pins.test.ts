// Pinned pages of other processes: which page is which, and what becomes of one whose mapping goes.
import assert from 'node:assert/strict';
import { mkdtempSync, openSync, rmSync, statSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { ForeignPages } from '../../lib/emulated/memory/foreign.js';
import type { RemoteAddressSpace } from '../../lib/emulated/remote/address-space.js';
import { RemoteMemoryFile } from '../../lib/emulated/remote/memory-file.js';
import { MAP, type MappedProgram, PAGE, PROT } from '../rig/mapped-program.js';
import {
  after,
  dmaRead,
  dmaWrite,
  framesAt,
  needsPrograms,
  remoteMemory,
  spaceOf,
  start,
  withoutRights,
} from '../rig/remote-stage.js';

const EFAULT = -14;
const EINVAL = -22;

/** Pages from an address on, pinned until the test ends or `unpin`. */
function pin(memory: RemoteAddressSpace, address: number, count: number, write = true) {
  memory.enter();
  const pages = new ForeignPages(memory.foreign, address / PAGE, write);
  const rc = pages.pin(0, count);
  let isPinned = rc === 0;
  const unpin = () => {
    if (isPinned) pages.unpin(0, count);
    isPinned = false;
  };
  after(unpin);
  const frames = Array.from({ length: count }, (_, i) => pages.frame(i));
  return { rc, frames, first: frames[0] ?? 0, unpin };
}
/** A file of the program, as the server of one opens it. */
function fileOf(memory: RemoteAddressSpace, remote: ReturnType<typeof remoteMemory>, fd: number): RemoteMemoryFile {
  const file = new RemoteMemoryFile(remote, openSync(`/proc/${memory.pid}/fd/${fd}`, 'r+'));
  after(() => file.release());
  return file;
}
function framesOf(file: RemoteMemoryFile, first: number, count: number): number[] | number {
  const frames: number[] = [];
  const rc = file.memory.pages(first, count, true, (index, frame) => {
    frames[index] = frame;
  });
  return rc === 0 ? frames : rc;
}
function one(bytes: Uint8Array): number | undefined {
  assert(bytes.every((byte) => byte === bytes[0]));
  return bytes[0];
}
function filled(value: number, length = PAGE): Uint8Array {
  return new Uint8Array(length).fill(value);
}
async function unmap(program: MappedProgram, memory: RemoteAddressSpace, at: number, length: number): Promise<void> {
  memory.aboutToUnmap(at, length);
  await program.must('unmap', at, length);
}

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
    after(() => rmSync(folder, { recursive: true }));
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
