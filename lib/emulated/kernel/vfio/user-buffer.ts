// The caller's memory behind an ioctl's argument, wherever it lies: in an arena or a block, or at any address.
import { PAGE_SIZE } from '../../memory/backing.js';
import type { ArgumentMemory } from '../file.js';
import type { Process } from '../process.js';
import type { UserBuffer } from './driver.js';

/** From a byte of an arena or a block on, up to where that ends. */
export function argumentBuffer(process: Process, memory: ArgumentMemory, at: number): UserBuffer {
  const part = (offset: number, length: number): Uint8Array => {
    const from = at + offset;
    return from < 0 ? memory.bytes.subarray(0, 0) : memory.bytes.subarray(from, from + length);
  };
  return {
    process,
    copyIn: (offset, into) => {
      const bytes = part(offset, into.length);
      into.set(bytes);
      return bytes.length === into.length;
    },
    copyOut: (offset, from) => {
      const bytes = part(offset, from.length);
      bytes.set(from.subarray(0, bytes.length));
      return bytes.length === from.length;
    },
  };
}

/** From an address of the process on. */
export function addressBuffer(process: Process, address: number): UserBuffer {
  return {
    process,
    copyIn: (offset, into) => process.memory.read(address + offset, into),
    copyOut: (offset, from) => process.memory.write(address + offset, from),
  };
}

/** A buffer from a byte of another one on. */
export function bufferFrom(buffer: UserBuffer, start: number): UserBuffer {
  return {
    process: buffer.process,
    copyIn: (offset, into) => buffer.copyIn(start + offset, into),
    copyOut: (offset, from) => buffer.copyOut(start + offset, from),
  };
}

/** What the bytes are, as the first one that is not zero or not there decides (check_zeroed_user). */
export function checkZeroed(buffer: UserBuffer, offset: number, length: number): 'zero' | 'more' | 'fault' {
  const page = new Uint8Array(Math.max(0, Math.min(length, PAGE_SIZE)));
  for (let done = 0; done < length; done += PAGE_SIZE) {
    const bytes = page.subarray(0, Math.min(length - done, PAGE_SIZE)).fill(0);
    const present = buffer.copyIn(offset + done, bytes);
    if (bytes.some((byte) => byte !== 0)) return 'more';
    if (!present) return 'fault';
  }
  return 'zero';
}
