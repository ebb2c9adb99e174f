// Whatever a guest writes into its memory and its queue, the emulated SMMUv3 does not throw, does little for each access, and
// leads to nothing but memory that stage 2 lets the guest have.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { CERROR } from '../../lib/emulated/hardware/smmuv3/command-queue.js';
import type { StreamConfig } from '../../lib/emulated/hardware/smmuv3/stream.js';
import { PAGE, RAM, Smmuv3Guest, STREAM, steWords, VMID } from './emulated-smmuv3-guest.js';

const PAGES = 64;
/** What one access may ask of stage 2: two levels of context tables with three words of a descriptor, four levels of tables, itself, and each once more to tell a fault. */
const MOST_ASKED = 16;

/** Words that look like something: pointers into the guest's memory with bits that mean something, and others. */
const word64 = fc.oneof(
  fc
    .tuple(fc.nat({ max: PAGES + 2 }), fc.constantFrom(0n, 1n, 3n, 0x403n, 0x443n, 0xc43n, 0x441n, 0x7c3n))
    .map(([page, bits]) => BigInt(RAM + page * PAGE) | bits),
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  fc.constantFrom(0n, 2n ** 64n - 1n),
);
/** The first word of a context descriptor: mostly one that passes. */
const contextWord = fc
  .tuple(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), fc.integer({ min: 16, max: 39 }), fc.nat(2), fc.nat(4))
  .map(([noise, size, granule, keep]) => {
    if (keep === 0) return noise;
    const shape = BigInt(size) | (BigInt(granule) << 6n);
    const fixed = (1n << 31n) | (1n << 41n) | (1n << 46n);
    const free = (0xffffn << 48n) | (7n << 32n) | (15n << 35n) | (1n << 45n);
    return (noise & free) | fixed | shape | (BigInt(size) << 16n) | ((BigInt(granule) + 1n) << 22n);
  });

const page = fc.oneof(
  fc.nat({ max: 2 ** 10 }),
  fc.nat({ max: PAGES }).map((index) => RAM / PAGE + index),
  fc.double({ min: 0, max: 2 ** 52 - 1, noNaN: true }).map(Math.floor),
  fc.nat({ max: 64 }).map((back) => 2 ** 52 - 1 - back),
);
const access = fc.record({
  page,
  offset: fc.nat({ max: PAGE - 1 }),
  write: fc.boolean(),
  pasid: fc.oneof(fc.constant(0), fc.constant(0), fc.nat({ max: 3 }), fc.nat({ max: 2 ** 20 - 1 })),
  mayStall: fc.boolean(),
});
const u32 = fc.nat({ max: 0xffff_ffff });
const anyCommand = fc.oneof(
  fc.tuple(u32, u32, u32, u32),
  fc
    .tuple(
      fc.constantFrom(1, 3, 4, 5, 6, 0x10, 0x11, 0x12, 0x13, 0x28, 0x2a, 0x30, 0x40, 0x44, 0x45, 0x46),
      u32,
      fc.constantFrom(STREAM, VMID, 0, 0xffff_ffff),
      u32,
      u32,
    )
    .map(([opcode, rest, ...others]): [number, number, number, number] => [opcode | (rest & ~0xff), ...others]),
);
const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ access }) },
  { weight: 3, arbitrary: fc.record({ command: anyCommand }) },
  { weight: 1, arbitrary: fc.record({ at: fc.nat({ max: PAGES * 512 - 1 }), word: word64 }) },
);
const ste = fc.oneof(
  fc
    .tuple(fc.nat({ max: PAGES }), fc.nat(3), fc.nat(31), fc.nat(3), fc.boolean(), fc.nat(3))
    .map(([index, format, substreamBits, withoutSubstream, stallDisabled, ats]) =>
      steWords(RAM + index * PAGE, { format, substreamBits, withoutSubstream, stallDisabled, ats }),
    ),
  fc.tuple(u32, fc.nat({ max: 0xfff_ffff }), u32, u32).map((words) => Uint32Array.from(words)),
);

