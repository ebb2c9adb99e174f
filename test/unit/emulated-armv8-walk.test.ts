// Walks through Armv8-A's stage-1 page tables, each feature by itself.
import assert from 'node:assert/strict';
import { inUpperHalf, type Regime } from '../../lib/emulated/hardware/armv8/regime.js';
import { Stage1Walker, WALK } from '../../lib/emulated/hardware/armv8/walker.js';
import { Armv8Tables, type Granule, leafDescriptor, tableDescriptor } from '../rig/armv8-tables.js';
import { GuestMemory, regime } from './armv8-guest.js';

const KIB = 2 ** 10;
const MIB = 2 ** 20;
const GIB = 2 ** 30;
const TIB = 2 ** 40;
const BASE = 0x4000_0000;
const NONE = 0;
const READ = 1;
const READ_WRITE = 3;
const NAMES = Object.keys(WALK);

interface StageOptions extends Partial<Regime> {
  readonly granule?: Granule;
  readonly size?: number;
}

/** A guest with tables, and what walks them. */
function stage(options: StageOptions = {}) {
  const { size = MIB, ...fields } = options;
  const guest = new GuestMemory(BASE, size);
  const { granule = 12, inputBits = 39 } = options;
  const tables = new Armv8Tables(guest, { granule, inputBits });
  const walker = new Stage1Walker(guest.tables);
  const mine = regime({ granule, inputBits, table: tables.root, ...fields });
  /** How a walk ends, told by name, at which level. */
  const walk = (va: bigint, other: Partial<Regime> = {}): string => {
    const page = Number(BigInt.asUintN(64, va) >> 12n);
    const ended = walker.walk({ ...mine, ...other }, page, inUpperHalf(page));
    return `${NAMES[ended]} ${walker.level}`;
  };
  /** Where an address leads to; only where it does. */
  const translate = (va: bigint): number => {
    assert.match(walk(va), /^done/);
    const pages = 2 ** walker.log2Pages;
    return (walker.outPage + (Number(BigInt.asUintN(64, va) >> 12n) % pages)) * 4096;
  };
  return { guest, tables, walker, regime: mine, walk, translate };
}

