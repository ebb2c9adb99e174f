// Pinned pages of programs, as tests hold them.
import assert from 'node:assert/strict';
import { openSync } from 'node:fs';
import { ForeignPages } from '../../lib/emulated/memory/foreign.js';
import type { RemoteAddressSpace } from '../../lib/emulated/remote/address-space.js';
import { RemoteMemoryFile } from '../../lib/emulated/remote/memory-file.js';
import type { RemoteMemory } from '../../lib/emulated/remote/remote-memory.js';
import { type MappedProgram, PAGE } from './mapped-program.js';
import { atEnd } from './remote-stage.js';

/** Pages from an address on, pinned until the test ends or `unpin`. */
export function pin(memory: RemoteAddressSpace, address: number, count: number, write = true) {
  memory.enter();
  const pages = new ForeignPages(memory.foreign, address / PAGE, write);
  const rc = pages.pin(0, count);
  let isPinned = rc === 0;
  const unpin = () => {
    if (isPinned) pages.unpin(0, count);
    isPinned = false;
  };
  atEnd(unpin);
  const frames = Array.from({ length: count }, (_, i) => pages.frame(i));
  return { rc, frames, first: frames[0] ?? 0, unpin };
}
/** A file of the program, as the server of one opens it. */
export function fileOf(memory: RemoteAddressSpace, remote: RemoteMemory, fd: number): RemoteMemoryFile {
  const file = new RemoteMemoryFile(remote, openSync(`/proc/${memory.pid}/fd/${fd}`, 'r+'));
  atEnd(() => file.release());
  return file;
}
export function framesOf(file: RemoteMemoryFile, first: number, count: number): number[] | number {
  const frames: number[] = [];
  const rc = file.memory.pages(first, count, true, (index, frame) => {
    frames[index] = frame;
  });
  return rc === 0 ? frames : rc;
}
/** What all of the bytes are. */
export function one(bytes: Uint8Array): number | undefined {
  assert(bytes.every((byte) => byte === bytes[0]));
  return bytes[0];
}
export function filled(value: number, length = PAGE): Uint8Array {
  return new Uint8Array(length).fill(value);
}
/** The program unmaps memory, and tells before. */
export async function unmap(
  program: MappedProgram,
  memory: RemoteAddressSpace,
  at: number,
  length: number,
): Promise<void> {
  memory.aboutToUnmap(at, length);
  await program.must('unmap', at, length);
}