/** Every word of the guest's memory leads to one of its pages: every page is a table, and all is mapped somewhere. */
function fill(guest: Smmuv3Guest, bits: bigint): void {
  for (let index = 0; index < PAGES; index++) {
    const words = BigUint64Array.from(
      { length: 512 },
      (_, at) => BigInt(RAM + ((index * 7 + at) % PAGES) * PAGE) | bits,
    );
    guest.physical.write(guest.frame(RAM + index * PAGE), new Uint8Array(words.buffer));
  }
}

describe('emulated SMMUv3: hostile guests', () => {
  it('reach nothing that is not theirs, and stop nothing', function () {
    this.timeout(120_000);
    const guest = new Smmuv3Guest(PAGES);
    const stream = guest.stream();
    stream.ats = true;
    // The guest may not write its last page, nor read the one before.
    const last = RAM / PAGE + PAGES - 1;
    const allowed = [new Set<number>(), new Set<number>()] as const;
    for (const [index, entry] of guest.map.frames) {
      entry.writable = index !== last;
      entry.readable = index !== last - 1;
      if (entry.readable) allowed[0].add(entry.frame);
      if (entry.writable) allowed[1].add(entry.frame);
    }
    let came = 0;
    const tryAccess = (one: { page: number; offset: number; write: boolean; pasid: number; mayStall: boolean }) => {
      guest.events.length = 0;
      guest.map.asked = 0;
      stream.mayStall = one.mayStall;
      const address = stream.translate(one.page, one.offset, one.write, one.pasid);
      assert(guest.map.asked <= MOST_ASKED, `stage 2 was asked ${guest.map.asked} times`);
      assert(guest.events.length <= 1);
      if (stream.stalledTag >= 0) guest.smmu.resume(STREAM, stream.stalledTag, false);
      if (address === -1) return;
      came++;
      assert.equal(guest.events.length, 0);
      assert(Number.isSafeInteger(address) && address % PAGE === one.offset);
      assert(allowed[one.write ? 1 : 0].has(Math.floor(address / PAGE)), 'it is not allowed');
    };
    fc.assert(
      fc.property(
        fc.constantFrom(0n, 0x403n, 0x443n, 0xc43n),
        fc.array(fc.tuple(fc.nat({ max: PAGES - 1 }), fc.nat({ max: 511 }), word64), { maxLength: 200 }),
        fc.array(fc.tuple(fc.nat({ max: PAGES - 1 }), contextWord, word64, word64), { minLength: 60, maxLength: 120 }),
        fc.array(ste, { minLength: 1, maxLength: 3 }),
        fc.array(step, { minLength: 30, maxLength: 80 }),
        (bits, words, contexts, entries, steps) => {
          fill(guest, bits);
          for (const [index, at, value] of words) guest.put64(RAM + index * PAGE + at * 8, value);
          for (const [index, first, second, third] of contexts) {
            [first, second, third].forEach((value, at) => {
              guest.put64(RAM + index * PAGE + at * 8, value);
            });
          }
          entries.forEach((entry, number) => {
            const config: StreamConfig =
              number === 2
                ? { kind: 'bypass', stage2: guest.stage2 }
                : { kind: 'nested', stage2: guest.stage2, ste: entry };
            stream.install(config);
            for (const one of steps) {
              if ('access' in one) tryAccess(one.access);
              else if ('word' in one) guest.put64(RAM + one.at * 8, one.word);
              else assert((Object.values(CERROR) as number[]).includes(guest.smmu.execute(...one.command)));
            }
          });
          guest.smmu.tlb();
        },
      ),
      { numRuns: 400 },
    );
    assert(came > 100, `only ${came} accesses came through`);
  });

  it('a device with translations of its own reaches nothing that the kernel took', () => {
    const guest = new Smmuv3Guest(PAGES);
    const { tables, stream } = guest.simple({}, { ats: 1 });
    stream.ats = true;
    stream.answersInvalidations = false;
    const target = guest.page();
    tables.map(0x1000n, target, PAGE);
    const before = stream.translate(1, 0, true, 0);
    assert(before >= 0);
    guest.map.frames.delete(target / PAGE);
    guest.smmu.invalidateVmid(VMID);
    assert.equal(stream.translate(1, 0, true, 0), -1);
  });
});