describe('a walk through stage-1 tables', () => {
  const levels: readonly (readonly [Granule, number, number])[] = [
    ...([16, 21] as const).map((bits) => [12, bits, 1] as const),
    ...([22, 25, 30] as const).map((bits) => [12, bits, 2] as const),
    ...([31, 36, 39] as const).map((bits) => [12, bits, 3] as const),
    ...([40, 42, 48] as const).map((bits) => [12, bits, 4] as const),
    ...([16, 25] as const).map((bits) => [14, bits, 1] as const),
    ...([26, 36] as const).map((bits) => [14, bits, 2] as const),
    ...([37, 47] as const).map((bits) => [14, bits, 3] as const),
    [14, 48, 4],
    ...([16, 17, 29] as const).map((bits) => [16, bits, 1] as const),
    ...([30, 42] as const).map((bits) => [16, bits, 2] as const),
    ...([43, 48, 52] as const).map((bits) => [16, bits, 3] as const),
  ];
  for (const [granule, inputBits, count] of levels) {
    it(`has ${count} levels for ${inputBits} bits by ${2 ** granule / KIB} KiB`, () => {
      const { guest, tables, walker, translate, walk } = stage({ granule, inputBits });
      const page = BigInt(2 ** granule);
      const last = 2n ** BigInt(inputBits) - page;
      tables.map(last, 0x9ab_0000, 2 ** granule);
      assert.equal(translate(last), 0x9ab_0000);
      assert.deepEqual([walker.level, 2 ** walker.log2Pages * 4096], [3, 2 ** granule]);
      assert.equal(guest.loads, count);
      if (inputBits > granule) assert.equal(walk(last - page), 'translation 3');
      if (last > 0n && count > 1) assert.equal(walk(0n), `translation ${4 - count}`);
    });
  }

  it('starts with a table that is no larger than the bits need', () => {
    const { guest, regime: mine, walk, walker } = stage({ inputBits: 32 });
    // Four descriptors: 32 bytes, so that a table may lie at any multiple of that; what is below does not count.
    const at = BASE + 32 * KIB + 32;
    guest.putWord(at + 3 * 8, leafDescriptor(0x8000_0000, 12, 1));
    for (const low of [0, 8, 31]) {
      assert.equal(walk(0xc000_0000n, { table: at + low }), 'done 1');
      assert.equal(walker.outPage, 0x8_0000);
    }
    assert.equal(walk(0xc000_0000n, { table: at + 32 }), 'translation 1');
    assert.equal(mine.inputBits, 32);
  });

  it('translates what its bits reach, and faults before the first table beyond', () => {
    for (const [granule, inputBits] of [
      [12, 39],
      [12, 48],
      [14, 47],
      [16, 42],
      [16, 52],
    ] as const) {
      const { guest, tables, translate, walk } = stage({ granule, inputBits });
      const end = 2n ** BigInt(inputBits);
      const page = 2n ** BigInt(granule);
      tables.map(0n, 0x100_0000, 2 ** granule);
      tables.map(end - page, 0x200_0000, 2 ** granule);
      assert.deepEqual([translate(0n), translate(end - page)], [0x100_0000, 0x200_0000]);
      guest.loads = 0;
      for (const va of [end, 2n * end, 2n ** 55n - page, 2n ** 56n, 2n ** 63n, 2n ** 63n + page]) {
        assert.equal(walk(va), 'translation 0');
      }
      assert.equal(guest.loads, 0);
    }
  });

  it('translates the upper half from its end', () => {
    for (const [granule, inputBits] of [
      [12, 39],
      [14, 36],
      [16, 48],
    ] as const) {
      const { guest, tables, translate, walk } = stage({ granule, inputBits });
      const page = 2n ** BigInt(granule);
      const start = 2n ** 64n - 2n ** BigInt(inputBits);
      tables.map(start, 0x100_0000, 2 ** granule);
      tables.map(2n ** 64n - page, 0x200_0000, 2 ** granule);
      assert.deepEqual([translate(start), translate(2n ** 64n - page)], [0x100_0000, 0x200_0000]);
      guest.loads = 0;
      for (const va of [start - page, 2n ** 63n + 2n ** 55n, 2n ** 56n - page]) assert.equal(walk(va), 'translation 0');
      assert.equal(guest.loads, 0);
    }
  });

  it('leaves the top byte out where it is to be ignored', () => {
    const { tables, walk } = stage();
    tables.map(0x1000n, 0x5000, 4096);
    tables.map(2n ** 64n - 0x1000n, 0x6000, 4096);
    const tagged = [0x1000n + (0xa5n << 56n), 2n ** 64n - 0x1000n - (0x5an << 56n)];
    for (const va of tagged) {
      assert.equal(walk(va), 'translation 0');
      assert.equal(walk(va, { topByteIgnored: true }), 'done 3');
    }
    // Bits below the top byte still count.
    for (const va of tagged) assert.equal(walk(va ^ (1n << 54n), { topByteIgnored: true }), 'translation 0');
  });

  it('tells halves apart by bit 55', () => {
    const halves = [0n, 2n ** 55n - 1n, 0xffn << 56n, 2n ** 55n, 2n ** 64n - 1n, 0x80n << 48n];
    assert.deepEqual(
      halves.map((va) => inUpperHalf(Number(va >> 12n))),
      [false, false, false, true, true, true],
    );
  });
});

