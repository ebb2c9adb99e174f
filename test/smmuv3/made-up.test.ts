// Page tables as a guest might have them, made up from seeds: each access comes to where the tables say, or is refused as they
// say, by an account of Armv8-A's tables of the suite's own (Arm DDI 0487, D8.3 and D8.15).
import assert from 'node:assert/strict';
import { numbersOf, Random } from '../differential/random.js';
import { pattern } from '../rig/edu.js';
import { smmuv3Cases } from '../rig/smmuv3-cases.js';
import type { EventName } from '../rig/smmuv3-events.js';
import type { Feature } from '../rig/smmuv3-features.js';
import { IPA, READ_AT, Smmuv3Guest } from '../rig/smmuv3-guest.js';
import { DESCRIPTOR, type Granule, type GuestTables, USUAL_LEAF } from '../rig/smmuv3-tables.js';

const SEEDS: readonly { id: string; seed: number; granule: Granule; bits: number; needs: readonly Feature[] }[] = [
  { id: '4k-1', seed: 1, granule: 12, bits: 48, needs: ['4k'] },
  { id: '4k-2', seed: 2, granule: 12, bits: 39, needs: ['4k'] },
  { id: '4k-3', seed: 3, granule: 12, bits: 30, needs: ['4k'] },
  { id: '16k-1', seed: 4, granule: 14, bits: 47, needs: ['16k'] },
  { id: '16k-2', seed: 5, granule: 14, bits: 36, needs: ['16k'] },
  { id: '64k-1', seed: 6, granule: 16, bits: 48, needs: ['64k'] },
  { id: '64k-2', seed: 7, granule: 16, bits: 42, needs: ['64k'] },
];
const LEAVES = 8;
const ACCESSES = 16;
const WORD = 4;
/** An address that is always mapped, on to the last page of data. */
const KNOWN = 0n;
/** Output addresses of 40 bits, and what is beyond them. */
const BEYOND = 1n << 41n;
/** Where the host has nothing. */
const NOWHERE = 0x7000_0000n;
const ADDRESS = (1n << 48n) - 1n;

/** What a leaf has, or has not, that a usual one has not, or has: how often. */
const FLAWS: readonly (readonly [weight: number, bit: bigint])[] = [
  [60, 0n],
  [15, DESCRIPTOR.readOnly],
  [15, DESCRIPTOR.accessed],
  [10, DESCRIPTOR.valid],
];

/** What becomes of an access: a fault of the guest's, or an address of its memory. */
type Outcome = { readonly fault: EventName } | { readonly address: bigint };

/** What the tables say of an access: of several faults, the first that is looked for. */
function outcomeOf(tables: GuestTables, va: bigint, access: 'read' | 'write'): Outcome {
  let readOnly = false;
  for (let level = tables.firstLevel; level <= 3; level++) {
    const descriptor = tables.load(va, level);
    const isTable = (descriptor & DESCRIPTOR.table) !== 0n;
    if ((descriptor & DESCRIPTOR.valid) === 0n || (level === 3 && !isTable)) return { fault: 'translation' };
    if (level < 3 && isTable) {
      readOnly ||= (descriptor & DESCRIPTOR.tableReadOnly) !== 0n;
      continue;
    }
    const within = (1n << BigInt(tables.shift(level))) - 1n;
    const output = descriptor & ADDRESS & ~within;
    if (output >= BEYOND) return { fault: 'addressSize' };
    if ((descriptor & DESCRIPTOR.accessed) === 0n) return { fault: 'access' };
    readOnly ||= (descriptor & DESCRIPTOR.readOnly) !== 0n;
    if (readOnly && access === 'write') return { fault: 'permission' };
    return { address: output | (va & within) };
  }
  throw new Error('a walk ends at level 3');
}

/** A leaf at some address: a page, or a block around all of the guest's memory. Answers where its data is accessed. */
function makeLeaf(guest: Smmuv3Guest, random: Random): bigint {
  const { tables, ram } = guest;
  const level = tables.firstLevel <= 2 && random.percent(25) ? 2 : 3;
  const size = 1n << BigInt(tables.shift(level));
  const va = freeAddress(tables, random, size);
  const page = ram.data(random.below(7), 1 << tables.granule);
  const output = random.weighted<bigint>([
    [80, page & ~(size - 1n)],
    [10, BEYOND],
    [10, NOWHERE & ~(size - 1n)],
  ]);
  // QEMU (10.0) looks at the address last; by the architecture it comes before access flag and rights.
  const flaw = output === BEYOND ? 0n : random.weighted(FLAWS);
  tables.map(va, output, USUAL_LEAF ^ flaw, level);
  return va + (page & (size - 1n));
}

/** Where nothing is mapped within the same table, and no block. */
function freeAddress(tables: GuestTables, random: Random, size: bigint): bigint {
  for (;;) {
    const some = (BigInt(random.u32()) << 20n) | BigInt(random.u32());
    const va = some & ((1n << BigInt(tables.bits)) - 1n) & ~(size - 1n);
    const level = Math.max(tables.firstLevel, 2);
    if (tables.load(va, level) === 0n) return va;
  }
}

/** Asserts that an access comes to an address of the guest's memory. */
async function comes(guest: Smmuv3Guest, va: bigint, access: 'read' | 'write', address: bigint): Promise<void> {
  const { ram } = guest;
  const expected = pattern(WORD, access === 'write' ? 1 : 2);
  ram.write(address, access === 'write' ? new Uint8Array(WORD) : expected);
  await guest.access(va, access);
  if (access === 'read') await guest.edu.store(KNOWN, WORD, READ_AT);
  const arrived = ram.read(access === 'read' ? guest.page(7) : address, WORD);
  assert.deepEqual(arrived, expected, `${access} 0x${va.toString(16)}`);
}

smmuv3Cases('smmuv3-made-up', (test) => {
  for (const { id, seed, granule, bits, needs } of SEEDS) {
    test(id, 'what tables say is what the device meets', { needs }, async (t) => {
      const random = new Random(numbersOf(seed));
      const guest = new Smmuv3Guest(t, { granule, bits });
      const { tables, ram } = guest;
      tables.map(KNOWN, guest.page(7));
      const leaves = Array.from({ length: LEAVES }, () => makeLeaf(guest, random));
      guest.attach();
      // The device has something to write.
      guest.write(7, pattern(WORD));
      await guest.edu.load(KNOWN, WORD);
      for (let i = 0; i < ACCESSES; i++) {
        const va = (random.pick(leaves) ?? 0n) + BigInt(random.below(1 << (granule - 2)) * WORD);
        const access = random.percent(60) ? 'write' : 'read';
        const outcome = outcomeOf(tables, va, access);
        if ('fault' in outcome) {
          await guest.faults(outcome.fault, va, access);
          continue;
        }
        if (outcome.address >= IPA && outcome.address < IPA + BigInt(ram.memory.size)) {
          await comes(guest, va, access, outcome.address);
        } else await guest.access(va, access);
      }
      await guest.quiet();
    });
  }
});
