// An ioctl's struct in the memory of another process: a copy, whose bytes go back as the kernel writes them.
import { ERRNO } from '../../uapi/errno.js';
import type { AddressSpace } from '../memory/address-space.js';
import { PAGE_SIZE } from '../memory/backing.js';
import type { ArgumentMemory } from './file.js';

const SIZE_FIELD = 4;
/** Callers may claim any size: more zeros than this behind the struct are taken for memory that is not there. */
const LONGEST = 2 ** 20;

/** A struct that begins with its own size; undefined where not even that can be read. */
export function copiedArgument(memory: AddressSpace, address: number): ArgumentMemory | undefined {
  const size = new Uint32Array(1);
  if (!memory.read(address, new Uint8Array(size.buffer))) return undefined;
  const claimed = Math.min(size[0] ?? 0, LONGEST);
  const u32 = new Uint32Array(Math.ceil(Math.max(claimed, SIZE_FIELD) / 4));
  const all = new Uint8Array(u32.buffer);
  const bytes = all.subarray(0, readable(memory, address, all.subarray(0, claimed)));
  // Where the caller changed its size meanwhile, what is copied is what was read first.
  u32[0] = size[0] ?? 0;
  return {
    bytes,
    u32,
    copyBack: (at, length) => (memory.write(address + at, bytes.subarray(at, at + length)) ? 0 : -ERRNO.EFAULT),
  };
}

/** Reads as much as is there; answers how much, at least the size. */
function readable(memory: AddressSpace, address: number, into: Uint8Array): number {
  if (memory.read(address, into)) return Math.max(into.length, SIZE_FIELD);
  let done = 0;
  while (done < into.length) {
    const at = address + done;
    const part = into.subarray(done, done + PAGE_SIZE - (at % PAGE_SIZE));
    if (!memory.read(at, part)) break;
    done += part.length;
  }
  return Math.max(done, SIZE_FIELD);
}