describe('leaves of stage-1 tables', () => {
  const sizes = {
    12: [undefined, GIB, 2 * MIB, 4 * KIB],
    14: [undefined, undefined, 32 * MIB, 16 * KIB],
    16: [undefined, undefined, 512 * MIB, 64 * KIB],
  } as const;
  for (const granule of [12, 14, 16] as const) {
    it(`are of the levels that have any, by ${2 ** granule / KIB} KiB`, () => {
      const { tables, guest, walk, walker } = stage({ granule, inputBits: 48 });
      for (let level = tables.firstLevel; level <= 3; level++) {
        const size = sizes[granule][level];
        // Apart from the others at every level; what is below the block's size is not of its address.
        const va = BigInt(TIB * 8 * (level + 1));
        const output = 0x5678_9abc_0000 - (0x5678_9abc_0000 % 2 ** granule);
        guest.putWord(tables.descriptorAt(va, level), leafDescriptor(output, granule, level));
        if (size === undefined) {
          assert.equal(walk(va), `translation ${level}`);
          continue;
        }
        for (const at of [va, va + BigInt(size) - 4096n]) {
          assert.equal(walk(at), `done ${level}`);
          assert.equal(2 ** walker.log2Pages * 4096, size);
          assert.equal(walker.outPage * 4096, output - (output % size));
        }
        assert.equal(walk(va + BigInt(size)), `translation ${level}`);
      }
    });
  }

  it('are of no reserved form', () => {
    const { tables, guest, walk } = stage();
    const page = leafDescriptor(0x5000, 12, 3);
    const table = tableDescriptor(BASE, 12);
    for (const [level, good] of [
      [3, page],
      [2, table],
      [1, table],
    ] as const) {
      const at = tables.descriptorAt(0n, level);
      for (const word of [good & ~1n, good & ~3n, 0n, 2n ** 64n - 2n]) {
        guest.putWord(at, word);
        assert.equal(walk(0n), `translation ${level}`);
      }
    }
    const last = stage();
    last.guest.putWord(last.tables.descriptorAt(0n, 3), page & ~2n);
    assert.equal(last.walk(0n), 'translation 3');
  });

  it('may be what privileged and unprivileged accesses can do', () => {
    const { tables, walk, walker } = stage();
    const cases = [
      [{ unprivileged: true, writable: true }, READ_WRITE, READ_WRITE],
      [{ unprivileged: true, writable: false }, READ, READ],
      [{ unprivileged: false, writable: true }, NONE, READ_WRITE],
      [{ unprivileged: false, writable: false }, NONE, READ],
    ] as const;
    for (const [attributes, unprivileged, privileged] of cases) {
      tables.map(0n, 0x5000, 4096, attributes);
      assert.equal(walk(0n), 'done 3');
      assert.deepEqual([walker.permissions, walker.privilegedPermissions], [unprivileged, privileged]);
    }
  });

  it('are restricted by every table above, but where such restrictions are off', () => {
    const { tables, walk, walker } = stage({ inputBits: 48 });
    const permissions = (other: Partial<Regime> = {}) => {
      assert.equal(walk(0n, other), 'done 3');
      return [walker.permissions, walker.privilegedPermissions];
    };
    tables.map(0n, 0x5000, 4096);
    for (const level of [0, 1, 2]) {
      for (const [attributes, expected] of [
        [{ readOnly: true }, [READ, READ]],
        [{ privileged: true }, [NONE, READ_WRITE]],
        [{ readOnly: true, privileged: true }, [NONE, READ]],
      ] as const) {
        tables.restrict(0n, level, attributes);
        assert.deepEqual(permissions(), expected);
        assert.deepEqual(permissions({ hierarchical: false }), [READ_WRITE, READ_WRITE]);
      }
      tables.restrict(0n, level, {});
      assert.deepEqual(permissions(), [READ_WRITE, READ_WRITE]);
    }
    tables.restrict(0n, 0, { readOnly: true });
    tables.restrict(0n, 2, { privileged: true });
    assert.deepEqual(permissions(), [NONE, READ]);
    // A table takes away, and gives nothing.
    tables.map(0n, 0x5000, 4096, { writable: false, unprivileged: false });
    tables.restrict(0n, 0, {});
    tables.restrict(0n, 2, {});
    assert.deepEqual(permissions(), [NONE, READ]);
  });

  it('carry no restrictions into the next walk', () => {
    const { tables, walk, walker } = stage();
    tables.map(0n, 0x5000, 4096);
    tables.map(BigInt(GIB), 0x5000, 4096);
    tables.restrict(0n, 1, { readOnly: true, privileged: true });
    assert.equal(walk(0n), 'done 3');
    assert.equal(walk(BigInt(GIB)), 'done 3');
    assert.deepEqual([walker.permissions, walker.privilegedPermissions], [READ_WRITE, READ_WRITE]);
  });

  it('fault where they were never accessed, if that is to be told', () => {
    const { tables, walk } = stage();
    const leaves = [
      [0x1000n, 4096, 3],
      [BigInt(2 * MIB), 2 * MIB, 2],
      [BigInt(GIB), GIB, 1],
    ] as const;
    for (const [va, size, level] of leaves) {
      tables.map(va, 0, size, { accessed: false }, level);
      assert.equal(walk(va), `access ${level}`);
      assert.equal(walk(va, { accessFlagFaults: false }), `done ${level}`);
    }
  });

  it('are global, or of one ASID', () => {
    const { tables, walk, walker } = stage();
    for (const global of [true, false, true]) {
      tables.map(0n, 0x5000, 4096, { global });
      assert.equal(walk(0n), 'done 3');
      assert.equal(walker.global, global);
    }
  });

  it('lead to the same whatever bits say that are not for DMA', () => {
    const { tables, guest, walk, walker, translate } = stage();
    // Hints, memory types, shareability, NS; GP, DBM, contiguous, PXN, XN, software's, PBHA; tables: NSTable, XNTable, PXNTable.
    const ofLeaf = (0x3c0n & ~0xc0n) | 0x3cn | (1n << 50n) | (0x1fn << 51n) | (0xfn << 55n) | (0x1fn << 59n);
    tables.map(0n, 0x5000, 4096, { writable: false, extra: ofLeaf });
    assert.equal(translate(0n), 0x5000);
    assert.deepEqual([walker.permissions, walker.global], [READ, false]);
    const ofTable = (0x3ffn << 2n) | (1n << 63n) | (3n << 59n) | (0xffn << 51n);
    for (const level of [1, 2]) {
      tables.restrict(0n, level, { extra: ofTable });
      assert.equal(translate(0n), 0x5000);
    }
    // A block's address ends where the block begins; its lower bits are others'.
    const at = tables.descriptorAt(BigInt(GIB), 2);
    guest.putWord(at, leafDescriptor(0x8020_0000, 12, 2) | 0x1f_f000n);
    assert.equal(walk(BigInt(GIB)), 'done 2');
    assert.equal(walker.outPage, 0x8_0200);
  });
});

