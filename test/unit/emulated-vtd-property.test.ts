// Tables of a guest that nobody can trust, and tables that a second walker, written from the manual, is asked about.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { ENTRY } from '../rig/vtd-tables.js';
import { BASE, bytes, DATA, guest, MiB, PAGE, VA } from './emulated-vtd-stage.js';

const SIZE = 8 * MiB;
const WORDS = 512;
const ADDRESS = 0x000f_ffff_ffff_f000n;

type Guest = ReturnType<typeof attached>;
function attached(levels: 4 | 5, extendedAccessed = false) {
  const base = guest({ levels });
  const nested = base.nest({ eafe: extendedAccessed });
  base.device.attach(nested);
  return { ...base, nested };
}

/** 'done' or an errno's name. */
function codeOf(action: () => unknown): string {
  try {
    action();
    return 'done';
  } catch (error) {
    return String((error as { code?: unknown }).code);
  }
}

interface Walk {
  readonly to: bigint;
  readonly size: bigint;
  readonly used: readonly number[];
}

/** Where an access leads, and the offsets of the entries on its way, the leaf last; undefined where it is refused. */
function referenceWalk({ tables }: Guest, levels: 4 | 5, address: bigint, write: boolean): Walk | undefined {
  const width = levels === 4 ? 48 : 57;
  if (BigInt.asUintN(64, BigInt.asIntN(width, address)) !== address) return undefined;
  let table = tables.root;
  let writable = true;
  let user = true;
  const used: number[] = [];
  for (let level = levels - 1; level >= 0; level--) {
    const shift = 12n + 9n * BigInt(level);
    const offset = Number(table - BASE) + Number((address >> shift) & 511n) * 8;
    if (offset < 0 || offset >= SIZE) return undefined;
    const entry = tables.get(offset);
    if ((entry & ENTRY.present) === 0n) return undefined;
    used.push(offset);
    writable &&= (entry & ENTRY.writable) !== 0n;
    user &&= (entry & ENTRY.user) !== 0n;
    const isLarge = level > 0 && (entry & ENTRY.large) !== 0n;
    if (level > 2 && isLarge) return undefined;
    if (level > 0 && !isLarge) {
      table = entry & ADDRESS;
      continue;
    }
    const size = 1n << shift;
    // Bit 12 of a large leaf is a memory type; those from 13 up to its size are reserved.
    const reserved = isLarge ? (size - 1n) & ~0x1fffn : 0n;
    if ((entry & reserved) !== 0n || !user || (write && !writable)) return undefined;
    return { to: (entry & ADDRESS & ~(size - 1n)) + (address & (size - 1n)), size, used };
  }
  return undefined;
}

/** Pages of tables, the root first; entries lead to them, to data, or outside of the guest's memory. */
const TABLES = 6;
const target = fc.oneof(
  { weight: 8, arbitrary: fc.integer({ min: 0, max: TABLES - 1 }).map((i) => BASE + BigInt(i * PAGE)) },
  { weight: 4, arbitrary: fc.integer({ min: 0, max: 3 }).map((i) => BASE + BigInt(DATA + i * PAGE)) },
  { weight: 1, arbitrary: fc.constantFrom(0n, BASE - 4096n, BASE + BigInt(SIZE), ADDRESS, 1n << 51n) },
);
/** Mostly what leads on. */
const often = fc.oneof({ weight: 19, arbitrary: fc.constant(true) }, { weight: 1, arbitrary: fc.constant(false) });
const rarely = often.map((value) => !value);
const entry = fc
  .record({
    to: target,
    present: often,
    writable: often,
    user: often,
    large: rarely,
    memoryType: rarely,
    ignored: fc.constantFrom(0n, ENTRY.noExecute, 0x7ff0_0000_0000_0a18n),
  })
  .map(
    ({ to, present, writable, user, large, memoryType, ignored }) =>
      to |
      ignored |
      (present ? ENTRY.present : 0n) |
      (writable ? ENTRY.writable : 0n) |
      (user ? ENTRY.user : 0n) |
      (large ? ENTRY.large : 0n) |
      (memoryType ? 1n << 12n : 0n),
  );
