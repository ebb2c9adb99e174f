// Walks through whatever a guest may have put in its memory: held to a plain walk in bigints, bounded, and never outside of
// what stage 2 lets the guest have.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { inUpperHalf, type Regime } from '../../lib/emulated/hardware/armv8/regime.js';
import { Stage1Walker, WALK } from '../../lib/emulated/hardware/armv8/walker.js';
import { Armv8Tables, type LeafAttributes } from '../rig/armv8-tables.js';
import { GuestMemory, regime } from './armv8-guest.js';
import { type Outcome, referenceWalk } from './armv8-reference.js';
import { generator } from './stage.js';

const BASE = 0x4000_0000;
const SIZE = 2 ** 18;
const PAGE = 4096;
const MOST_LOADS = 4;
const RIGHTS = ['', 'r', 'w', 'rw'];
const ENDS = Object.keys(WALK);

type Granule = Regime['granule'];
type Random = (below: number) => number;

/** What a walk found, as the reference tells it. */
function outcomeOf(walker: Stage1Walker, ended: number): Outcome {
  const { level } = walker;
  switch (ended) {
    case WALK.done:
      return {
        ended: 'done',
        level,
        output: BigInt(walker.outPage) * BigInt(PAGE),
        length: BigInt(PAGE) << BigInt(walker.log2Pages),
        unprivileged: RIGHTS[walker.permissions] ?? '?',
        privileged: RIGHTS[walker.privilegedPermissions] ?? '?',
        global: walker.global,
      };
    case WALK.fetch:
      return { ended: 'fetch', level, address: BigInt(walker.fetchAddress) };
    default: {
      const name = ENDS[ended];
      assert(name === 'translation' || name === 'addressSize' || name === 'access', `${name}`);
      return { ended: name, level };
    }
  }
}

/** Walks both ways, and compares; answers how it ended. */
function compare(guest: GuestMemory, walker: Stage1Walker, mine: Regime, va: bigint): Outcome {
  const page = Number(va >> 12n);
  const high = inUpperHalf(page);
  guest.loads = 0;
  const ended = walker.walk(mine, page, high);
  assert(guest.loads <= MOST_LOADS, `${guest.loads} loads`);
  const found = outcomeOf(walker, ended);
  assert.deepEqual(
    found,
    referenceWalk(mine, va, high, (ipa) => guest.word(ipa)),
  );
  return found;
}

const granules = fc.constantFrom<Granule>(12, 14, 16);

const regimes = granules.chain((granule) =>
  fc.record({
    granule: fc.constant(granule),
    inputBits: fc.integer({ min: 16, max: granule === 16 ? 52 : 48 }),
    outputBits: fc.constantFrom(32, 36, 40, 42, 44, 48, 52),
    accessFlagFaults: fc.boolean(),
    hierarchical: fc.boolean(),
    topByteIgnored: fc.boolean(),
    table: fc.oneof(
      { weight: 8, arbitrary: fc.nat(SIZE - 1).map((offset) => BASE + offset) },
      fc.nat(2 ** 31 - 1),
      fc.maxSafeNat().map((value) => value % 2 ** 52),
    ),
  }),
);

/** A word of 64 bits that looks like a descriptor more often than not. */
function randomWord(random: Random): bigint {
  const bits = (count: number) => BigInt(random(2 ** count));
  const anything = (bits(16) << 48n) | (bits(16) << 32n) | (bits(16) << 16n) | bits(16);
  if (random(8) === 0) return anything;
  // In the guest's memory mostly, so that walks get far; a page, a table or a block mostly.
  const address =
    random(6) > 0 ? BigInt(BASE + random(SIZE / PAGE) * PAGE) : ((anything >> 12n) << 12n) & (2n ** 48n - 1n);
  const type = random(10) === 0 ? bits(2) : random(8) === 0 ? 1n : 3n;
  const attributes = anything & ((0xffffn << 48n) | 0xffcn);
  return address | type | attributes | (random(3) > 0 ? 1n << 10n : 0n);
}

/** An address that is translated, mostly; near an end, sometimes. */
function randomAddress(random: Random, { inputBits }: Regime): bigint {
  const wide = (BigInt(random(2 ** 32)) << 32n) | BigInt(random(2 ** 32));
  if (random(8) === 0) return wide;
  const span = 1n << BigInt(inputBits);
  const place = random(4) === 0 ? ([0n, span - 1n, span, span >> 1n][random(4)] ?? 0n) : wide % span;
  const va = random(2) === 0 ? place : 2n ** 64n - 1n - place;
  return random(4) === 0 ? va ^ (BigInt(random(256)) << 56n) : va;
}