describe('addresses in stage-1 tables', () => {
  it('are of as many bits as the output has, or fault at their level', () => {
    for (const outputBits of [32, 36, 40, 42, 44]) {
      const { tables, guest, walk, walker } = stage({ outputBits, inputBits: 39 });
      const end = 2 ** outputBits;
      tables.map(0n, end - 4096, 4096);
      assert.equal(walk(0n), 'done 3');
      assert.equal(walker.outPage * 4096, end - 4096);
      tables.map(0n, end, 4096);
      assert.equal(walk(0n), 'addressSize 3');
      tables.map(BigInt(GIB), end, GIB);
      assert.equal(walk(BigInt(GIB)), 'addressSize 1');
      for (const level of [2, 1]) {
        guest.putWord(tables.descriptorAt(0n, level), tableDescriptor(end, 12));
        assert.equal(walk(0n), `addressSize ${level}`);
      }
      guest.loads = 0;
      assert.equal(walk(0n, { table: end }), 'addressSize 0');
      assert.equal(guest.loads, 0);
      assert.equal(walk(0n, { table: end - 4096 }), 'fetch 1');
    }
  });

  it('are of 48 bits with small pages, whatever the output has', () => {
    for (const granule of [12, 14] as const) {
      for (const outputBits of [48, 52]) {
        const { tables, guest, walk, walker } = stage({ granule, outputBits });
        tables.map(0n, 2 ** 48 - 2 ** granule, 2 ** granule);
        assert.equal(walk(0n), 'done 3');
        assert.equal((walker.outPage + 2 ** walker.log2Pages) * 4096, 2 ** 48);
        // Bits 50 to 48 are no part of it.
        const at = tables.descriptorAt(0n, 3);
        guest.putWord(at, leafDescriptor(0x1_0000, granule, 3) | (7n << 48n));
        assert.equal(walk(0n), 'done 3');
        assert.equal(walker.outPage, 0x10);
      }
    }
  });

  it('are of 52 bits with pages of 64 KiB, where the output has them', () => {
    const high = 0xf_0000_0000_0000;
    const { tables, guest, walk, walker } = stage({ granule: 16, inputBits: 42, outputBits: 52 });
    const block = BigInt(512 * MIB);
    tables.map(0n, high + 0x1234_0000, 64 * KIB);
    tables.map(block, high + 0x4000_0000, 512 * MIB);
    assert.equal(walk(0n), 'done 3');
    assert.equal(walker.outPage * 4096, high + 0x1234_0000);
    assert.equal(walk(block), 'done 2');
    assert.equal(walker.outPage * 4096, high + 0x4000_0000);
    // With fewer bits there are no such bits in a descriptor.
    assert.equal(walk(0n, { outputBits: 48 }), 'done 3');
    assert.equal(walker.outPage * 4096, 0x1234_0000);
    guest.putWord(tables.descriptorAt(0n, 2), tableDescriptor(high, 16));
    assert.equal(walk(0n), 'fetch 3');
    assert.equal(walker.fetchAddress, high);
  });

  it('of 52 bits come with blocks of 4 TiB', () => {
    const { tables, guest, walk, walker } = stage({ granule: 16, inputBits: 52, outputBits: 52 });
    const va = BigInt(4 * TIB);
    guest.putWord(tables.descriptorAt(va, 1), leafDescriptor(0x3_0800_0000_0000, 16, 1));
    assert.equal(walk(va + BigInt(TIB)), 'done 1');
    assert.deepEqual([walker.outPage * 4096, walker.log2Pages], [0x3_0800_0000_0000, 30]);
    assert.equal(walk(va, { outputBits: 48 }), 'translation 1');
  });

  it('of tables lead through stage 2, and their faults tell where', () => {
    const { tables, guest, walk, walker } = stage({ inputBits: 48 });
    tables.map(0n, 0x5000, 4096);
    const third = tables.descriptorAt(0n, 3);
    guest.change({ unreadable: Math.floor(third / 4096) });
    assert.equal(walk(0x5000n), 'fetch 3');
    assert.equal(walker.fetchAddress, third + 5 * 8);
    guest.change({ unreadable: -1 });
    guest.change({ abandoned: Math.floor(tables.descriptorAt(0n, 2) / 4096) });
    assert.equal(walk(BigInt(2 * MIB)), 'abort 2');
    assert.equal(walker.fetchAddress, tables.descriptorAt(0n, 2) + 8);
    guest.change({ abandoned: -1 });
    guest.tables.stage2 = undefined;
    assert.equal(walk(BigInt(512 * GIB)), 'fetch 0');
    assert.equal(walker.fetchAddress, tables.root + 8);
  });
});

