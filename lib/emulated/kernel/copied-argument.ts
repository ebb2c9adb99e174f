// An ioctl's struct in memory that is not at hand: a copy as long as the struct says, which the kernel's answer is put back from.
import type { AddressSpace } from '../memory/address-space.js';
import { PAGE_SIZE } from '../memory/backing.js';
import type { ArgumentMemory } from './file.js';

/** Bytes of the field that a struct starts with: how long it is. */
const SIZE_FIELD = 4;
/** Bytes that hardly any struct is longer than. */
const USUAL = 128;
/** Of longer structs the rest counts as missing. */
const LONGEST = 2 ** 20;

class CopiedArgument implements ArgumentMemory {
  constructor(
    readonly bytes: Uint8Array,
    readonly u32: Uint32Array,
    readonly memory: AddressSpace,
    readonly address: number,
  ) {}

  store(at: number, length: number): boolean {
    return this.memory.write(this.address + at, this.bytes.subarray(at, at + length));
  }
}

/** As much of the struct at an address as is there; undefined where not even its length is. */
export function copyArgument(memory: AddressSpace, address: number): ArgumentMemory | undefined {
  const start = copyStart(memory, address);
  if (start === undefined) return undefined;
  // The length that was looked at counts, whatever the program does meanwhile.
  const size = new DataView(start.buffer, 0, SIZE_FIELD).getUint32(0, true);
  const wanted = Math.min(LONGEST, Math.max(SIZE_FIELD, size));
  const u32 = new Uint32Array(Math.ceil(wanted / SIZE_FIELD));
  const bytes = new Uint8Array(u32.buffer, 0, wanted);
  bytes.set(start.subarray(0, wanted));
  const there = fill(memory, address, bytes, start.length);
  return new CopiedArgument(bytes.subarray(0, there), u32, memory, address);
}

/** What most structs need, in one go: up to the end of the page, if the length lies in one. */
function copyStart(memory: AddressSpace, address: number): Uint8Array | undefined {
  const start = new Uint8Array(Math.max(SIZE_FIELD, Math.min(USUAL, PAGE_SIZE - (address % PAGE_SIZE))));
  return memory.read(address, start) ? start : undefined;
}

/** Copies what is left, up to the first page that is not there; answers how many bytes there are. */
function fill(memory: AddressSpace, address: number, into: Uint8Array, from: number): number {
  for (let done = from; done < into.length; ) {
    const part = into.subarray(done, done + PAGE_SIZE - ((address + done) % PAGE_SIZE));
    if (!memory.read(address + done, part)) return done;
    done += part.length;
  }
  return into.length;
}
