// The memory of a program, by /proc: enough for what calls read and write.
import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import type { AddressSpace, Placement } from '../emulated/memory/address-space.js';

export class ProgramMemory implements AddressSpace {
  readonly isForeign = true;
  readonly #fd: number;

  constructor(pid: number) {
    this.#fd = openSync(`/proc/${pid}/mem`, 'r+');
  }
  find(): Placement | undefined {
    return undefined;
  }
  read(address: number, into: Uint8Array): boolean {
    return this.#transfer(address, into.length, (at, done, left) => readSync(this.#fd, into, done, left, at));
  }
  write(address: number, from: Uint8Array): boolean {
    return this.#transfer(address, from.length, (at, done, left) => writeSync(this.#fd, from, done, left, at));
  }
  #transfer(address: number, length: number, move: (at: number, done: number, left: number) => number): boolean {
    if (!Number.isSafeInteger(address + length)) return length === 0;
    for (let done = 0; done < length; ) {
      let moved = 0;
      try {
        moved = move(address + done, done, length - done);
      } catch {
        // EIO: nothing lies there.
        return false;
      }
      if (moved === 0) return false;
      done += moved;
    }
    return true;
  }
  close(): void {
    closeSync(this.#fd);
  }
}