describe("walks through a guest's memory", () => {
  it('end as the architecture has it, soon, and in that memory, whatever it holds', () => {
    const guest = new GuestMemory(BASE, SIZE);
    const walker = new Stage1Walker(guest.tables);
    const ends = new Map<string, number>();
    fc.assert(
      fc.property(fc.integer(), fc.array(regimes, { minLength: 8, maxLength: 8 }), (seed, several) => {
        const random = generator(seed);
        for (let at = BASE; at < BASE + SIZE; at += 8) guest.putWord(at, randomWord(random));
        for (const mine of several) {
          for (let i = 0; i < 100; i++) {
            const { ended, level } = compare(guest, walker, mine, randomAddress(random, mine));
            const key = `${ended} ${level}`;
            ends.set(key, (ends.get(key) ?? 0) + 1);
          }
        }
      }),
      { numRuns: 12 },
    );
    // The tables were random enough, and not too much so: every way to end was met.
    for (const end of ['done', 'translation', 'addressSize', 'access', 'fetch']) {
      assert(ends.has(`${end} 3`), `${end} never happened`);
    }
  });

  it('end with any numbers for a regime and an address', () => {
    const guest = new GuestMemory(BASE, PAGE);
    const walker = new Stage1Walker(guest.tables);
    const number = fc.oneof(fc.nat(70), fc.double(), fc.maxSafeInteger());
    const wild = fc.record({ inputBits: number, outputBits: number, table: number, granule: granules });
    fc.assert(
      fc.property(wild, number, fc.boolean(), (fields, page, high) => {
        guest.loads = 0;
        const ended = walker.walk(regime(fields), page, high);
        assert(ENDS[ended] !== undefined && guest.loads <= MOST_LOADS);
      }),
    );
  });
});

/** Leaves side by side, as a guest may wish for them. */
interface Wish {
  readonly level: number;
  /** Which quarter of the addresses they lie in, and at which multiple of a leaf's size. */
  readonly quarter: number;
  readonly index: number;
  readonly count: number;
  readonly output: number;
  readonly attributes: Required<Omit<LeafAttributes, 'extra'>>;
}

/** What was mapped of it: `last` is the last address. */
interface Mapping {
  readonly first: bigint;
  readonly last: bigint;
  readonly level: number;
  readonly size: bigint;
  readonly output: bigint;
  readonly attributes: Wish['attributes'];
}

const wishes = fc.array(
  fc.record<Wish>({
    level: fc.integer({ min: 1, max: 3 }),
    quarter: fc.nat(3),
    index: fc.nat(12),
    count: fc.integer({ min: 1, max: 3 }),
    output: fc.nat(2 ** 10),
    attributes: fc.record({
      writable: fc.boolean(),
      unprivileged: fc.boolean(),
      accessed: fc.boolean(),
      global: fc.boolean(),
    }),
  }),
  { minLength: 1, maxLength: 10 },
);

const contexts = granules.chain((granule) =>
  fc.record({
    granule: fc.constant(granule),
    inputBits: fc.integer({ min: granule + 20, max: 48 }),
    accessFlagFaults: fc.boolean(),
    upper: fc.boolean(),
  }),
);

/** Maps what has room among the others. */
function mapAll(tables: Armv8Tables, inputBits: number, upper: boolean, several: readonly Wish[]): Mapping[] {
  const mapped: Mapping[] = [];
  const span = 2n ** BigInt(inputBits);
  const start = upper ? 2n ** 64n - span : 0n;
  for (const { quarter, index, count, output, attributes, ...wish } of several) {
    const level = Math.max(wish.level, tables.leafLevels[0] ?? 3);
    const size = BigInt(tables.leafSize(level));
    const place = (BigInt(quarter) * span) / 4n;
    const first = start + place - (place % size) + BigInt(index) * size;
    const last = first + BigInt(count) * size - 1n;
    if (last >= start + span || mapped.some((other) => first <= other.last && other.first <= last)) continue;
    const mapping = { first, last, level, size, output: BigInt(output) * size, attributes };
    tables.map(first, Number(mapping.output), Number(size) * count, attributes, level);
    mapped.push(mapping);
  }
  return mapped;
}

/** What a walk should find at an address. */
function expected(
  { accessFlagFaults }: Regime,
  { first, level, size, output, attributes }: Mapping,
  va: bigint,
): Outcome {
  if (accessFlagFaults && !attributes.accessed) return { ended: 'access', level };
  const rights = attributes.writable ? 'rw' : 'r';
  return {
    ended: 'done',
    level,
    output: output + va - first - ((va - first) % size),
    length: size,
    unprivileged: attributes.unprivileged ? rights : '',
    privileged: rights,
    global: attributes.global,
  };
}

describe('what was mapped', () => {
  it('is found, all of it and nothing beside it, until it is unmapped', () => {
    fc.assert(
      fc.property(contexts, wishes, fc.nat(), ({ upper, ...context }, several, seed) => {
        const guest = new GuestMemory(BASE, 2 ** 22);
        const tables = new Armv8Tables(guest, context);
        const mine = regime({ ...context, table: tables.root });
        const walker = new Stage1Walker(guest.tables);
        const random = generator(seed);
        const mapped = mapAll(tables, context.inputBits, upper, several);
        const check = (address: bigint) => {
          const va = BigInt.asUintN(64, address);
          // The other half has tables of its own.
          if (inUpperHalf(Number(va >> 12n)) !== upper) return;
          const mapping = mapped.find(({ first, last }) => first <= va && va <= last);
          const found = compare(guest, walker, mine, va);
          if (mapping === undefined) assert.equal(found.ended, 'translation');
          else assert.deepEqual(found, expected(mine, mapping, va));
        };
        for (const { first, last } of mapped) {
          const inside = first + BigInt(random(Number(last - first)));
          for (const va of [first - 1n, first, inside, last, last + 1n]) check(va);
        }
        const gone = mapped.pop();
        if (gone === undefined) return;
        tables.unmap(gone.first, Number(gone.last - gone.first) + 1);
        for (const va of [gone.first, gone.last]) check(va);
        for (const { first } of mapped) check(first);
      }),
    );
  });
});
