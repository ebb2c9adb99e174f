// Programs, and their memory as an emulated machine has it: what a test starts here is ended after it.
import assert from 'node:assert/strict';
import { PhysicalMemory } from '../../lib/emulated/memory/physical.js';
import { RemoteAddressSpace } from '../../lib/emulated/remote/address-space.js';
import { RemoteMemory } from '../../lib/emulated/remote/remote-memory.js';
import { lacksPrograms, MappedProgram, PAGE } from './mapped-program.js';

/** A user whom nothing belongs to. */
const NOBODY = 65534;

const undo: (() => unknown)[] = [];

/** For tests that need programs: skips them where there are none, and ends what they start. */
export function needsPrograms(): void {
  before(function () {
    if (lacksPrograms() !== undefined) this.skip();
  });
  afterEach(async () => {
    for (const step of undo.splice(0).reverse()) await step();
  });
}
export function atEnd(step: () => unknown): void {
  undo.push(step);
}

/** Physical memory that remote pages have their numbers in. */
export function remoteMemory(scatter = false): RemoteMemory {
  return new RemoteMemory(new PhysicalMemory({ size: 2 ** 20, scatter }));
}

/** A program and its memory. */
export async function start(remote = remoteMemory()) {
  const program = await MappedProgram.start();
  atEnd(() => program.end());
  const memory = spaceOf(remote, program.pid);
  return { remote, program, memory };
}
export function spaceOf(remote: RemoteMemory, pid: number): RemoteAddressSpace {
  const memory = new RemoteAddressSpace(remote, pid);
  atEnd(() => memory.close());
  return memory;
}

/** Pages from an address on, as the kernel finds them for DMA: physical pages, or -errno. */
export function framesAt(memory: RemoteAddressSpace, address: number, count: number, write = true): number[] | number {
  memory.enter();
  const frames: number[] = [];
  const rc = memory.foreign.pages(address / PAGE, count, write, (index, frame) => {
    frames[index] = frame;
  });
  return rc === 0 ? frames : rc;
}

/** What DMA reads and writes. */
export function dmaRead({ physical }: RemoteMemory, frame: number, offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  assert(physical.read(frame * PAGE + offset, bytes));
  return bytes;
}
export function dmaWrite({ physical }: RemoteMemory, frame: number, offset: number, bytes: Uint8Array): void {
  assert(physical.write(frame * PAGE + offset, bytes));
}

/** Work with the rights of nobody, where this process has any. Files of /proc that are open stay what they are. */
export function withoutRights<T>(work: () => T): T {
  const isRoot = process.geteuid?.() === 0;
  if (isRoot) process.seteuid?.(NOBODY);
  try {
    return work();
  } finally {
    if (isRoot) process.seteuid?.(0);
  }
}