describe('a fault in stage-1 tables', () => {
  it('is the first one in order: form, address, access', () => {
    const { tables, guest, walk } = stage({ outputBits: 32 });
    const at = tables.descriptorAt(0n, 3);
    const word = leafDescriptor(2 ** 32, 12, 3, { accessed: false });
    guest.putWord(at, word & ~1n);
    assert.equal(walk(0n), 'translation 3');
    guest.putWord(at, word & ~2n);
    assert.equal(walk(0n), 'translation 3');
    guest.putWord(at, word);
    assert.equal(walk(0n), 'addressSize 3');
    guest.putWord(at, leafDescriptor(2 ** 32 - 4096, 12, 3, { accessed: false }));
    assert.equal(walk(0n), 'access 3');
  });

  it('is all that a regime gets that cannot be', () => {
    for (const granule of [12, 14, 16] as const) {
      const { guest, tables, walk } = stage({ granule, inputBits: 42 });
      for (let at = BASE; at < BASE + guest.size; at += 8) guest.putWord(at, tableDescriptor(BASE, granule));
      assert.equal(tables.root, BASE);
      guest.loads = 0;
      const most = granule === 16 ? 52 : 48;
      for (const inputBits of [-1, 0, 11, 15, most + 1, 55, 64, 65, Number.NaN]) {
        for (const va of [0n, 2n ** 64n - 4096n]) assert.equal(walk(va, { inputBits }), 'translation 0');
      }
      for (const outputBits of [0, -1, 65, Number.NaN]) assert.equal(walk(0n, { outputBits }), 'addressSize 0');
      assert.equal(guest.loads, 0);
    }
  });
});