/** Few entries of each table, so that addresses find them. */
const INDICES = [0, 1, 511];
const index = fc.constantFrom(...INDICES);
const words = fc.array(entry, { minLength: TABLES * INDICES.length, maxLength: TABLES * INDICES.length });
const address = fc
  .record({ indices: fc.array(index, { minLength: 5, maxLength: 5 }), offset: fc.integer({ min: 0, max: 4088 }) })
  .chain(({ indices, offset }) => {
    const plain = indices.reduce((sum, each) => (sum << 9n) | BigInt(each), 0n) * 4096n + BigInt(offset & ~7);
    const of = (width: number) => BigInt.asUintN(64, BigInt.asIntN(width, plain));
    return fc.constantFrom(plain, of(57), of(48));
  });

describe('emulated VT-d: tables of all kinds', () => {
  /** What the tables hold after an access: the unit notes what it uses before it looks where that leads. */
  function tablesAfter({ ram }: Guest, walk: Walk | undefined, write: boolean, extended: boolean): Uint8Array {
    const memory = ram.read(0, TABLES * PAGE).slice();
    const view = new DataView(memory.buffer);
    const set = (offset: number, flags: bigint) => {
      if (offset < memory.length) view.setBigUint64(offset, view.getBigUint64(offset, true) | flags, true);
    };
    for (const offset of walk?.used ?? []) set(offset, ENTRY.accessed | (extended ? ENTRY.extendedAccessed : 0n));
    if (write && walk !== undefined) set(walk.used.at(-1) ?? 0, ENTRY.dirty);
    const to = Number((walk?.to ?? 0n) - BASE);
    if (write && to >= 0 && to < memory.length) memory.set(WRITTEN, to);
    return memory;
  }
  const WRITTEN = new Uint8Array(8).fill(0xa5);
  const isGuests = ({ to }: Walk) => to >= BASE && to < BASE + BigInt(SIZE);

  it('are walked as the manual says, and get the flags that it says', () => {
    const machines = ([4, 5] as const).flatMap((levels) =>
      [false, true].map((extended) => ({ levels, extended, base: attached(levels, extended) })),
    );
    const reached = { reads: 0, writes: 0 };
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: machines.length - 1 }),
        words,
        fc.array(fc.record({ address, write: fc.boolean() }), { minLength: 1, maxLength: 12 }),
        (which, entries, accesses) => {
          const { levels, extended, base } = machines[which] ?? assert.fail();
          const { tables, ram, own, nested } = base;
          ram.write(0, new Uint8Array(TABLES * PAGE));
          for (const [i, each] of entries.entries()) {
            const at = (INDICES[Math.floor(i / TABLES)] ?? 0) * 8;
            tables.put((i % TABLES) * PAGE + at, each);
          }
          for (const { address: at, write } of accesses) {
            nested.invalidate({ vtd: [{ all: true }] });
            const walk = referenceWalk(base, levels, at, write);
            const after = tablesAfter(base, walk, write, extended);
            const code = codeOf(() => {
              if (write) own.dmaWrite(at, WRITTEN);
              else assert.deepEqual(own.dmaRead(at, 8), ram.read((walk?.to ?? BASE) - BASE, 8));
            });
            assert.equal(code, walk !== undefined && isGuests(walk) ? 'done' : 'EFAULT');
            assert.deepEqual(ram.read(0, TABLES * PAGE), after);
            if (code === 'done') reached[write ? 'writes' : 'reads']++;
          }
        },
      ),
      { numRuns: 500 },
    );
    assert(reached.reads > 30 && reached.writes > 30, JSON.stringify(reached));
  });

  it('never lead out of the guest’s memory, whatever they hold', () => {
    for (const levels of [4, 5] as const) {
      const base = attached(levels);
      const { own, ram, nested } = base;
      const secret = base.memory(MiB);
      const mark = new Uint8Array(MiB).fill(0xee);
      secret.write(0, mark);
      const physical = [2n ** 32n, 2n ** 32n + BigInt(SIZE), 2n ** 32n + 0x1000n];
      const wild = fc.oneof(
        fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
        fc.bigInt({ min: 0n, max: BigInt(SIZE / PAGE - 1) }).map((page) => (BASE + page * 4096n) | 7n),
        fc.constantFrom(...physical).map((at) => at | 7n),
      );
      fc.assert(
        fc.property(
          fc.array(
            fc.record({ table: fc.integer({ min: 0, max: 7 }), at: fc.integer({ min: 0, max: WORDS - 1 }), wild }),
          ),
          fc.array(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), { minLength: 1, maxLength: 8 }),
          fc.boolean(),
          (words, addresses, forget) => {
            for (const each of words) base.tables.put(each.table * PAGE + each.at * 8, each.wild);
            if (forget) nested.invalidate({ vtd: [{ all: true }] });
            for (const each of addresses) {
              assert.match(
                codeOf(() => own.dmaWrite(each, bytes(1, 2, 3, 4))),
                /^(done|EFAULT)$/,
              );
              assert.match(
                codeOf(() => own.dmaRead(each, 64)),
                /^(done|EFAULT)$/,
              );
            }
          },
        ),
        { numRuns: 300 },
      );
      assert.deepEqual(secret.read(0, MiB), mark);
      assert.equal(ram.size, SIZE);
    }
  });
});

