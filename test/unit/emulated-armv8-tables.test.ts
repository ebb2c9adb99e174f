// The tables that tests make for guests, word by word: what walks them is tested with them.
import assert from 'node:assert/strict';
import { Armv8Tables, type Granule, leafDescriptor, type TableStore, tableDescriptor } from '../rig/armv8-tables.js';

/** Words by address; tables one behind the other. */
class Words implements TableStore {
  readonly words = new Map<number, bigint>();
  readonly tables: [at: number, bytes: number][] = [];
  #next = 0x10_0000;

  allocate(bytes: number): number {
    const at = Math.ceil(this.#next / bytes) * bytes;
    this.#next = at + bytes;
    this.tables.push([at, bytes]);
    return at;
  }
  put(ipa: number, low: number, high: number): void {
    this.words.set(ipa, (BigInt(high) << 32n) | BigInt(low));
  }
}

function build(granule: Granule, inputBits: number) {
  const store = new Words();
  return { store, tables: new Armv8Tables(store, { granule, inputBits }) };
}

describe("descriptors of a guest's tables", () => {
  it('have the form of their level', () => {
    assert.equal(leafDescriptor(0x1234_5000, 12, 3), 0x1234_5f43n);
    assert.equal(leafDescriptor(0x1220_0000, 12, 2), 0x1220_0f41n);
    assert.equal(tableDescriptor(0x1234_5000, 12), 0x1234_5003n);
  });

  it('have bits for what a leaf allows', () => {
    const leaf = (attributes: object) => leafDescriptor(0, 12, 3, attributes) ^ leafDescriptor(0, 12, 3);
    assert.equal(leaf({ unprivileged: false }), 1n << 6n);
    assert.equal(leaf({ writable: false }), 1n << 7n);
    assert.equal(leaf({ accessed: false }), 1n << 10n);
    assert.equal(leaf({ global: true }), 1n << 11n);
    assert.equal(leaf({ extra: 1n << 52n }), 1n << 52n);
  });

  it('have bits for what a table takes away', () => {
    assert.equal(tableDescriptor(0, 12, { privileged: true }), (1n << 61n) | 3n);
    assert.equal(tableDescriptor(0, 12, { readOnly: true }), (1n << 62n) | 3n);
  });

  it('hold addresses of up to 48 bits, and of 52 with pages of 64 KiB', () => {
    assert.equal(tableDescriptor(2 ** 48 - 4096, 12), 0xffff_ffff_f003n);
    assert.equal(tableDescriptor(0xf_1234_5678_0000, 16), 0x1234_5678_f003n);
    assert.throws(() => tableDescriptor(2 ** 48, 12));
    assert.throws(() => tableDescriptor(0x1000, 14));
  });
});

describe("a guest's tables", () => {
  it('of 4 KiB lead to a page by four levels', () => {
    const { store, tables } = build(12, 48);
    tables.map(0x8080_4040_3000n, 0xabc_d000, 0x1000);
    const [root = 0, first = 0, second = 0, third = 0] = store.tables.map(([at]) => at);
    assert.deepEqual(
      store.tables,
      [root, first, second, third].map((at) => [at, 4096]),
    );
    assert.equal(tables.root, root);
    assert.deepEqual(
      [...store.words].sort(([a], [b]) => a - b),
      [
        [root + 0x101 * 8, BigInt(first) | 3n],
        [first + 1 * 8, BigInt(second) | 3n],
        [second + 2 * 8, BigInt(third) | 3n],
        [third + 3 * 8, 0xabc_df43n],
      ],
    );
  });

  it('begin with as many descriptors as the bits need', () => {
    const sizes = (
      [
        [12, 48],
        [12, 40],
        [12, 32],
        [12, 16],
        [14, 48],
        [14, 47],
        [16, 48],
        [16, 52],
        [16, 42],
        [16, 16],
      ] as const
    ).map(([granule, inputBits]) => {
      const { store, tables } = build(granule, inputBits);
      return [tables.firstLevel, store.tables[0]?.[1]];
    });
    assert.deepEqual(sizes, [
      [0, 4096],
      [0, 64],
      [1, 64],
      [3, 128],
      [0, 64],
      [1, 16384],
      [1, 512],
      [1, 8192],
      [2, 65536],
      [3, 64],
    ]);
  });

  it('take the largest leaves that fit, or those of the level asked for', () => {
    const { store, tables } = build(12, 39);
    tables.map(0x3fff_f000n, 0x3fff_f000, 2 ** 30 + 2 ** 21 + 2 ** 12 + 2 ** 12);
    const leaves = [...store.words.values()].filter((word) => (word & (1n << 10n)) !== 0n);
    assert.deepEqual(leaves, [0x3fff_ff43n, 0x4000_0f41n, 0x8000_0f41n, 0x8020_0f43n]);
    const small = build(12, 39);
    small.tables.map(0n, 0, 2 ** 21, {}, 3);
    assert.equal([...small.store.words.values()].filter((word) => (word & (1n << 10n)) !== 0n).length, 512);
  });

  it('of the upper half are indexed without the bits above', () => {
    const { store, tables } = build(16, 42);
    tables.map(2n ** 64n - 0x1_0000n, 0x1_0000, 0x1_0000);
    const [root = 0, last = 0] = store.tables.map(([at]) => at);
    assert.equal(store.words.get(root + 8191 * 8), BigInt(last) | 3n);
    assert.equal(store.words.get(last + 8191 * 8), 0x1_0f43n);
  });

  it('lose leaves, and take away from what lies below', () => {
    const { store, tables } = build(14, 36);
    tables.map(0x200_0000n, 0x400_0000, 2 ** 25 + 2 ** 14);
    const [root = 0, last = 0] = store.tables.map(([at]) => at);
    tables.restrict(0x400_0000n, 2, { readOnly: true });
    assert.equal(store.words.get(root + 2 * 8), BigInt(last) | (1n << 62n) | 3n);
    tables.unmap(0x200_0000n, 2 ** 25 + 2 ** 14);
    assert.deepEqual([store.words.get(root + 8), store.words.get(last)], [0n, 0n]);
    assert.throws(() => tables.unmap(0x200_0000n, 2 ** 14));
  });

  it('are not made where leaves are, nor leaves where tables are', () => {
    const { tables } = build(12, 39);
    tables.map(0n, 0, 2 ** 21);
    assert.throws(() => tables.map(0x1000n, 0, 0x1000));
    tables.map(0x20_0000n, 0, 0x1000);
    assert.throws(() => tables.map(0x20_0000n, 0, 2 ** 21, {}, 2));
    assert.throws(() => tables.map(0x20_1000n, 0, 2 ** 21, {}, 2));
  });
});