describe('emulated VT-d: what is cached, against a model', () => {
  interface Leaf {
    to: number;
    writable: boolean;
    dirty: boolean;
  }
  const PAGES = 8;
  const page = fc.integer({ min: 0, max: PAGES - 1 });
  const step = fc.oneof(
    fc.record({ kind: fc.constant('map' as const), page, to: page, writable: fc.boolean() }),
    fc.record({ kind: fc.constant('unmap' as const), page }),
    fc.record({ kind: fc.constant('invalidate' as const), page, count: fc.integer({ min: 1, max: 4 }) }),
    fc.record({ kind: fc.constant('access' as const), page, write: fc.boolean() }),
    fc.record({ kind: fc.constant('access' as const), page, write: fc.boolean() }),
  );

  it('is what it was when it was first used, until it is invalidated', () => {
    const { tables, own, nested, data, ram } = attached(4);
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const table = new Map<number, Leaf>();
        const cache = new Map<number, Leaf>();
        nested.invalidate({ vtd: [{ all: true }] });
        for (let each = 0; each < PAGES; each++) {
          tables.unmap(VA + BigInt(each * PAGE));
          ram.write(DATA + each * PAGE, bytes(each + 1));
        }
        const memory = Array.from({ length: PAGES }, (_, each) => each + 1);
        let value = 100;
        for (const each of steps) {
          const at = VA + BigInt(each.page * PAGE);
          if (each.kind === 'map') {
            tables.map(at, data(each.to), { writable: each.writable });
            table.set(each.page, { to: each.to, writable: each.writable, dirty: false });
          } else if (each.kind === 'unmap') {
            tables.unmap(at);
            table.delete(each.page);
          } else if (each.kind === 'invalidate') {
            nested.invalidate({ vtd: [{ address: at, pages: BigInt(each.count) }] });
            let size = 1;
            const last = each.page + each.count - 1;
            while (Math.floor(each.page / size) !== Math.floor(last / size)) size *= 2;
            const start = each.page - (each.page % size);
            for (let gone = start; gone < start + size; gone++) cache.delete(gone);
          } else {
            const enough = (leaf: Leaf | undefined) =>
              leaf !== undefined && (!each.write || (leaf.writable && leaf.dirty));
            let leaf = cache.get(each.page);
            if (!enough(leaf)) {
              const now = table.get(each.page);
              const allowed = now !== undefined && (!each.write || now.writable);
              if (allowed && each.write) now.dirty = true;
              leaf = allowed ? { ...now } : undefined;
              if (leaf !== undefined) cache.set(each.page, leaf);
            }
            if (leaf === undefined) {
              assert.equal(
                codeOf(() => (each.write ? own.dmaWrite(at, bytes(0)) : own.dmaRead(at, 1))),
                'EFAULT',
              );
            } else if (each.write) {
              value = (value + 1) % 256;
              own.dmaWrite(at, bytes(value));
              memory[leaf.to] = value;
            } else {
              assert.equal(own.dmaRead(at, 1)[0], memory[leaf.to]);
            }
          }
        }
        assert.deepEqual(
          memory.map((_, each) => ram.read(DATA + each * PAGE, 1)[0]),
          memory,
        );
      }),
      { numRuns: 300 },
    );
  });
});
